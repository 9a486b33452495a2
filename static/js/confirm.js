/* data-confirm: asks in a dialog before a form is sent, a button pressed or a link followed. */
(() => {
  "use strict";
  const { make } = window.runsite;
  const agreed = new WeakSet();

  const ask = (element) =>
    new Promise((resolve) => {
      const { confirm: question, confirmTitle, confirmAction, confirmRefuse } = element.dataset;
      const danger = "confirmDanger" in element.dataset;
      const no = make("button", { class: "button", value: "no" }, confirmRefuse || "Keep as it is");
      const yes = make(
        "button",
        { class: `button button-primary${danger ? " button-danger" : ""}`, value: "yes" },
        confirmAction || "Go on",
      );
      const title = make("h2", { id: "confirm-title" }, confirmTitle || confirmAction || "Are you sure?");
      const dialog = make("dialog", { "aria-labelledby": "confirm-title" });
      const form = make("form", { method: "dialog" });
      form.append(
        make("div", { class: "dialog-body" }, title, make("p", {}, question)),
        make("div", { class: "dialog-actions" }, no, yes),
      );
      dialog.append(form);
      document.body.append(dialog);
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog) dialog.close("no");
      });
      dialog.addEventListener("close", () => {
        dialog.remove();
        resolve(dialog.returnValue === "yes");
      });
      dialog.showModal();
      (danger ? no : yes).focus();
    });

  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      const asking = [event.submitter, form].find((part) => part?.dataset?.confirm);
      if (!asking) return;
      if (agreed.delete(form)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const submitter = event.submitter;
      ask(asking).then((yes) => {
        if (!yes) return;
        agreed.add(form);
        form.requestSubmit(submitter);
        agreed.delete(form); // a field that the browser refuses must not leave a yes behind
      });
    },
    true,
  );

  document.addEventListener(
    "click",
    (event) => {
      const element = event.target.closest?.(
        "a[data-confirm], button[data-confirm][type=button], [data-confirm]:is([hx-post], [hx-delete])",
      );
      if (!element || element.matches("form")) return;
      if (agreed.delete(element)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      ask(element).then((yes) => {
        if (!yes) return;
        agreed.add(element);
        element.click();
        agreed.delete(element);
      });
    },
    true,
  );
})();
