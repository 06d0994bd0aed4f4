"""Every exception vosship raises on purpose, grouped by what the catcher does; and the exit codes.

It knows no cause: a plugin maps foreign exceptions to one of these at its own edge.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    ANSWER_IS_NO = 3
    CANNOT_JUDGE = 4
    DENIED = 5


class VosshipError(Exception):
    """An error with a sentence for the operator and a hint naming the command or option that helps."""

    exit_code = Exit.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(VosshipError):
    """The configuration cannot be used: refuse to start.

    `path` is the place within the file (`outputs.search.hosts`); `file` is filled in by whoever knows it.
    """

    exit_code = Exit.USAGE

    def __init__(self, message: str, *, path: str = "", file: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.file = file

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.path) if part)
        sentence = super().__str__()
        return f"{place}: {sentence}" if place else sentence


class UnavailableError(VosshipError):
    """Nothing is known of any document that was asked about: wait, then the same again."""


class HaltedError(UnavailableError):
    """Going on would do harm until somebody acts: wait, say `halted` and the hint, look again now and then."""


class TooLargeError(UnavailableError):
    """The request as a whole was refused for its size: send its halves; a single document is dead."""


class FatalError(VosshipError):
    """This pipeline cannot go on at all (a damaged state, a full disk, a contradiction in the data): stop."""


class DeniedError(VosshipError):
    """A guard rail forbids the question."""

    exit_code = Exit.DENIED
