/* data-original around a field: says "was …" while the field differs from that value. */
(() => {
  "use strict";
  const { behave, make } = window.runsite;

  const valueOf = (fields) => {
    const [first] = fields;
    if (first.type === "checkbox" && fields.length === 1 && first.value === "true") return String(first.checked);
    if (first.type === "checkbox") return fields.filter((field) => field.checked).map((field) => field.value).join(",");
    if (first.multiple) return [...first.selectedOptions].map((option) => option.value).join(",");
    return first.value.replace(/\r\n/g, "\n");
  };

  const same = (one, other) => {
    if (one === other) return true;
    return one.trim() !== "" && other.trim() !== "" && Number(one) === Number(other);
  };

  const words = (fields, before) => {
    const chosen = fields[0].options && [...fields[0].options].find((option) => option.value === before);
    const text = chosen ? chosen.textContent.trim() : before;
    return text ? `was ${text.slice(0, 60)}` : "was empty";
  };

  behave("[data-original]", (element) => {
    const fields = [...element.querySelectorAll("input:not([type=hidden], [type=range]), select, textarea")];
    if (fields.length === 0) return;
    const show = () => {
      const before = element.dataset.original;
      const differs = !same(valueOf(fields), before);
      const old = element.querySelector(".field-changed");
      if (!differs) old?.remove();
      else if (old) old.textContent = words(fields, before);
      else {
        const mark = make("span", { class: "field-changed" }, words(fields, before));
        const head = element.querySelector(".field-name") ?? element.querySelector(".field-head, legend, label");
        head?.matches(".field-name") ? head.before(mark) : head?.append(mark);
      }
    };
    element.addEventListener("input", show);
    element.addEventListener("change", show);
  });
})();
