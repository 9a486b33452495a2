// Lets maps of streets start their worker in a sandbox; loaded before Plotly where a figure has one.
(() => {
  "use strict";

  // A page in a sandbox may start a worker from a blob of its own, but not one that is a module or
  // imports another blob, and the library asks for both. Its worker is one complete text, so it is
  // started as a plain script: the line that exports it, which nothing imports, is taken out.
  const EXPORT = /\bexport\s*\{[^{}]*\};/;
  const make = URL.createObjectURL.bind(URL);
  let source = null;

  window.Blob = class extends Blob {
    constructor(parts = [], options = {}) {
      const [text] = parts;
      const program = options.type === "text/javascript" && String(text).length > 10000;
      super(program ? [String(text).replace(EXPORT, "")] : parts, options);
      this.program = program;
    }
  };

  URL.createObjectURL = (blob) => {
    const address = make(blob);
    if (blob.program) source = address;
    return address;
  };

  window.Worker = class extends Worker {
    constructor(address, options) {
      if (source) super(source);
      else super(address, options);
    }
  };
})();
