/* data-elapsed-from: time since an instant, counting until data-elapsed-to; a bar beside it shows it against the expected. */
(() => {
  "use strict";
  const { behave } = window.runsite;
  const moving = new Set();

  const words = (seconds) => {
    const s = Math.max(0, seconds);
    if (s < 60) return `${s.toFixed(1)} s`;
    const whole = Math.floor(s);
    const part = (value) => String(value).padStart(2, "0");
    const h = Math.floor(whole / 3600);
    const m = Math.floor((whole % 3600) / 60);
    if (h > 0) return `${h}:${part(m)}:${part(whole % 60)} h`;
    return `${m}:${part(whole % 60)} min`;
  };

  const update = (clock) => {
    const until = clock.to ?? Date.now() - clock.skew;
    const seconds = (until - clock.from) / 1000;
    const text = words(seconds);
    if (clock.text.textContent !== text) clock.text.textContent = text;
    if (clock.bar && clock.expected > 0) {
      clock.bar.max = clock.expected;
      clock.bar.value = Math.min(seconds, clock.expected);
      clock.bar.classList.toggle("bar-over", clock.to === null && seconds > clock.expected);
    }
  };

  behave("[data-elapsed-from]", (element) => {
    const { elapsedFrom, elapsedTo, elapsedExpected, elapsedNow, elapsedBar } = element.dataset;
    const from = Date.parse(elapsedFrom);
    if (Number.isNaN(from)) return;
    const clock = {
      element,
      from,
      to: elapsedTo ? Date.parse(elapsedTo) : null,
      expected: Number(elapsedExpected) || 0,
      // The server's clock (data-elapsed-now) rules: the reader's may be wrong.
      skew: elapsedNow ? Date.now() - Date.parse(elapsedNow) : 0,
      text: element.querySelector("[data-elapsed-text]") ?? element,
      bar: elapsedBar ? document.querySelector(elapsedBar) : element.querySelector("progress"),
    };
    update(clock);
    if (clock.to === null) moving.add(clock);
  });

  setInterval(() => {
    if (document.hidden) return;
    for (const clock of moving) {
      if (clock.element.isConnected) update(clock);
      else moving.delete(clock);
    }
  }, 200);
})();
