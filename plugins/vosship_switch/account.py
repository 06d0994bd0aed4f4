"""The simulator's own account: every line it wrote, sent, damaged or deleted, as NDJSON, and reading it back.

It judges nobody: a test compares it with what an agent found.

One object a line, in the order things happened. `event` is one of
`begin` (the settings) · `line` (file, offset, call, the line) · `rewritten` (a file was emptied and begun again) · `cut` (a closed
file lost the end of its last line) · `deleted` (file, bytes) · `clock_back` · `sent` `changed` `lost` `dropped` `invented`
(forwarded copies) · `end` (totals).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from vosship.errors import FatalError

Fate = Literal["kept", "deleted", "rewritten", "cut"]


class Account:
    """Writes rows to `path`, or only counts when there is none. Not durable until `close`."""

    def __init__(self, path: Path | None = None) -> None:
        self.totals: Counter[str] = Counter()
        self._encode = msgspec.json.Encoder().encode
        self._file: IO[bytes] | None = None
        if path is not None:
            try:
                self._file = path.open("wb")
            except OSError as error:
                raise FatalError(
                    f"cannot write the account {path}: {error.strerror}", hint="--account names another file"
                ) from error

    def note(self, event: str, **values: Any) -> None:
        """Enter one event and count it."""
        self.totals[event] += 1
        if self._file is not None:
            self._file.write(self._encode({"event": event, **values}) + b"\n")

    def line(self, event: str, line: bytes, **values: Any) -> None:
        """Enter one event about one line, whose bytes are kept (`line`, or `line_base64` where it is not UTF-8)."""
        self.totals[event] += 1
        if self._file is not None:
            row = {"event": event, **values}
            try:
                row["line"] = line.decode()
            except UnicodeDecodeError:
                row["line_base64"] = base64.b64encode(line).decode()
            self._file.write(self._encode(row) + b"\n")

    def close(self) -> None:
        """Enter the totals and close the file; repeatable."""
        if self._file is not None:
            self._file.write(self._encode({"event": "end", "totals": dict(sorted(self.totals.items()))}) + b"\n")
            self._file.close()
            self._file = None


class Written(msgspec.Struct):
    """One line of a file and what became of it."""

    file: str
    offset: int
    call: int
    line: bytes
    fault: str = ""
    fate: Fate = "kept"


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every row of an account, in order."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open("rb") as lines:
        for line in lines:
            yield decode(line)


def line_of(row: dict[str, Any]) -> bytes:
    """The line a row is about, as bytes."""
    return base64.b64decode(row["line_base64"]) if "line_base64" in row else row["line"].encode()


def written(path: Path) -> list[Written]:
    """Every line ever written to a file, in order, with its fate at the end of the run."""
    found: list[Written] = []
    current: dict[str, list[Written]] = {}
    for row in rows(path):
        event = row["event"]
        if event == "line":
            one = Written(row["file"], row["offset"], row["call"], line_of(row), row.get("fault", ""))
            found.append(one)
            current.setdefault(one.file, []).append(one)
        elif event in ("deleted", "rewritten"):
            for one in current.pop(row["file"], []):
                one.fate = event
        elif event == "cut":
            last = current[row["file"]][-1]
            last.line = last.line[: len(last.line) - row["bytes"]]
            last.fate = "cut"
    return found
