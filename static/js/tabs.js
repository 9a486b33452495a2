/* data-tabs: arrow keys, Home and End move along a line of tabs; Enter follows the link as ever. */
(() => {
  "use strict";
  const { behave } = window.runsite;

  behave("[data-tabs]", (tabs) => {
    const current = tabs.querySelector("[aria-current]");
    // Narrow screens: bring the chosen tab into the line without moving the page.
    if (current) tabs.scrollLeft = Math.max(0, current.offsetLeft - tabs.offsetLeft - 48);
    tabs.addEventListener("keydown", (event) => {
      const links = [...tabs.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      if (at < 0) return;
      const to = {
        ArrowRight: (at + 1) % links.length,
        ArrowLeft: (at - 1 + links.length) % links.length,
        Home: 0,
        End: links.length - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      links[to].focus();
    });
  });
})();
