// Draws the Plotly figures of the page with our copy of the library, in the reader's theme.
(() => {
  "use strict";

  const { data, theme, say, onTheme, place } = window.runsiteFrame;
  const COLOURS = [
    "#2563a8", "#d97706", "#0f8b8d", "#a83279", "#5b7f1a", "#7c5cbf", "#b45309", "#475569",
  ];
  const DARK_COLOURS = [
    "#6ea8fe", "#f5a742", "#4fc4c6", "#e27bbd", "#a3c65c", "#b39df3", "#e39458", "#9fb0c5",
  ];
  // Options of a figure that change its looks or its handling, and reach no server.
  const CONFIG = [
    "displayModeBar", "doubleClick", "editable", "edits", "locale", "modeBarButtonsToRemove",
    "scrollZoom", "showAxisDragHandles", "showAxisRangeEntryBoxes", "showTips", "staticPlot",
    "toImageButtonOptions",
  ];
  const STREETS = ["scattermap", "densitymap", "choroplethmap"];

  const template = (dark, filled) => {
    const text = dark ? "#adb9bd" : "#47535a";
    const grid = dark ? "rgba(173, 185, 189, 0.14)" : "rgba(71, 83, 90, 0.12)";
    const line = dark ? "rgba(173, 185, 189, 0.35)" : "rgba(71, 83, 90, 0.35)";
    const paper = filled ? (dark ? "#151a1d" : "#ffffff") : "rgba(0, 0, 0, 0)";
    const axis = {
      gridcolor: grid,
      linecolor: line,
      zerolinecolor: line,
      automargin: true,
      title: { standoff: 12 },
    };
    const globe = {
      bgcolor: "rgba(0, 0, 0, 0)",
      landcolor: dark ? "#2b333d" : "#e9ecef",
      lakecolor: dark ? "#1b2530" : "#d7e5f2",
      oceancolor: dark ? "#10161d" : "#eef4fa",
      showland: true,
      showcountries: true,
      countrycolor: line,
      coastlinecolor: line,
    };
    const space = { backgroundcolor: "rgba(0, 0, 0, 0)", gridcolor: grid, zerolinecolor: line };
    const outlined = dark ? { marker: { line: { color: "rgba(255, 255, 255, 0.5)", width: 0.8 } } } : {};
    return {
      data: { scatter: [outlined] },
      layout: {
        autosize: true,
        colorway: dark ? DARK_COLOURS : COLOURS,
        font: { color: text, family: getComputedStyle(document.body).fontFamily, size: 13 },
        title: {
          font: { size: 16 },
          x: 0,
          xanchor: "left",
          y: 1,
          yanchor: "top",
          yref: "container",
          pad: { t: 14, l: 16 },
        },
        hoverlabel: { align: "left" },
        paper_bgcolor: paper,
        plot_bgcolor: paper,
        margin: { t: 56, r: 24, b: 48, l: 56 },
        xaxis: axis,
        yaxis: axis,
        geo: globe,
        scene: { xaxis: space, yaxis: space, zaxis: space },
        polar: { bgcolor: paper, angularaxis: axis, radialaxis: axis },
        ternary: { bgcolor: paper, aaxis: axis, baxis: axis, caxis: axis },
        legend: { bgcolor: "rgba(0, 0, 0, 0)" },
        modebar: { bgcolor: "rgba(0, 0, 0, 0)", color: line, activecolor: text },
        coloraxis: { colorbar: { outlinewidth: 0, ticks: "outside" } },
        colorscale: { sequential: "Viridis", sequentialminus: "Viridis", diverging: "RdBu" },
      },
    };
  };

  // Figures of the Python library carry its stock look; that is nobody's choice and reads badly here.
  const isStock = (given) => {
    const layout = given && typeof given === "object" && given.layout;
    return Boolean(
      layout && layout.plot_bgcolor === "#E5ECF6" && layout.paper_bgcolor === "white"
    );
  };

  const plainStyle = (dark) => ({
    version: 8,
    sources: {},
    layers: [
      { id: "plain", type: "background", paint: { "background-color": dark ? "#262e33" : "#eef1f3" } },
    ],
  });

  const isObject = (value) => Boolean(value) && typeof value === "object" && !Array.isArray(value);

  const prepared = (figure) => {
    const layout = isObject(figure.layout) ? { ...figure.layout } : {};
    const traces = figure.data.filter(isObject).map((trace) => {
      // Plotly 4 dropped the older names of these traces.
      const old = String(trace.type).match(/^(.*map)box$/);
      if (!old || !STREETS.includes(old[1])) return trace;
      const moved = { ...trace, type: old[1] };
      if (typeof moved.subplot === "string") moved.subplot = moved.subplot.replace("mapbox", "map");
      return moved;
    });
    for (const key of Object.keys(layout)) {
      const old = key.match(/^mapbox(\d*)$/);
      if (old) {
        layout[`map${old[1]}`] = layout[key];
        delete layout[key];
      }
    }
    const filled = layout.paper_bgcolor !== undefined || layout.plot_bgcolor !== undefined;
    // Who chose a background chose it for dark text.
    const dark = theme() === "dark" && !filled;
    if (!layout.template || isStock(layout.template)) layout.template = template(dark, filled);
    // The library spreads the ticks of a second axis over the grid of the first: 14.9, 29.8, …
    for (const key of Object.keys(layout)) {
      const axis = layout[key];
      if (!/^[xy]axis\d+$/.test(key) || !isObject(axis) || !axis.overlaying) continue;
      const told = ["tickmode", "tickvals", "dtick"].some((name) => axis[name] !== undefined);
      layout[key] = told ? axis : { showgrid: false, ...axis, tickmode: "auto" };
    }
    const street = traces.some((trace) => STREETS.includes(trace.type));
    for (const key of Object.keys(layout)) {
      if (!/^map\d*$/.test(key) || !isObject(layout[key])) continue;
      layout[key] = { ...layout[key], style: plainStyle(dark) };
      if (Array.isArray(layout[key].layers)) {
        layout[key].layers = layout[key].layers.filter(
          (layer) => isObject(layer) && isObject(layer.source)
        );
      }
    }
    if (street && !isObject(layout.map)) layout.map = { style: plainStyle(dark) };
    return { data: traces, layout, frames: Array.isArray(figure.frames) ? figure.frames : [] };
  };

  const configOf = (figure) => {
    const given = isObject(figure.config) ? figure.config : {};
    const config = {};
    for (const key of CONFIG) if (given[key] !== undefined) config[key] = given[key];
    // Outlines are loaded with the page; the address keeps the library from asking its makers' host.
    return { ...config, displaylogo: false, responsive: true, topojsonURL: "/" };
  };

  const follow = (event) => {
    const point = event.points && event.points[0];
    const given = point && point.customdata;
    const address = Array.isArray(given) ? given[0] : given;
    if (typeof address === "string" && /^\/(?![/\\])/.test(address)) window.open(address, "_top");
  };

  const draw = async (figure, number) => {
    const here = place(number);
    if (!figure || !here) return;
    try {
      const { data: traces, layout, frames } = prepared(JSON.parse(JSON.stringify(figure)));
      await Plotly.react(here, { data: traces, layout, frames, config: configOf(figure) });
      if (document.documentElement.dataset.links !== undefined && !here.dataset.drawn) {
        here.on("plotly_click", follow);
      }
      here.dataset.drawn = "yes";
    } catch (problem) {
      const reason = problem && problem.message ? problem.message : String(problem);
      say(here, `Plotly cannot draw this figure: ${reason}`);
    }
  };

  if (!window.Plotly) {
    for (const here of document.querySelectorAll(".figure")) say(here, "Plotly did not load.");
    return;
  }
  const drawAll = () => (data.figures || []).forEach((figure, number) => draw(figure, number));
  drawAll();
  onTheme(drawAll);
})();
