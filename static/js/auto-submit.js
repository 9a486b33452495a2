/* data-auto-submit on a form: choosing a value sends it; empty fields stay out of the address. */
(() => {
  "use strict";
  const { behave } = window.runsite;

  behave("form[data-auto-submit]", (form) => {
    for (const button of form.querySelectorAll("[data-auto-submit-hidden]")) button.hidden = true;
    form.addEventListener("change", (event) => {
      if (event.target.matches("select, input[type=checkbox], input[type=radio], input[type=date]")) {
        form.requestSubmit();
      }
    });
    form.addEventListener("formdata", (event) => {
      if (form.method !== "get") return;
      for (const [name, value] of [...event.formData.entries()]) {
        if (value === "") event.formData.delete(name);
      }
    });
  });
})();
