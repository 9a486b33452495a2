/* data-drop around a file input: files, folders and archives dropped or chosen, listed with sizes, removable. */
(() => {
  "use strict";
  const { behave, bytes, icon, make } = window.runsite;
  const SHOWN = 200; // rows in the list; the rest is counted
  const MOST = 20_000; // files of one drop; the server has its own limit

  // A folder gives its entries in batches until it gives none.
  const entriesOf = (folder) => {
    const reader = folder.createReader();
    const next = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    return (async () => {
      const all = [];
      for (let batch = await next(); batch.length > 0; batch = await next()) all.push(...batch);
      return all;
    })();
  };

  const walk = async (entry, found) => {
    if (found.length > MOST) return;
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, path: entry.fullPath.replace(/^\/+/, "") });
    } else if (entry.isDirectory) {
      for (const child of await entriesOf(entry)) await walk(child, found);
    }
  };

  const readDrop = async (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (entries.length === 0) return [...transfer.files].map((file) => ({ file, path: file.name }));
    const found = [];
    for (const entry of entries) await walk(entry, found);
    return found;
  };

  behave("[data-drop]", (drop) => {
    const input = drop.querySelector("input[type=file]");
    if (!input) return;
    const folders = "dropFolders" in drop.dataset;
    if (folders) input.multiple = true;

    // Paths of the files in their order, as JSON; it stands before the files so that a streaming reader has it first.
    const paths = make("input", { type: "hidden", name: `${input.name}_paths` });
    input.before(paths);
    let kept = [];
    let restored = [];
    try {
      restored = JSON.parse(input.dataset.dropPaths || "[]");
    } catch {
      // wrong by someone's hand: the plain names do
    }
    const add = (files) => files.map((file, at) => ({ file, path: restored[at] || file.webkitRelativePath || file.name }));

    const choose = make("button", { type: "button", class: "button button-small" }, "Choose files");
    const zone = make("div", { class: "drop-zone" });
    const words = make("div", {});
    words.append(
      make("strong", {}, drop.dataset.dropText || (folders ? "Drop files, a folder or an archive here" : "Drop the file here")),
    );
    const buttons = make("div", { class: "row" }, choose);
    zone.append(icon("upload"), words, buttons);
    if (!input.multiple) choose.textContent = "Choose a file";
    choose.addEventListener("click", () => input.click());

    if (folders) {
      const folder = make("input", { type: "file", webkitdirectory: true, hidden: true });
      const chooseFolder = make("button", { type: "button", class: "button button-small" }, "Choose a folder");
      chooseFolder.addEventListener("click", () => folder.click());
      folder.addEventListener("change", () => {
        take([...folder.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
        folder.value = "";
      });
      buttons.append(chooseFolder);
      drop.append(folder);
    }

    const list = make("ul", { class: "files" });
    const note = make("p", { class: "drop-note", role: "status" });
    drop.append(zone, list, note);
    drop.classList.add("drop", "drop-ready");

    const sync = () => {
      const transfer = new DataTransfer();
      for (const { file } of kept) transfer.items.add(file);
      input.files = transfer.files;
      paths.value = JSON.stringify(kept.map(({ path }) => path));
      input.dispatchEvent(new CustomEvent("drop:change", { bubbles: true, detail: { files: kept } }));
    };

    const show = () => {
      list.replaceChildren();
      for (const one of kept.slice(0, SHOWN)) {
        const remove = make("button", {
          type: "button",
          class: "button button-quiet button-icon button-small",
          "aria-label": `Remove ${one.path}`,
          title: "Remove",
        });
        remove.append(icon("close", "icon-small"));
        remove.addEventListener("click", () => {
          kept = kept.filter((other) => other !== one);
          sync();
          show();
          choose.focus();
        });
        const row = make("li", {});
        row.append(
          icon("file"),
          make("span", { class: "file-name" }, one.path),
          make("span", { class: "file-size" }, bytes(one.file.size)),
          remove,
        );
        list.append(row);
      }
      const total = kept.reduce((sum, { file }) => sum + file.size, 0);
      const more = kept.length > SHOWN ? `, ${kept.length - SHOWN} of them not listed` : "";
      note.textContent = kept.length > 1 ? `${kept.length} files, ${bytes(total)}${more}` : "";
    };

    const take = (found) => {
      if (found.length === 0) return;
      if (found.length > MOST) {
        note.textContent = `More than ${MOST} files. Pack the folder as .zip or .tar.gz and drop that.`;
        return;
      }
      if (input.multiple) {
        const names = new Set(found.map(({ path }) => path));
        kept = [...kept.filter(({ path }) => !names.has(path)), ...found];
      } else {
        kept = found.slice(0, 1);
      }
      sync();
      show();
      if (!input.multiple && found.length > 1) note.textContent = "Only one file is taken here: the first.";
    };

    input.addEventListener("change", () => {
      const chosen = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
      // A cancelled dialog empties the control: what was chosen before stays.
      if (chosen.length === 0 && kept.length > 0) sync();
      else take(chosen);
    });

    let depth = 0; // enter and leave come for every child too
    drop.addEventListener("dragenter", (event) => {
      event.preventDefault();
      depth += 1;
      drop.classList.add("drop-over");
    });
    drop.addEventListener("dragover", (event) => event.preventDefault());
    drop.addEventListener("dragleave", () => {
      depth -= 1;
      if (depth <= 0) drop.classList.remove("drop-over");
    });
    drop.addEventListener("drop", async (event) => {
      event.preventDefault();
      depth = 0;
      drop.classList.remove("drop-over");
      note.textContent = "Reading…";
      try {
        const found = await readDrop(event.dataTransfer);
        note.textContent = "";
        take(found);
      } catch (error) {
        note.textContent = `The browser could not read what was dropped (${error.message}). Choose it with the button.`;
      }
    });
    input.form?.addEventListener("reset", () => {
      kept = [];
      setTimeout(() => {
        sync();
        show();
      });
    });

    if (input.files.length > 0) {
      kept = add([...input.files]);
      sync();
      show();
    }
  });

  // A file dropped beside the zone must not replace the page.
  for (const name of ["dragover", "drop"]) {
    window.addEventListener(name, (event) => {
      if (document.querySelector("[data-drop]") && event.dataTransfer?.types.includes("Files")) {
        if (!event.target.closest?.("[data-drop]")) event.preventDefault();
      }
    });
  }
})();
