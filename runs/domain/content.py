"""Input and output formats: what each needs, and what is wrong with an input."""

from __future__ import annotations

FORMATS = ("json", "text", "multi-file", "csv-archive")
"""The formats, in the words of the wire. The models take their choices from here: keep the name."""

FOLDER_FORMATS = frozenset({"multi-file", "csv-archive"})


def is_folder_format(name: str) -> bool:
    """Whether inputs of this format are folders of files."""
    return name in FOLDER_FORMATS
