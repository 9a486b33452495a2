/* data-select-all="name": one box for all boxes of that name; buttons that need a choice wait for one. */
(() => {
  "use strict";
  const { behave } = window.runsite;
  let last = null;

  const scopeOf = (element) => element.closest("form, [data-selection]") ?? document;
  const boxesOf = (scope, name) => {
    const inside = [...scope.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`)];
    return inside.filter((box) => !box.disabled);
  };

  const update = (all) => {
    const scope = scopeOf(all);
    const boxes = boxesOf(scope, all.dataset.selectAll);
    const chosen = boxes.filter((box) => box.checked).length;
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
    all.disabled = boxes.length === 0;
    for (const count of scope.querySelectorAll("[data-selected-count]")) count.textContent = chosen;
    for (const part of scope.querySelectorAll("[data-shown-selected]")) part.hidden = chosen === 0;
    for (const button of scope.querySelectorAll("[data-needs-selection]")) {
      button.disabled = chosen < (Number(button.dataset.needsSelection) || 1);
    }
  };

  behave("[data-select-all]", (all) => {
    all.addEventListener("change", () => {
      for (const box of boxesOf(scopeOf(all), all.dataset.selectAll)) box.checked = all.checked;
      update(all);
    });
    update(all);
  });

  const updateAll = () => {
    for (const all of document.querySelectorAll("[data-select-all]")) update(all);
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("input[type=checkbox]:not([data-select-all])")) updateAll();
  });

  // Shift and click chooses everything between two boxes.
  document.addEventListener("click", (event) => {
    const box = event.target;
    if (!box.matches?.("input[type=checkbox][name]")) return;
    if (event.shiftKey && last && last.name === box.name && last.isConnected) {
      const boxes = boxesOf(scopeOf(box), box.name);
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
      if (from >= 0) for (const between of boxes.slice(from, to + 1)) between.checked = box.checked;
    }
    last = box;
  });

  document.addEventListener("htmx:afterSettle", updateAll);
  document.addEventListener("live:part", updateAll);
})();
