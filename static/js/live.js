/* data-live-url: parts of the page kept true by an event stream, or by asking again from the same cursor where streams fail.
   data-poll-url alone: by asking only, first after data-poll-first, or data-poll-every. */
(() => {
  "use strict";
  const { behave, refresh } = window.runsite;
  const POLL_MS = 2000;
  const SHORT_LIFE_MS = 10_000; // a stream that ends sooner without a word has failed
  const STREAM_AGAIN_MS = 60_000; // while asking: when to try a stream again
  const LONGEST_WAIT_MS = 15_000;

  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`live:${name}`, { detail }));

  const WORDS = { stream: "Live", poll: "Live", paused: "Paused", ended: "", lost: "Connection lost, trying again", refused: "Reload the page" };
  const showState = (state) => {
    for (const element of document.querySelectorAll("[data-live-state]")) {
      element.dataset.liveState = state;
      element.textContent = WORDS[state] ?? "";
    }
    tell("state", { state });
  };

  const pathTo = (root, element) => {
    if (element.id) return `#${CSS.escape(element.id)}`;
    if (element.name) return `[name="${CSS.escape(element.name)}"]`;
    const steps = [];
    for (let at = element; at !== root; at = at.parentElement) {
      steps.unshift(`:nth-child(${[...at.parentElement.children].indexOf(at) + 1})`);
    }
    return steps.length ? `:scope > ${steps.join(" > ")}` : ":scope";
  };

  document.addEventListener("click", (event) => {
    const touched = event.target.closest?.("summary")?.parentElement;
    if (touched) touched.dataset.touched = "";
  });

  const swap = ({ id, html }) => {
    const old = document.getElementById(id);
    if (!old) return;
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    const fresh = template.content.firstElementChild;
    if (!fresh) return;

    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const focusPath = focused && pathTo(old, focused);
    const TYPED = "input:not([type=checkbox], [type=radio], [type=file], [type=hidden]), textarea";
    const selection = focused?.matches(TYPED) && [focused.selectionStart, focused.selectionEnd];
    const typed = [...old.querySelectorAll(TYPED)]
      .filter((field) => field.value !== field.defaultValue)
      .map((field) => [pathTo(old, field), field.value]);
    // What nobody has touched may open by itself, such as the limits of a run that went over one.
    const details = [...old.querySelectorAll("details")]
      .filter((one) => one.open || "touched" in one.dataset)
      .map((one) => [pathTo(old, one), one.open, "touched" in one.dataset]);
    const checked = [...old.querySelectorAll("input[type=checkbox][name]:checked")].map((box) => [box.name, box.value]);
    const scrolled = [old, ...old.querySelectorAll("*")]
      .filter((one) => one.scrollTop > 0 || one.scrollLeft > 0)
      .map((one) => [pathTo(old, one), one.scrollTop, one.scrollLeft]);

    old.replaceWith(fresh);
    const find = (path) => (path === ":scope" || fresh.matches(path) ? fresh : fresh.querySelector(path));
    for (const [path, open, touched] of details) {
      const one = find(path);
      if (!one?.matches("details")) continue;
      one.open = open;
      if (touched) one.dataset.touched = "";
    }
    for (const [name, value] of checked) {
      const box = fresh.querySelector(`input[type=checkbox][name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]`);
      if (box) box.checked = true;
    }
    for (const [path, value] of typed) {
      const field = find(path);
      if (field && "value" in field) field.value = value;
    }
    refresh(fresh);
    for (const [path, top, left] of scrolled) find(path)?.scrollTo({ top, left, behavior: "instant" });
    const target = focusPath && find(focusPath);
    if (target) {
      target.focus({ preventScroll: true });
      if (selection && selection[0] !== null) target.setSelectionRange?.(...selection);
    }
    tell("part", { id, element: fresh });
  };

  behave("[data-live-url], [data-poll-url]", (element) => {
    const { liveUrl, pollUrl, pollEvery, pollFirst } = element.dataset;
    let after = element.dataset.liveAfter ?? "";
    let source = null;
    let opened = 0;
    let failures = 0;
    let pollFailures = 0;
    let pollSince = 0;
    let timer;
    let asking = null;
    let over = false;
    let started = false;
    const seen = new Map(); // the last markup of each part: the same again changes nothing

    const from = (url) => {
      const address = new URL(url, location.href);
      if (after !== "") address.searchParams.set("after", after);
      return address;
    };

    const stop = () => {
      clearTimeout(timer);
      source?.close();
      source = null;
      asking?.abort();
      asking = null;
    };

    const handle = (name, data) => {
      if (!element.isConnected && !document.getElementById(element.id)) {
        over = true;
        stop();
        return;
      }
      if (name === "part") {
        if (seen.get(data.id) === data.html) return;
        seen.set(data.id, data.html);
        swap(data);
      } else if (name === "log") {
        tell("log", data);
      } else if (name === "cursor") {
        after = String(data.after ?? data);
        tell("cursor", { after });
      } else if (name === "end") {
        over = true;
        stop();
        showState("ended");
        tell("end", data);
      }
    };

    const parse = (text) => {
      try {
        return text ? JSON.parse(text) : {};
      } catch {
        return text;
      }
    };

    const stream = () => {
      stop();
      source = new EventSource(from(liveUrl));
      opened = performance.now();
      let heard = false;
      source.addEventListener("open", () => showState("stream"));
      for (const name of ["part", "log", "cursor", "end"]) {
        source.addEventListener(name, (event) => {
          heard = true;
          failures = 0;
          if (event.lastEventId) after = event.lastEventId;
          handle(name, parse(event.data));
        });
      }
      source.addEventListener("error", () => {
        if (over || !source) return;
        source.close(); // its own reconnection would not know our cursor
        source = null;
        if (heard || performance.now() - opened > SHORT_LIFE_MS) failures = 0;
        else failures += 1;
        if (failures >= 2 && pollUrl) {
          pollSince = performance.now();
          poll();
        } else {
          showState("lost");
          timer = setTimeout(stream, Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(failures, 5)));
        }
      });
    };

    const poll = async () => {
      stop();
      if (!element.isConnected && !document.getElementById(element.id)) {
        over = true;
        return;
      }
      if (liveUrl && performance.now() - pollSince > STREAM_AGAIN_MS) {
        failures = 1; // one more failure leads back here
        stream();
        return;
      }
      const call = new AbortController();
      asking = call;
      let wait = Number(pollEvery) || POLL_MS;
      try {
        const answer = await fetch(from(pollUrl), {
          signal: call.signal,
          headers: { Accept: "application/json" },
          redirect: "error",
        });
        if ([401, 403, 404, 410].includes(answer.status)) {
          over = true;
          showState("refused");
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        const { events = [], after: next, end = false } = await answer.json();
        if (call.signal.aborted) return;
        pollFailures = 0;
        showState("poll");
        for (const { event, data } of events) handle(event, data);
        if (next !== undefined && next !== null) after = String(next);
        if (end && !over) handle("end", {});
      } catch {
        if (call.signal.aborted) return;
        pollFailures += 1;
        showState("lost");
        wait = Math.min(LONGEST_WAIT_MS, wait * 2 ** Math.min(pollFailures, 4));
      }
      asking = null;
      if (!over) timer = setTimeout(poll, wait);
    };

    const start = () => {
      if (over || document.hidden) return;
      if (liveUrl && window.EventSource && failures < 2) stream();
      else if (pollUrl) {
        pollSince = performance.now();
        if (liveUrl || started) poll();
        else timer = setTimeout(poll, Number(pollFirst ?? pollEvery) || POLL_MS); // the page is fresh
      }
      started = true;
    };

    document.addEventListener("visibilitychange", () => {
      if (over) return;
      if (document.hidden) {
        stop();
        showState("paused");
      } else {
        start();
      }
    });
    window.addEventListener("pagehide", stop);
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) start();
    });
    start();
  });
})();
