"""What an input or output is: its format, as runs, instances and managed inputs say it."""

from __future__ import annotations

from ninja import Schema

from runs.api.v1.schemas.base import Body


class ContentTypeIn(Body):
    """One of `json`, `multi-file`, `text`, `csv-archive`."""

    type: str | None = ""


class FormatIn(Body):
    """The formats asked for; what is missing follows from the rest."""

    input: ContentTypeIn | None = None
    output: ContentTypeIn | None = None

    @property
    def input_type(self) -> str:
        """The format of the input; empty where none is said."""
        return (self.input.type if self.input else "") or ""

    @property
    def output_type(self) -> str:
        """The format of the output; empty where none is said."""
        return (self.output.type if self.output else "") or ""


class ContentTypeOut(Schema):
    """One of `json`, `multi-file`, `text`, `csv-archive`."""

    type: str


class FormatOut(Schema):
    """The formats of input and output."""

    input: ContentTypeOut
    output: ContentTypeOut


def format_out(input_type: str, output_type: str = "") -> dict[str, dict[str, str]]:
    """Both formats; an output without one has that of the input, of `text` it is JSON."""
    output_type = output_type or ("json" if input_type == "text" else input_type)
    return {"input": {"type": input_type}, "output": {"type": output_type}}
