/* <time data-relative datetime="…">: "3 min ago", kept true; the exact instant moves to the title. */
(() => {
  "use strict";
  const { behave } = window.runsite;
  const STEPS = [
    [60, 1, "s"],
    [3600, 60, "min"],
    [86400, 3600, "h"],
    [86400 * 14, 86400, "d"],
    [86400 * 60, 86400 * 7, "wk"],
    [86400 * 730, 86400 * 30.44, "mo"],
    [Infinity, 86400 * 365.25, "y"],
  ];
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const shown = new Set();

  const words = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [, unit, name] = STEPS.find(([limit]) => size < limit);
    const amount = `${Math.floor(size / unit)} ${name}`;
    return seconds >= 0 ? `${amount} ago` : `in ${amount}`;
  };

  const update = (element) => {
    const at = Date.parse(element.dateTime);
    const text = words((Date.now() - at) / 1000);
    if (element.textContent !== text) element.textContent = text;
  };

  behave("time[data-relative]", (element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.valueOf())) return;
    if (!element.title) element.title = exact.format(at);
    shown.add(element);
    update(element);
  });

  setInterval(() => {
    if (document.hidden) return;
    for (const element of shown) {
      if (element.isConnected) update(element);
      else shown.delete(element);
    }
  }, 5000);
})();
