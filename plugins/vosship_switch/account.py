"""The simulator's own account: every line it wrote, sent, damaged or deleted, as NDJSON, and reading it back.

It judges nobody: a test compares it with what an agent found.

One object a line, in the order things happened. `event` is one of
`begin` (the settings) · `line` (file, offset, call, the line) · `rewritten` (a file was emptied and begun again) · `cut` (a closed
file lost the end of its last line) · `deleted` (file, bytes) · `clock_back` · `unfiled` (forwarded, never written) · and of
forwarded copies `sent` · `changed` · `lost` (never sent) · `sent_twice` · `reordered` · `resent` (no answer in time) · `dropped`
(`why`: pending, end, unanswered, refused) · `connected` · `broken` (the calls in flight are sent again) · `end` (totals, classes).
"""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from vosship.errors import FatalError

Fate = Literal["kept", "deleted", "rewritten", "cut"]


class Account:
    """Writes rows to `path`, or only counts when there is none. Not durable until `close`. Any thread may enter rows."""

    def __init__(self, path: Path | None = None) -> None:
        self.totals: Counter[str] = Counter()
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()
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
        with self._lock:
            self.totals[event] += 1
            if self._file is not None:
                self._file.write(self._encode({"event": event, **values}) + b"\n")

    def line(self, event: str, line: bytes, **values: Any) -> None:
        """Enter one event about one line, whose bytes are kept (`line`, or `line_base64` where it is not UTF-8)."""
        if self._file is not None:
            try:
                values["line"] = line.decode()
            except UnicodeDecodeError:
                values["line_base64"] = base64.b64encode(line).decode()
        self.note(event, **values)

    def close(self, **more: Any) -> None:
        """Enter the totals and close the file; repeatable."""
        if self._file is not None:
            self._file.write(self._encode({"event": "end", "totals": dict(sorted(self.totals.items())), **more}) + b"\n")
            self._file.close()
            self._file = None


class Copies:
    """How many copies of each call reached the file and the receiver, in two bytes a call.

    Calls are numbered from 1 without gaps; `enter` comes first. Of answered datagrams the answers are counted: each stands for one
    copy that arrived.
    """

    def __init__(self, flow_base: int) -> None:
        self._flow_base = flow_base
        self._sent = bytearray(1)
        self._marks = bytearray(1)

    def enter(self, call: int, filed: bool) -> None:
        """A call has ended; `filed` says whether its line is written."""
        assert call == len(self._sent), "calls come in order"
        self._sent.append(0)
        self._marks.append(1 if filed else 0)

    def change(self, call: int) -> None:
        """The forwarded copy differs from the line in the file."""
        self._marks[call] |= 2

    def arrived(self, call: int) -> None:
        self._sent[call] = min(self._sent[call] + 1, 255)

    def answer(self, flow: bytes) -> bool:
        """Count the answer as an arrival; False when it names no call of this run."""
        call = int(flow) - self._flow_base if flow.isdigit() else 0
        if not 0 < call < len(self._sent):
            return False
        self.arrived(call)
        return True

    def classes(self) -> dict[str, int]:
        """What a reconciliation of the files (left) with the forward (right) has to find, under the report's own names."""
        found = Counter(zip(self._marks[1:], self._sent[1:], strict=True))
        classes = dict.fromkeys(("matched", "mismatched", "left_only", "right_only", "duplicate_right"), 0)
        for (mark, copies), count in found.items():
            if copies:
                classes["right_only" if not mark & 1 else "mismatched" if mark & 2 else "matched"] += count
                classes["duplicate_right"] += (copies - 1) * count
            elif mark & 1:
                classes["left_only"] += count
        return classes


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
