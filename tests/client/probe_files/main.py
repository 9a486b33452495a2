"""Reads a folder and writes one: each file in upper case."""

import json
import pathlib
import sys


def option(name, default):
    """The value of `-name value`, else the default."""
    found = f"-{name}" in sys.argv
    return sys.argv[sys.argv.index(f"-{name}") + 1] if found else default


fail = option("fail", "never")
print("to stdout", flush=True)
print("to stderr", file=sys.stderr, flush=True)
if fail == "early":
    sys.exit("nothing was written")
source, target = pathlib.Path("given"), pathlib.Path("results")
count = 0
for path in sorted(path for path in source.rglob("*") if path.is_file()):
    for copy in range(int(option("copies", "1"))):
        place = target / f"copy{copy}" / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path.read_text().upper())
        count += 1
figures = pathlib.Path("figures")
figures.mkdir()
(figures / "metrics.json").write_text(json.dumps({"files": count}))
asset = {"name": "count", "content_type": "json", "content": {"files": count}}
(figures / "assets.json").write_text(json.dumps({"assets": [asset]}))
if fail == "late":
    sys.exit("something was written")
