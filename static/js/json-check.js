/* data-json-check on a textarea: says in which line and column the text stops being JSON. */
(() => {
  "use strict";
  const { behave, make } = window.runsite;
  const LIMIT = 2_000_000; // characters; the server checks larger ones

  const place = (text, at) => {
    const before = text.slice(0, at);
    return { line: before.split("\n").length, column: at - before.lastIndexOf("\n") };
  };

  // Engines word their errors differently: take the offset or the line from the words, else the end.
  const where = (text, message) => {
    const line = /line (\d+) column (\d+)/.exec(message);
    if (line) return { line: Number(line[1]), column: Number(line[2]) };
    const offset = /position (\d+)/.exec(message);
    return place(text, offset ? Number(offset[1]) : text.length);
  };

  behave("textarea[data-json-check]", (area) => {
    const note = make("p", { class: "help", role: "status", id: `${area.id || area.name}-json` });
    area.after(note);
    area.setAttribute("aria-describedby", `${area.getAttribute("aria-describedby") ?? ""} ${note.id}`.trim());
    let timer;

    const say = (text, wrong) => {
      note.textContent = text;
      note.classList.toggle("errorlist", wrong);
      if (wrong) area.setAttribute("aria-invalid", "true");
      else area.removeAttribute("aria-invalid");
    };

    const check = () => {
      const text = area.value;
      if (text.trim() === "") return say("", false);
      if (text.length > LIMIT) return say("Large text: it is checked when you launch.", false);
      try {
        const value = JSON.parse(text);
        const kind = Array.isArray(value) ? `list of ${value.length}` : typeof value;
        say(`JSON is valid: ${kind === "object" ? `${Object.keys(value ?? {}).length} keys` : kind}.`, false);
      } catch (error) {
        const { line, column } = where(text, error.message);
        const reason = error.message
          .replace(/^JSON\.parse: /, "")
          .replace(/,? ?(\(line|in JSON at position|at position|at line)[^]*$/, "")
          .replace(/,? ?"?\.\.\.[^]*is not valid JSON$/, "");
        say(`Line ${line}, column ${column}: ${reason}.`, true);
      }
    };

    area.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(check, 250);
    });
    area.addEventListener("blur", check);
    if (area.value.trim()) check();
  });
})();
