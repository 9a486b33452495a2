/* data-themed-frame: gives a frame of figures the theme that the reader chose, and again when it changes. */
(() => {
  "use strict";
  const { behave } = window.runsite;

  behave("[data-themed-frame]", (frame) => {
    const dress = () => {
      const theme = document.documentElement.dataset.theme;
      const address = new URL(frame.src, location.href);
      if (theme !== "dark" && theme !== "light") address.searchParams.delete("theme");
      else address.searchParams.set("theme", theme);
      if (address.href !== frame.src) frame.src = address.href;
    };
    dress();
    document.addEventListener("theme:change", () => {
      if (frame.isConnected) dress();
    });
  });
})();
