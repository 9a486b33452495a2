/* Toasts: closed by a click; good news and notes leave by themselves, unless someone is reading them. */
(() => {
  "use strict";
  const { behave, icon, make } = window.runsite;
  const STAYS_MS = 7000;
  const ICONS = { success: "check-circle", warning: "alert", danger: "x-circle", info: "info" };

  behave("[data-toast]", (toast) => {
    let timer;
    const leave = () => toast.remove();
    toast.querySelector("[data-toast-close]")?.addEventListener("click", leave);
    if (toast.dataset.level === "danger" || toast.dataset.level === "warning") return;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(leave, STAYS_MS);
    };
    const stay = () => clearTimeout(timer);
    toast.addEventListener("pointerenter", stay);
    toast.addEventListener("pointerleave", wait);
    toast.addEventListener("focusin", stay);
    toast.addEventListener("focusout", wait);
    wait();
  });

  const show = (text, level = "info") => {
    const region = document.getElementById("toasts");
    if (!region) return;
    const close = make("button", {
      type: "button",
      class: "button button-quiet button-icon button-small",
      "data-toast-close": true,
      "aria-label": "Close",
    });
    close.append(icon("close", "icon-small"));
    const toast = make("div", { class: "toast", "data-toast": true, "data-level": level });
    toast.append(icon(ICONS[level] ?? "info"), make("div", { class: "toast-text" }, text), close);
    region.append(toast);
    window.runsite.refresh(toast);
  };

  window.runsite.toast = show;
  // HX-Trigger: {"toast": {"text": "…", "level": "success"}}
  document.addEventListener("toast", (event) => show(event.detail.text, event.detail.level));
  // An error of ours comes as a toast and names #toasts as its place; other errors get words here.
  const isOurs = (event) => event.detail.xhr.getResponseHeader("X-Runsite-Error") !== null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isOurs(event) && event.detail.xhr.getResponseHeader("HX-Retarget")) event.detail.shouldSwap = true;
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (isOurs(event)) return;
    const status = event.detail.xhr.status;
    show(
      status === 403 || status === 401
        ? "You may not do this, or you are signed out. Reload the page."
        : `The server answered ${status}. Reload the page and try again.`,
      "danger",
    );
  });
  document.addEventListener("htmx:sendError", () => {
    show("The server did not answer. Check your connection and try again.", "danger");
  });
})();
