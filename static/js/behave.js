/* What every behaviour stands on: set up each element once, on the first load, after htmx and after a live part. */
(() => {
  "use strict";
  const behaviours = [];

  const setUp = (behaviour, root) => {
    const found = [...(root.querySelectorAll?.(behaviour.selector) ?? [])];
    if (root.matches?.(behaviour.selector)) found.unshift(root);
    for (const element of found) {
      if (behaviour.done.has(element)) continue;
      behaviour.done.add(element);
      behaviour.start(element);
    }
  };

  const setUpAll = (root) => {
    for (const behaviour of behaviours) setUp(behaviour, root);
  };

  window.runsite = {
    /** Calls start(element) once for every element that matches, now and later. */
    behave(selector, start) {
      const behaviour = { selector, start, done: new WeakSet() };
      behaviours.push(behaviour);
      setUp(behaviour, document); // scripts are deferred: the page has been read
    },

    /** Sets up what was put into the page by a script of ours. */
    refresh(root) {
      setUpAll(root);
      window.htmx?.process(root);
    },

    /** An icon of the sprite as an element. */
    icon(name, extra = "") {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
      svg.setAttribute("class", `icon ${extra}`.trim());
      svg.setAttribute("aria-hidden", "true");
      use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
      svg.append(use);
      return svg;
    },

    /** An element with attributes and children; strings become text, never markup. */
    make(tag, attributes = {}, ...children) {
      const element = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) {
        if (value === false || value === null || value === undefined) continue;
        element.setAttribute(name, value === true ? "" : value);
      }
      element.append(...children);
      return element;
    },

    /** Bytes for people: "512 B", "1.4 MiB". */
    bytes(count) {
      if (count < 1024) return `${count} B`;
      let value = count;
      let unit = -1;
      do {
        value /= 1024;
        unit += 1;
      } while (value >= 1023.95 && unit < 4);
      return `${value.toFixed(1)} ${["KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
    },
  };

  document.addEventListener("htmx:load", (event) => setUpAll(event.detail.elt));
})();
