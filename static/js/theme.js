/* Sets the chosen theme before the first paint, and says that scripts run; the toggle goes system, light, dark. */
(() => {
  "use strict";
  const root = document.documentElement;
  const KEY = "runsite-theme";
  const ORDER = ["system", "light", "dark"];
  root.classList.add("js");

  const stored = () => {
    try {
      const value = localStorage.getItem(KEY);
      return ORDER.includes(value) ? value : "system";
    } catch {
      return "system"; // storage refused by the browser: the theme lasts for this page
    }
  };

  let theme = stored();

  const apply = () => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const name of document.querySelectorAll("[data-theme-name]")) name.textContent = theme;
    document.dispatchEvent(new CustomEvent("theme:change", { detail: { theme } }));
  };

  apply();
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // see stored()
    }
    apply();
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    theme = stored();
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (theme === "system") apply();
  });
})();
