/* data-shortcut: keys that press a link or button, or focus a field; "?" lists those of the page. */
(() => {
  "use strict";
  const { make } = window.runsite;
  const PAUSE_MS = 1200; // between the keys of a sequence
  let typed = [];
  let timer;

  const seen = (element) => element.getClientRects().length > 0;
  const all = () => {
    const byKeys = new Map();
    for (const element of document.querySelectorAll("[data-shortcut]")) {
      const keys = element.dataset.shortcut;
      const known = byKeys.get(keys);
      if (!known || (!seen(known) && seen(element))) byKeys.set(keys, element);
    }
    return byKeys;
  };

  const labelOf = (element) =>
    element.dataset.shortcutLabel || element.getAttribute("aria-label") || element.placeholder || element.textContent.trim();

  const press = (element) => {
    if (element.disabled) return;
    if (element.matches("input, select, textarea")) {
      element.focus();
      element.select?.();
    } else {
      element.click();
    }
  };

  const list = () => {
    if (document.querySelector("dialog[open]")) return;
    const dialog = make("dialog", { "aria-labelledby": "shortcuts-title" });
    const body = make("div", { class: "dialog-body" }, make("h2", { id: "shortcuts-title" }, "Keyboard shortcuts"));
    const entries = make("dl", { class: "shortcut-list" });
    const add = (keys, label) => {
      const cell = make("dd", {});
      for (const key of keys.split(" ")) cell.append(make("kbd", {}, key));
      entries.append(make("dt", {}, label), cell);
    };
    for (const [keys, element] of all()) add(keys, labelOf(element));
    add("?", "This list");
    add("Esc", "Close a menu or dialog");
    body.append(entries);
    const form = make("form", { method: "dialog", class: "dialog-actions" }, make("button", { class: "button" }, "Close"));
    dialog.append(body, form);
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-shortcuts-open]")) list();
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (target.matches?.("input, select, textarea, [contenteditable]")) {
      if (event.key === "Escape" && target.matches("input[data-shortcut]")) target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      event.preventDefault();
      list();
      return;
    }
    if (event.key.length !== 1) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      typed = [];
    }, PAUSE_MS);
    typed.push(event.key);
    const known = all();
    const sequence = typed.join(" ");
    const found = known.get(sequence) ?? known.get(event.key);
    if (found) {
      event.preventDefault();
      typed = [];
      press(found);
    } else if (![...known.keys()].some((keys) => keys.startsWith(`${sequence} `))) {
      typed = [event.key]; // a wrong key may be the first of the next sequence
    }
  });
})();
