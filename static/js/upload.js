/* data-upload on a form: sends it with progress and a way to cancel; follows the answer or shows the page of errors. */
(() => {
  "use strict";
  const { behave, bytes, make, refresh } = window.runsite;

  const left = (seconds) => {
    if (!Number.isFinite(seconds)) return "";
    if (seconds < 60) return `about ${Math.max(1, Math.round(seconds))} s left`;
    return `about ${Math.round(seconds / 60)} min left`;
  };

  // The page of errors takes the place of ours; chosen files are carried over, unless the server kept them.
  const showPage = (html, form) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const next = page.querySelector("main");
    const main = document.querySelector("main");
    if (!next || !main) return false;
    const files = [...form.querySelectorAll("input[type=file][name]")].filter((input) => input.files.length > 0);
    document.title = page.title || document.title;
    const fresh = document.importNode(next, true);
    for (const old of files) {
      const input = fresh.querySelector(`input[type=file][name="${CSS.escape(old.name)}"]:not([data-kept])`);
      if (!input) continue;
      input.multiple = old.multiple;
      input.dataset.dropPaths = form.querySelector(`input[name="${CSS.escape(old.name)}_paths"]`)?.value ?? "";
      input.files = old.files;
    }
    main.replaceWith(fresh);
    refresh(fresh);
    const field = fresh.querySelector(":is(input, select, textarea)[aria-invalid=true]");
    const wrong = field ?? fresh.querySelector(".errorlist, .notice[data-level=danger]") ?? fresh;
    wrong.closest("details")?.setAttribute("open", "");
    (field ?? fresh).focus({ preventScroll: true });
    wrong.scrollIntoView({ block: wrong === fresh ? "start" : "center" });
    return true;
  };

  behave("form[data-upload]", (form) => {
    let request = null;

    form.addEventListener("submit", (event) => {
      if (event.defaultPrevented) return;
      event.preventDefault();
      if (request) return;

      const bar = make("progress", { class: "bar", max: "100", value: "0", "aria-label": "Upload" });
      const said = make("span", { role: "status" }, "Starting…");
      const cancel = make("button", { type: "button", class: "button button-small" }, "Cancel upload");
      const panel = make("div", { class: "upload" });
      panel.append(bar, make("div", { class: "upload-line" }, said, cancel));
      const actions = form.querySelector(".form-actions") ?? form;
      actions.before === undefined || actions === form ? form.append(panel) : actions.before(panel);
      const buttons = [...form.querySelectorAll("button:not([type=button])")].filter((b) => !b.disabled);

      const data = new FormData(form, event.submitter);
      for (const button of buttons) button.disabled = true;
      request = new XMLHttpRequest();
      const xhr = request;
      const started = performance.now();

      const fail = (text) => {
        request = null;
        for (const button of buttons) button.disabled = false;
        const notice = make("div", { class: "notice", "data-level": "danger", role: "alert" });
        notice.append(window.runsite.icon("x-circle"), make("div", {}, text));
        panel.replaceWith(notice);
        form.addEventListener("submit", () => notice.remove(), { once: true });
      };

      xhr.upload.addEventListener("progress", ({ loaded, total, lengthComputable }) => {
        if (!lengthComputable) return;
        const share = total > 0 ? loaded / total : 1;
        bar.value = share * 100;
        const seconds = (performance.now() - started) / 1000;
        const rest = seconds > 2 ? left((total - loaded) / (loaded / seconds)) : "";
        said.textContent = `${Math.floor(share * 100)} %, ${bytes(loaded)} of ${bytes(total)}${rest && ` · ${rest}`}`;
      });
      xhr.upload.addEventListener("load", () => {
        bar.removeAttribute("value");
        said.textContent = "Sent. The server is checking it…";
      });
      xhr.addEventListener("load", () => {
        const to = xhr.getResponseHeader("X-Runsite-Location");
        if (xhr.status >= 200 && xhr.status < 300) {
          // Without the header we were led elsewhere, to the sign-in page for one: go there.
          window.location.assign(to || xhr.responseURL);
        } else if (!showPage(xhr.responseText, form)) {
          fail(
            xhr.status === 413
              ? "This is larger than the server accepts. Send less, or ask for a higher limit."
              : `The server answered ${xhr.status}. Nothing was kept; try again.`,
          );
        } else {
          request = null;
        }
      });
      xhr.addEventListener("error", () => fail("The connection broke. Nothing was kept; try again."));
      xhr.addEventListener("abort", () => fail("Upload canceled. Nothing was kept."));
      cancel.addEventListener("click", () => xhr.abort());

      const target = event.submitter?.getAttribute("formaction") ?? form.getAttribute("action");
      xhr.open("POST", target || window.location.href);
      xhr.setRequestHeader("X-Runsite-Upload", "1");
      xhr.send(data);
    });

    window.addEventListener("beforeunload", (event) => {
      if (request && request.readyState < 4 && form.isConnected) event.preventDefault();
    });
  });
})();
