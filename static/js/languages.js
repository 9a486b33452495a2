/* data-languages: one language of the requests at a time, the same on every page and after a part has changed
   (with data-languages-own on this page only);
   data-keep-open on a details: it stays open when the part of the page that it stands in is replaced. */
(() => {
  "use strict";
  const { behave } = window.runsite;
  const STORED = "runsite-language";
  const open = new Set();

  const stored = () => {
    try {
      return localStorage.getItem(STORED);
    } catch {
      return null; // the browser keeps nothing here
    }
  };

  behave("[data-languages]", (box) => {
    const tabs = [...box.querySelectorAll("[data-language-tab]")];
    const panels = [...box.querySelectorAll("[data-language]")];
    const show = (key) => {
      for (const tab of tabs) {
        const chosen = tab.dataset.languageTab === key;
        tab.setAttribute("aria-selected", String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
      }
      for (const panel of panels) panel.hidden = panel.dataset.language !== key;
    };
    const choose = (tab) => {
      show(tab.dataset.languageTab);
      if ("languagesOwn" in box.dataset) return;
      try {
        localStorage.setItem(STORED, tab.dataset.languageTab);
      } catch {
        // then only this page knows
      }
    };
    const before = "languagesOwn" in box.dataset ? null : stored();
    const first = tabs.find((tab) => tab.dataset.languageTab === before) ?? tabs[0];
    if (first) show(first.dataset.languageTab);
    for (const [at, tab] of tabs.entries()) {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        const next = tabs[(to + tabs.length) % tabs.length];
        choose(next);
        next.focus();
      });
    }
  });

  behave("details[data-keep-open]", (details) => {
    if (open.has(details.id)) details.open = true;
    details.addEventListener("toggle", () => {
      if (details.open) open.add(details.id);
      else open.delete(details.id);
    });
  });
})();
