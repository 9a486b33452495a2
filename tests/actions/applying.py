"""Archives and folders of applications for tests."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

MANIFEST = """\
type: python
files:
  - main.py
"""

Files = Mapping[str, str | bytes]


def app_files(manifest: str = MANIFEST, **more: str | bytes) -> dict[str, str | bytes]:
    """A small application; names of `more` have `__` for `.`."""
    named = {name.replace("__", "."): content for name, content in more.items()}
    return {"app.yaml": manifest, "main.py": "print('{}')\n", **named}


def as_bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def zip_bytes(files: Files, *, root: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(root + name, as_bytes(content))
    return buffer.getvalue()


def tar_bytes(files: Files, *, root: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(root + name)
            header.size = len(as_bytes(content))
            archive.addfile(header, io.BytesIO(as_bytes(content)))
    return buffer.getvalue()


def zip_file(folder: Path, files: Files, *, root: str = "") -> Path:
    path = folder / "app.zip"
    path.write_bytes(zip_bytes(files, root=root))
    return path


def write_folder(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(content))
    return folder
