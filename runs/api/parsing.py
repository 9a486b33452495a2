"""Reads the bodies of requests: JSON whatever the headers say, nothing as an empty object."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser


class JsonParser(Parser):
    """Parses bodies; what is wrong with one is left in `request.body_problem`."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """The JSON object in the body; raises `ValueError` for anything else."""
        body = request.body
        if not body.strip():
            return {}
        try:
            parsed = json.loads(body)
        except UnicodeDecodeError as error:
            raise self._refuse(request, f"The body is not UTF-8: byte {error.start}.") from error
        except json.JSONDecodeError as error:
            text = f"The body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
            raise self._refuse(request, text) from error
        except (ValueError, RecursionError) as error:
            text = "The body is JSON that cannot be read: nested too deeply, or a number too long."
            raise self._refuse(request, text) from error
        if not isinstance(parsed, dict):
            raise self._refuse(request, "The body is not a JSON object. Send one, as {…}.")
        return parsed

    @staticmethod
    def _refuse(request: HttpRequest, text: str) -> ValueError:
        request.body_problem = text  # type: ignore[attr-defined] # read by `errors`
        return ValueError(text)
