/* data-json-check on a textarea: says in which line and column the text stops being JSON, and why. */
(() => {
  "use strict";
  const { behave, make } = window.runsite;
  const LIMIT = 2_000_000; // characters; larger text is checked by the server

  /** The first mistake as {at, why}: engines word and place their errors differently, so we look ourselves. */
  const mistake = (text) => {
    let at = 0;
    const fail = (why, where = at) => {
      throw { at: where, why };
    };
    const space = () => {
      while (" \t\n\r".includes(text[at] ?? "x")) at += 1;
    };
    const string = () => {
      const start = at;
      at += 1;
      while (text[at] !== '"') {
        if (at >= text.length) fail("this text has no closing quote", start);
        if (text[at] < " ") fail("a line break or control character inside a text: write \\n or \\t");
        if (text[at] === "\\") {
          at += 1;
          if (text[at] === "u") {
            if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) fail("\\u needs four hexadecimal digits");
            at += 4;
          } else if (!'"\\/bfnrt'.includes(text[at] ?? "x")) {
            fail("this character cannot follow a backslash");
          }
        }
        at += 1;
      }
      at += 1;
    };
    // Depth is kept on a list of ours: deep text must not exhaust the engine's stack.
    const open = [];
    const value = () => {
      space();
      const sign = text[at];
      if (sign === "{" || sign === "[") {
        open.push(sign);
        at += 1;
        space();
        if (text[at] === (sign === "{" ? "}" : "]")) {
          open.pop();
          at += 1;
          return true;
        }
        if (sign === "{") key();
        return false;
      }
      if (sign === '"') string();
      else {
        const rest = text.slice(at, at + 400);
        const plain = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/.exec(rest);
        if (!plain) {
          if (sign === undefined) fail("the text ends too early: a value is missing");
          if (sign === "'") fail('texts stand in double quotes: "…"');
          if (sign === "]" || sign === "}") fail(`a value is missing before "${sign}" (is there a comma too many?)`);
          const word = /^[\w.+-]+/.exec(rest)?.[0] ?? sign;
          fail(`"${word}" is not a JSON value`);
        }
        at += plain[0].length;
      }
      return true;
    };
    const key = () => {
      space();
      if (text[at] === "}") fail('a key is missing before "}" (is there a comma too many?)');
      if (text[at] !== '"') fail(text[at] === undefined ? "the text ends too early: a key is missing" : 'keys stand in double quotes: "…"');
      string();
      space();
      if (text[at] !== ":") fail('":" is missing after the key');
      at += 1;
    };
    try {
      for (;;) {
        if (!value()) continue;
        for (;;) {
          space();
          const inside = open.at(-1);
          if (inside === undefined) {
            if (at < text.length) fail("the value has ended before this");
            return null;
          }
          const end = inside === "{" ? "}" : "]";
          if (text[at] === end) {
            open.pop();
            at += 1;
          } else if (text[at] === ",") {
            at += 1;
            if (inside === "{") key();
            break;
          } else {
            fail(text[at] === undefined ? `the text ends too early: "${end}" is missing` : `"," or "${end}" is missing before this`);
          }
        }
      }
    } catch (found) {
      if (typeof found.at !== "number") throw found;
      return found;
    }
  };

  const place = (text, at) => {
    const before = text.slice(0, at);
    return `Line ${before.split("\n").length}, column ${at - before.lastIndexOf("\n")}`;
  };

  const count = (number, word) => `${number.toLocaleString()} ${word}${number === 1 ? "" : "s"}`;
  const describe = (value) => {
    if (Array.isArray(value)) return `a list of ${count(value.length, "item")}`;
    if (value && typeof value === "object") return count(Object.keys(value).length, "key");
    return "one value";
  };

  behave("textarea[data-json-check]", (area) => {
    const note = make("p", { class: "help", role: "status", id: `${area.id || area.name}-json` });
    const saidByServer = area.getAttribute("aria-invalid") === "true";
    area.after(note);
    area.setAttribute("aria-describedby", `${area.getAttribute("aria-describedby") ?? ""} ${note.id}`.trim());
    let timer;

    const say = (text, wrong) => {
      note.textContent = text;
      note.classList.toggle("help-wrong", wrong);
      if (wrong || (saidByServer && area.value === area.defaultValue)) area.setAttribute("aria-invalid", "true");
      else area.removeAttribute("aria-invalid");
    };

    const check = () => {
      const text = area.value;
      if (text.trim() === "") return say("", false);
      if (text.length > LIMIT) return say("Large text: the server checks it.", false);
      try {
        return say(`Valid JSON, ${describe(JSON.parse(text))}.`, false);
      } catch (error) {
        const found = mistake(text);
        return say(found ? `${place(text, found.at)}: ${found.why}.` : `${error.message}.`, true);
      }
    };

    // Not at once when the field is left: what is said may move the button that is being pressed.
    for (const event of ["input", "blur"]) {
      area.addEventListener(event, () => {
        clearTimeout(timer);
        timer = setTimeout(check, 250);
      });
    }
    check();
  });
})();
