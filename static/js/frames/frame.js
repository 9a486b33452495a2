// What every page of figures needs: its data, its theme, and a place for messages. Posts nothing.
(() => {
  "use strict";

  const wanted = new URLSearchParams(location.search).get("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];

  const theme = () =>
    wanted === "dark" || wanted === "light" ? wanted : system.matches ? "dark" : "light";

  const applyTheme = () => {
    document.documentElement.dataset.theme = theme();
    document.documentElement.style.colorScheme = theme();
  };

  // A key named __proto__ would reach the libraries' merging of options.
  const withoutPrototypes = (key, value) => (key === "__proto__" ? undefined : value);

  const read = () => {
    const text = document.getElementById("figure").textContent;
    try {
      return JSON.parse(text, text.includes("__proto__") ? withoutPrototypes : undefined) || {};
    } catch (problem) {
      return {};
    }
  };

  const say = (place, text) => {
    const message = document.createElement("p");
    message.className = "message";
    message.textContent = text;
    place.replaceChildren(message);
  };

  applyTheme();
  system.addEventListener("change", () => {
    applyTheme();
    for (const listener of listeners) listener(theme());
  });

  window.runsiteFrame = {
    data: read(),
    theme,
    say,
    onTheme: (listener) => listeners.push(listener),
    place: (number) => document.getElementById(`figure-${number}`),
    calm: matchMedia("(prefers-reduced-motion: reduce)").matches,
  };
})();
