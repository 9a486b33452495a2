/* data-try on a form: sends the request that it describes with the key of the page, and shows what came back. */
(() => {
  "use strict";
  const { behave, bytes } = window.runsite;
  const LONGEST_SHOWN = 200_000;
  const LONGEST_READ = 5 * 1024 * 1024;

  const addressOf = (form) => {
    let path = form.dataset.try;
    const query = new URLSearchParams();
    for (const field of form.querySelectorAll("[data-try-in]")) {
      const value = field.value.trim();
      if (field.dataset.tryIn === "path") {
        if (!value) {
          field.focus();
          throw new Error(`Fill in ${field.name}.`);
        }
        if (value === "." || value === "..") throw new Error(`${field.name} cannot be ${value}.`);
        path = path.replace(`{${field.name}}`, encodeURIComponent(value));
      } else if (value && field.dataset.tryIn === "query") query.set(field.name, value);
    }
    const words = query.toString();
    return words ? `${path}?${words}` : path;
  };

  const headersOf = (form) =>
    Object.fromEntries(
      [...form.querySelectorAll('[data-try-in="header"]')]
        .map((field) => [field.name, field.value.trim()])
        .filter(([, value]) => value),
    );

  const textOf = async (response) => {
    const kind = response.headers.get("Content-Type") ?? "";
    const length = Number(response.headers.get("Content-Length") ?? 0);
    const isText = /json|text|xml/.test(kind);
    if (!isText || length > LONGEST_READ) {
      await response.body?.cancel();
      const size = length ? bytes(length) : "bytes";
      return [`${size} of ${kind || "unknown type"}: not shown here.`, length];
    }
    const text = await response.text();
    let shown = text;
    try {
      if (kind.includes("json")) shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // shown as it came
    }
    if (shown.length > LONGEST_SHOWN) shown = `${shown.slice(0, LONGEST_SHOWN)}\n…`;
    return [shown, new Blob([text]).size];
  };

  behave("form[data-try]", (form) => {
    const status = form.querySelector("[data-try-status]");
    const box = form.querySelector("[data-try-answer]");
    const button = form.querySelector("button");

    const send = async () => {
      const key = document.querySelector("[data-try-key]");
      if (!key.value.trim()) {
        key.scrollIntoView({ block: "center" });
        key.focus();
        throw new Error("Paste an API key at the top of the page first.");
      }
      const method = form.dataset.tryMethod;
      const body = form.querySelector("[data-try-body]")?.value;
      const began = performance.now();
      const response = await fetch(addressOf(form), {
        method,
        headers: {
          ...headersOf(form),
          Authorization: `Bearer ${key.value.trim()}`,
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        },
        body,
        credentials: "omit",
        cache: "no-store",
      });
      const took = performance.now() - began;
      const [text, size] = await textOf(response);
      status.dataset.tryResult = response.ok ? "fine" : "wrong";
      status.textContent = `${response.status} ${response.statusText} in ${took.toFixed(0)} ms, ${bytes(size)}`;
      box.querySelector("code").textContent = text;
      box.hidden = !text;
    };

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      status.textContent = "Sending …";
      delete status.dataset.tryResult;
      try {
        await send();
      } catch (error) {
        status.dataset.tryResult = "wrong";
        status.textContent = error instanceof TypeError ? "The console did not answer." : error.message;
        box.hidden = true;
      } finally {
        button.disabled = false;
      }
    });
  });
})();
