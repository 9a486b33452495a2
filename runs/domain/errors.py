"""Every error the product raises on purpose; the text of each is written for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class RunsiteError(Exception):
    """Something that the person or program asking can understand and mend.

    `message` says what happened, to which thing, and what to do. `status` is the HTTP status that
    the doors answer with.
    """

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotAllowed(RunsiteError):
    """The member's role does not permit this."""

    status = 403


class NotFound(RunsiteError):
    """The thing does not exist, or not in this account."""

    status = 404


class Conflict(RunsiteError):
    """The thing is not in a state that permits this, or somebody else was first."""

    status = 409


class TooLarge(RunsiteError):
    """Something is above a limit of the installation."""

    status = 413


class NoRoom(RunsiteError):
    """The disk of the server is nearly full, so nothing large is taken."""

    status = 503


class NothingPushed(Conflict):
    """The application has no executable yet."""


class IllegalMove(RunsiteError):
    """A run was asked to take a status that cannot follow its present one."""

    status = 409


class InputRejected(RunsiteError):
    """The input does not fit what the application reads."""

    status = 422


class ArchiveRejected(RunsiteError):
    """An uploaded archive is broken, hostile or above a limit."""

    status = 422


class ManifestInvalid(RunsiteError):
    """The manifest cannot be used; `problems` says where and why, one line each."""

    status = 422

    def __init__(self, message: str, problems: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class FieldsInvalid(RunsiteError):
    """Named fields of a request cannot be used; `errors` has the messages of each."""

    status = 422

    def __init__(self, errors: Mapping[str, Sequence[str]], message: str = "") -> None:
        first = next((texts[0] for texts in errors.values() if texts), "")
        super().__init__(message or first or "Some fields cannot be used.")
        self.errors = {name: list(texts) for name, texts in errors.items()}


class Taken(FieldsInvalid):
    """The id that was chosen for a new thing belongs to another already."""


class OptionsInvalid(FieldsInvalid):
    """Options do not fit their definitions; `errors` has the messages of each option."""


class TooManyAttempts(RunsiteError):
    """Something was tried too often in a short time."""

    status = 429


class QueueFull(TooManyAttempts):
    """A run that was not to wait could not be started at once."""
