/* data-copy="#id" or data-copy-text="…": puts text on the clipboard and says so. */
(() => {
  "use strict";
  const SHOWN_MS = 1600;

  // Pages served without TLS have no clipboard interface; a selection still works there.
  const write = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = window.runsite.make("textarea", { class: "visually-hidden", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("not copied");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy], [data-copy-text]");
    if (!button) return;
    const source = button.dataset.copy && document.querySelector(button.dataset.copy);
    const text = button.dataset.copyText ?? source?.value ?? source?.textContent ?? "";
    const title = button.title;
    try {
      await write(text);
    } catch {
      window.runsite.toast?.("The browser did not allow copying. Select the text and copy it.", "warning");
      return;
    }
    button.dataset.copied = "";
    button.title = "Copied";
    const said = button.querySelector(".copy-word");
    const word = said?.textContent;
    if (said && word !== "Copied") said.textContent = "Copied";
    setTimeout(() => {
      delete button.dataset.copied;
      button.title = title;
      if (said && word !== "Copied") said.textContent = word;
    }, SHOWN_MS);
  });
})();
