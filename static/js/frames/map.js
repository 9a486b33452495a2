// What Folium's script asks for: features, styles, tooltips and layer names, all taken from the
// page's data and put on the page as text, never as markup.
(() => {
  "use strict";

  const { data } = window.runsiteFrame;
  const maps = data.maps || [];
  const SVG = "http://www.w3.org/2000/svg";

  const defaults = {
    Point: { radius: 6, weight: 1.5, fillOpacity: 0.85, fill: true },
    LineString: { weight: 3, opacity: 0.9 },
    Polygon: { weight: 2, opacity: 0.9, fillOpacity: 0.2, fill: true },
  };

  const style = (feature) => {
    const kind = feature.geometry.type.replace("Multi", "");
    const own = feature.properties.style || {};
    const colour = own.color || own.fillColor || feature.properties.colour;
    return { color: colour, fillColor: own.fillColor || colour, ...defaults[kind], ...own };
  };

  const cell = (name, text) => {
    const element = document.createElement(name);
    element.textContent = text;
    element.dir = "auto";
    return element;
  };

  const table = (rows) => {
    const element = document.createElement("table");
    element.className = "facts";
    for (const [key, value] of rows) {
      const row = document.createElement("tr");
      const head = cell("th", key);
      head.scope = "row";
      row.append(head, cell("td", value));
      element.append(row);
    }
    return element;
  };

  const named = (rows) => (rows || []).find(([key]) => ["name", "title", "label"].includes(key));

  const popup = (properties) => {
    if (!properties.details) return table(properties.rows);
    const box = document.createElement("div");
    const name = named(properties.rows);
    if (name) {
      const heading = cell("p", name[1]);
      heading.className = "name";
      box.append(heading);
    }
    box.append(table(properties.details));
    return box;
  };

  const describe = (feature, layer) => {
    const properties = feature.properties;
    if (properties.rows) layer.bindTooltip(() => table(properties.rows), { sticky: true });
    if (properties.rows || properties.details) {
      layer.bindPopup(() => popup(properties), { maxWidth: 360, maxHeight: 320 });
    }
    if (!layer.setStyle) return;
    const plain = style(feature);
    layer.on("mouseover", () =>
      layer.setStyle({
        weight: (plain.weight || 0) + 2,
        opacity: 1,
        fillOpacity: plain.fill === false ? plain.fillOpacity : Math.min(1, (plain.fillOpacity || 0) + 0.2),
      })
    );
    layer.on("mouseout", () => layer.setStyle(plain));
  };

  const features = (map, number) => {
    const layer = maps[map].layers[number];
    for (const feature of layer.features) feature.properties.colour = layer.colour;
    return { type: "FeatureCollection", features: layer.features };
  };

  // Leaflet takes the name of a layer as markup, so it gets markup made from text.
  const label = (layer) => {
    const box = document.createElement("span");
    const swatch = document.createElementNS(SVG, "svg");
    swatch.setAttribute("class", "swatch");
    swatch.setAttribute("viewBox", "0 0 10 10");
    const dot = document.createElementNS(SVG, "circle");
    for (const [key, value] of [["cx", 5], ["cy", 5], ["r", 4.5]]) dot.setAttribute(key, value);
    const colours = new Set(layer.features.map((feature) => style(feature).color));
    if (colours.size === 1) dot.setAttribute("fill", [...colours][0]);
    else dot.setAttribute("class", "mixed");
    swatch.append(dot);
    const name = document.createElement("bdi");
    name.textContent = layer.name;
    const count = document.createElement("span");
    count.className = "count";
    count.textContent = layer.features.length.toLocaleString("en");
    box.append(swatch, name, count);
    return box.outerHTML;
  };

  const cluster = (map, number) => (group) => {
    const { colour } = maps[map].layers[number];
    const bubble = document.createElement("div");
    bubble.textContent = group.getChildCount().toLocaleString("en");
    bubble.style.background = colour;
    return L.divIcon({ html: bubble, className: "marker-cluster", iconSize: [34, 34] });
  };

  if (!window.L) {
    for (const here of document.querySelectorAll(".figure")) {
      window.runsiteFrame.say(here, "The map library did not load.");
    }
    return;
  }

  const makeControl = L.control.layers;
  L.control.layers = (bases, overlays, options) => {
    const renamed = {};
    for (const [key, group] of Object.entries(overlays)) {
      const [, map, number] = key.match(/^m(\d+)l(\d+)$/);
      for (const feature of maps[map].layers[number].features) {
        feature.properties.colour = maps[map].layers[number].colour;
      }
      // Names may be equal: the key keeps them apart, behind what is seen.
      renamed[`${label(maps[map].layers[number])}<!--${key}-->`] = group;
    }
    return makeControl(bases, renamed, options);
  };

  L.Control.Attribution.prototype.options.prefix = false;
  L.Map.addInitHook(function () {
    const element = this.getContainer();
    this.whenReady(() => {
      element.closest(".figure").dataset.drawn = "";
    });
    new ResizeObserver(() => this.invalidateSize({ pan: false })).observe(element);
  });

  window.runsiteMap = {
    style,
    describe,
    features,
    cluster,
    point: (feature, place) => L.circleMarker(place, style(feature)),
    attribution: () => {
      const box = document.createElement("span");
      box.textContent = data.attribution || "";
      return box.innerHTML;
    },
  };
})();
