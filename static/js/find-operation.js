/* data-find-operation: shows the operations whose address or words hold all that was typed; an address with #… opens one. */
(() => {
  "use strict";
  const { behave } = window.runsite;

  const openAsked = () => {
    const asked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (asked?.matches("details[data-operation]")) asked.open = true;
  };
  window.addEventListener("hashchange", openAsked);
  openAsked();

  behave("[data-find-operation]", (field) => {
    const nothing = document.querySelector("[data-found-nothing]");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0;
      for (const section of document.querySelectorAll("[data-operations]")) {
        let shown = 0;
        for (const operation of section.querySelectorAll("[data-operation]")) {
          const text = `${section.id} ${operation.querySelector("summary").textContent}`.toLowerCase();
          operation.hidden = !words.every((word) => text.includes(word));
          shown += !operation.hidden;
        }
        section.hidden = shown === 0;
        found += shown;
      }
      if (nothing) nothing.hidden = found > 0;
    });
  });
})();
