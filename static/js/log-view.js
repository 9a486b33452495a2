/* data-log: the window of a log that follows its end, or stands still where the reader is, with a bounded number of rows. */
(() => {
  "use strict";
  const { behave, make } = window.runsite;
  const WRAP_KEY = "runsite-log-wrap";
  const NEAR_PX = 24;

  behave("[data-log]", (log) => {
    const view = log.querySelector("[data-log-window]");
    const lines = log.querySelector("[data-log-lines]");
    if (!view || !lines) return;
    const part = (name) => log.querySelector(`[data-log-${name}]`);
    const [followButton, wrapButton, state] = [part("follow"), part("wrap"), part("state")];
    const most = Number(log.dataset.logLimit) || 5000;
    let following = followButton?.getAttribute("aria-pressed") === "true";
    let waiting = []; // fragments that came while the reader stood still and the window was full
    let waitingRows = 0;
    let unseen = 0;
    let gap = false;

    const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_PX;
    let placed = 0; // where we left the window: a reader who is above it has moved it
    const toEnd = () => {
      view.scrollTop = view.scrollHeight;
      placed = view.scrollTop;
    };
    // A window that grows moves what is seen too, but stays at the end.
    const readerMoved = () =>
      view.scrollTop < placed - 2 && view.scrollHeight - view.scrollTop - view.clientHeight > 2;

    const say = () => {
      followButton?.setAttribute("aria-pressed", String(following));
      if (!state) return;
      if (following) state.textContent = "";
      else if (unseen > 0) state.textContent = `${unseen.toLocaleString()} new ${unseen === 1 ? "line" : "lines"}`;
    };

    const cutMark = (text) => make("div", { class: "log-cut" }, text);

    const trim = () => {
      const over = lines.children.length - most;
      if (over <= 0) return;
      const range = document.createRange();
      range.setStartBefore(lines.firstElementChild);
      range.setEndAfter(lines.children[over - 1]);
      range.deleteContents();
      delete view.dataset.logHasStart;
    };

    const flush = () => {
      if (gap) lines.append(cutMark("Lines that passed while the log was paused are not shown here. Reload the page or download the log to read them."));
      for (const fragment of waiting) lines.append(fragment);
      waiting = [];
      waitingRows = 0;
      gap = false;
      trim();
    };

    const follow = (wanted) => {
      following = wanted;
      if (following) {
        unseen = 0;
        flush();
        toEnd();
      }
      say();
    };

    const take = ({ html, cut }) => {
      const template = document.createElement("template");
      template.innerHTML = html ?? "";
      const fragment = template.content;
      const rows = fragment.children.length;
      if (cut) fragment.prepend(cutMark("The log moved on faster than this page shows it: lines are left out here. The download has them."));
      if (fragment.children.length === 0) return;
      lines.querySelector(".log-empty")?.remove();
      // The reader's move may not have been told yet when lines come fast: look before moving the window.
      if (following && readerMoved()) following = false;
      if (following) {
        lines.append(fragment);
        trim();
        toEnd();
      } else {
        unseen += rows;
        if (waiting.length === 0 && lines.children.length + rows <= most) {
          lines.append(fragment); // below what the reader sees: nothing moves
        } else {
          waiting.push(fragment);
          waitingRows += rows;
          while (waitingRows > most && waiting.length > 1) {
            waitingRows -= waiting.shift().children.length;
            gap = true;
          }
        }
      }
      say();
    };

    document.addEventListener("live:log", (event) => {
      if (!log.isConnected) return;
      if (event.detail.id && event.detail.id !== log.id) return;
      take(event.detail);
    });
    document.addEventListener("live:end", () => {
      if (followButton) followButton.hidden = true;
    });

    let top = view.scrollTop;
    view.addEventListener("scroll", () => {
      const down = view.scrollTop > top;
      top = view.scrollTop;
      const mayFollow = followButton && !followButton.hidden && followButton.dataset.held === undefined;
      if (following && readerMoved()) follow(false);
      else if (!following && down && atEnd() && mayFollow) follow(true);
    });
    // Held by the button: reaching the end does not start it again, as the reader said so.
    followButton?.addEventListener("click", () => {
      if (following) followButton.dataset.held = "";
      else delete followButton.dataset.held;
      follow(!following);
    });

    const wrap = (wanted) => {
      log.classList.toggle("log-wrapped", wanted);
      wrapButton?.setAttribute("aria-pressed", String(wanted));
      if (following) toEnd();
    };
    try {
      if (localStorage.getItem(WRAP_KEY) === "yes") wrap(true);
    } catch {
      // storage refused: lines stay unwrapped
    }
    wrapButton?.addEventListener("click", () => {
      const wanted = !log.classList.contains("log-wrapped");
      wrap(wanted);
      try {
        localStorage.setItem(WRAP_KEY, wanted ? "yes" : "no");
      } catch {
        // see above
      }
    });

    // A link leads to another window of the log; where this window already has that end, it is enough to scroll.
    part("start")?.addEventListener("click", (event) => {
      if (event.currentTarget.matches("a") && view.dataset.logHasStart === undefined) return;
      event.preventDefault();
      if (following) follow(false);
      view.scrollTop = 0;
    });
    part("end")?.addEventListener("click", (event) => {
      if (event.currentTarget.matches("a") && view.dataset.logHasEnd === undefined) return;
      event.preventDefault();
      flush();
      toEnd();
    });

    const mark = (id) => {
      for (const line of lines.querySelectorAll(".log-line-hit")) line.classList.remove("log-line-hit");
      document.getElementById(id)?.classList.add("log-line-hit");
    };
    lines.addEventListener("click", (event) => {
      const number = event.target.closest("a.log-number[href^='#']");
      if (!number || event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.replaceState(null, "", number.hash);
      mark(number.hash.slice(1));
    });

    new ResizeObserver(() => {
      if (following) toEnd();
    }).observe(view);

    // The newest window of a long log, and no place in it that was asked for.
    const opensAtEnd = () => {
      const asked = new URLSearchParams(location.search);
      const { logHasEnd, logHasStart } = view.dataset;
      return logHasEnd !== undefined && logHasStart === undefined && !["at", "before", "q"].some((name) => asked.has(name));
    };

    const named = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (named && lines.contains(named)) {
      following = false;
      view.scrollTop = named.offsetTop - view.clientHeight / 3;
      mark(named.id);
    } else if (following || opensAtEnd()) {
      toEnd();
    }
    say();
  });
})();
