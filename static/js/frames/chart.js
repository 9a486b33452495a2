// Draws the Chart.js configurations of the page; they are data only, so nothing in them is executed.
(() => {
  "use strict";

  const { data, theme, say, onTheme, place, calm } = window.runsiteFrame;
  const COLOURS = ["#2563a8", "#d97706", "#0f8b8d", "#a83279", "#5b7f1a", "#7c5cbf", "#b45309"];
  const charts = [];

  const applyDefaults = () => {
    const dark = theme() === "dark";
    Chart.defaults.color = dark ? "#adb9bd" : "#47535a";
    Chart.defaults.borderColor = dark ? "rgba(173, 185, 189, 0.16)" : "rgba(71, 83, 90, 0.14)";
    Chart.defaults.backgroundColor = COLOURS[0];
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 13;
    Chart.defaults.plugins.title.font = { size: 15, weight: "600" };
    Chart.defaults.responsive = true;
    Chart.defaults.maintainAspectRatio = false;
    if (calm) Chart.defaults.animation = false;
  };

  // A data set without a colour would be grey on grey.
  const coloured = (config) => {
    const sets = Array.isArray(config.data.datasets) ? config.data.datasets : [];
    const round = ["pie", "doughnut", "polarArea"].includes(config.type);
    sets.forEach((set, number) => {
      if (!set || typeof set !== "object") return;
      if (set.backgroundColor === undefined && set.borderColor === undefined) {
        const own = COLOURS[number % COLOURS.length];
        set.backgroundColor = round ? COLOURS : own;
        if (!round) set.borderColor = own;
      }
    });
    return config;
  };

  const draw = () => {
    while (charts.length) charts.pop().destroy();
    applyDefaults();
    (data.figures || []).forEach((original, number) => {
      const here = place(number);
      if (!original || !here) return;
      const config = coloured(JSON.parse(JSON.stringify(original)));
      const options = config.options && typeof config.options === "object" ? config.options : {};
      config.options = { ...options, responsive: true, maintainAspectRatio: false };
      const canvas = here.querySelector("canvas");
      if (!canvas) return;
      const title = options.plugins && options.plugins.title && options.plugins.title.text;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", title ? String(title) : `Chart ${number + 1}`);
      try {
        // An unknown type would otherwise draw nothing and say nothing.
        if (config.type !== undefined) Chart.registry.getController(String(config.type));
        charts.push(new Chart(canvas, config));
        here.dataset.drawn = "";
      } catch (problem) {
        say(here, `Chart.js cannot draw this figure: ${problem.message}`);
      }
    });
  };

  if (!window.Chart) {
    for (const here of document.querySelectorAll(".figure")) say(here, "Chart.js did not load.");
    return;
  }
  draw();
  onTheme(draw);
})();
