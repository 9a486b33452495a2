/* data-slider: a range beside a number field, each following the other. The number alone is sent. */
(() => {
  "use strict";
  const { behave, make } = window.runsite;

  behave("[data-slider]", (element) => {
    const number = element.matches("input") ? element : element.querySelector("input[type=number]");
    if (!number || number.min === "" || number.max === "") return;
    const range = make("input", {
      type: "range",
      min: number.min,
      max: number.max,
      step: number.step || "1",
      // The number field is what a reader and the keyboard use; the range is a second way to the same value.
      "aria-hidden": "true",
      tabindex: "-1",
      disabled: number.disabled,
    });
    const wrap = make("div", { class: "slider" });
    number.before(wrap);
    wrap.append(range, number);
    const ends = make("div", { class: "slider-ends", "aria-hidden": "true" });
    ends.append(make("span", {}, number.min), make("span", {}, number.max));
    wrap.append(ends);

    const follow = () => {
      range.value = number.value === "" ? number.placeholder || number.min : number.value;
    };
    range.addEventListener("input", () => {
      number.value = range.value;
      number.dispatchEvent(new Event("input", { bubbles: true }));
    });
    range.addEventListener("change", () => {
      number.dispatchEvent(new Event("change", { bubbles: true }));
    });
    number.addEventListener("input", follow);
    number.form?.addEventListener("reset", () => setTimeout(follow));
    follow();
  });
})();
