/* .inline-edit: Enter in the field presses the button beside it; the form they share has many. */
(() => {
  "use strict";
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches?.(".inline-edit > input")) return;
    const button = event.target.parentElement.querySelector("button");
    if (!button) return;
    event.preventDefault();
    button.click();
  });
})();
