"""A tiny app for tests: it leaves a mark for each time it is executed, and may hold the first."""

from __future__ import annotations

from pathlib import Path

MANIFEST = """\
type: binary
files: [main]
configuration:
  options:
    items:
      - {name: marks, option_type: string}
      - {name: hold, option_type: string, default: "no"}
"""
# `-marks FOLDER -hold first`: the first execution of a run waits with a child until it is ended.
PROGRAM = """\
#!/bin/sh
marks=$2
first=yes
for mark in "$marks/$RUN_ID".*; do
    [ -e "$mark" ] && first=no
done
: >"$marks/$RUN_ID.$$"
echo "execution of $RUN_ID, first: $first" >&2
if [ "$4" = first ] && [ "$first" = yes ]; then
    sleep 3600 &
    wait
    wait
fi
echo "{\\"metrics\\": {\\"first\\": \\"$first\\"}}"
"""


def make_tally(folder: Path) -> Path:
    """Write the app into `folder`."""
    folder.mkdir(parents=True)
    (folder / "app.yaml").write_text(MANIFEST)
    (folder / "main").write_text(PROGRAM)
    (folder / "main").chmod(0o755)
    return folder


def executions(marks: Path, run_id: str) -> int:
    """How often a run was executed."""
    return len(list(marks.glob(f"{run_id}.*")))
