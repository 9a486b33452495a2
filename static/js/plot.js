/* data-plot: draws a Plotly figure whose JSON stands beside it; the library is fetched when the first figure comes near. */
(() => {
  "use strict";
  const { behave } = window.runsite;
  const libraries = new Map(); // address → promise of the library

  const library = (address) => {
    if (!libraries.has(address)) {
      libraries.set(
        address,
        new Promise((resolve, reject) => {
          if (window.Plotly) return resolve(window.Plotly);
          const script = document.createElement("script");
          script.src = address;
          script.addEventListener("load", () => resolve(window.Plotly));
          script.addEventListener("error", () => reject(new Error("the script did not load")));
          document.head.append(script);
        }),
      );
    }
    return libraries.get(address);
  };

  // Tokens are pairs of a light and a dark colour: an element must wear one to tell which it is now.
  const colour = (name, near) => {
    const probe = window.runsite.make("span", { hidden: true });
    probe.style.color = `var(--${name})`;
    near.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };

  const MEANINGS = ["queued", "running", "succeeded", "failed", "canceled"];

  const themed = (figure, near) => {
    const [ink, soft, line, surface] = ["ink", "ink-soft", "line", "raised"].map((name) => colour(name, near));
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line, automargin: true };
    const layout = structuredClone(figure.layout ?? {});
    for (const name of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...axis, ...layout[name] };
    }
    layout.xaxis ??= { ...axis };
    layout.yaxis ??= { ...axis };
    return {
      ...layout,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, ...layout.font, color: soft },
      hoverlabel: { bgcolor: surface, bordercolor: line, ...layout.hoverlabel, font: { color: ink } },
      margin: { l: 48, r: 16, t: layout.title ? 40 : 12, b: 36, ...layout.margin },
      colorway: layout.colorway ?? ["accent", "running", "warning", "succeeded", "queued", "failed"].map((name) => colour(name, near)),
    };
  };

  // A trace may carry "meta": {"status": "failed"}: it takes the colour of that status, in either theme.
  const colouredTraces = (figure, near) =>
    structuredClone(figure.data ?? []).map((trace) => {
      const status = trace.meta?.status;
      if (!MEANINGS.includes(status)) return trace;
      const value = colour(status, near);
      return { ...trace, marker: { opacity: 0.88, ...trace.marker, color: value }, line: { ...trace.line, color: value } };
    });

  const draw = async (element, figure) => {
    const { plotlySrc, plotlyTopojson } = element.dataset;
    const plotly = await library(plotlySrc);
    const config = {
      displaylogo: false,
      responsive: true,
      displayModeBar: "plotBar" in element.dataset ? "hover" : false,
      ...(plotlyTopojson ? { topojsonURL: plotlyTopojson } : {}),
      ...figure.config,
    };
    const paint = () => plotly.react(element, colouredTraces(figure, element), themed(figure, element), config);
    element.replaceChildren();
    await paint();
    element.on("plotly_click", ({ points }) => {
      // A point may carry the address of its run; only ours are followed.
      const address = [points[0]?.customdata].flat().find((value) => typeof value === "string");
      if (address?.startsWith("/") && !address.startsWith("//")) location.assign(address);
    });
    document.addEventListener("theme:change", () => {
      if (element.isConnected) paint();
    });
  };

  behave("[data-plot]", (element) => {
    const json = element.querySelector("script[type='application/json']") ?? element.nextElementSibling;
    const say = (text) => {
      element.replaceChildren(window.runsite.make("div", { class: "plot-message", role: "status" }, text));
    };
    let figure;
    try {
      figure = JSON.parse(json.textContent);
    } catch {
      say("This figure cannot be read.");
      return;
    }
    const near = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        near.disconnect();
        draw(element, figure).catch((error) => say(`This figure cannot be drawn: ${error.message}.`));
      },
      { rootMargin: "200px" },
    );
    near.observe(element);
  });
})();
