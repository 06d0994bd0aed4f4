"""Blocks of whole lines cut from a source, in bounded memory however long a line is.

It does not know names, generations or when a half last line may be taken: it is told.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from vosship_files.identity import HEAD_BYTES, TAIL_BYTES, digest
from vosship_files.source import Source

SCAN_BYTES = 1 << 20
"""Bytes searched at a time for the end of an over-long line. Chosen: a millisecond's work, so that looking goes on."""


class Pause(Enum):
    """Why `cut` gave no lines: AGAIN after a bounded piece of work, END where no whole line is left."""

    AGAIN = "again"
    END = "end"


class RewrittenError(Exception):
    """The bytes before the reading place are not the ones that were read."""


class Piece(msgspec.Struct, frozen=True):
    """Lines up to `end`; `cut` and `unterminated` as in Block."""

    data: bytes
    end: int
    cut: bool = False
    unterminated: bool = False


class Cutter:
    """The reading place in one source, with the bytes that vouch for it."""

    def __init__(self, source: Source, offset: int, head: bytes, tail: bytes, *, block_bytes: int, max_line_bytes: int) -> None:
        self.source = source
        self.offset = offset
        self.head = head
        self.tail = tail
        self.head_hash = digest(head)
        self._max_line_bytes = max_line_bytes
        self._want_bytes = max(block_bytes, max_line_bytes + 1)
        self._scanned = 0  # an over-long line holds no newline before this offset
        self._beginning = b""
        self._scan_tail = b""

    @property
    def is_within_line(self) -> bool:
        """An over-long line was begun, and closing the file would begin it again."""
        return bool(self._beginning)

    def cut(self, limit: int | None, *, take_tail: bool) -> Piece | Pause:
        """The next lines, none of them reaching beyond `limit`, and the reading place moved behind them.

        With `take_tail` a half last line counts as one. Raises RewrittenError, and OSError from the source.
        """
        if self._beginning:
            return self._scan(limit, take_tail)
        want = self._want_bytes if limit is None else min(self._want_bytes, limit - self.offset)
        if want <= 0:
            return Pause.END
        kept = len(self.tail)
        raw = self.source.read_at(self.offset - kept, kept + want)
        if raw[:kept] != self.tail:
            raise RewrittenError
        data = raw[kept:]
        length = whole_lines(data, self._max_line_bytes)
        if length:
            return self._moved(Piece(data[:length], self.offset + length), data[:length])
        if len(data) > self._max_line_bytes:
            self._beginning, self._scan_tail, self._scanned = data[: self._max_line_bytes], b"", self.offset
            return self._searched(data)
        if data and take_tail and self._at_end(limit):
            return self._moved(Piece(data, self.offset + len(data), unterminated=True), data)
        return Pause.END

    def _scan(self, limit: int | None, take_tail: bool) -> Piece | Pause:
        want = SCAN_BYTES if limit is None else min(SCAN_BYTES, limit - self._scanned)
        data = self.source.read_at(self._scanned, want) if want > 0 else b""
        if data:
            return self._searched(data)
        if self.source.size() < self._scanned:  # it was cut short within the line: what is left of that may be a line like others
            self._beginning = b""
            return Pause.AGAIN
        if take_tail and self._at_end(limit):
            return self._finish(Piece(self._beginning, self._scanned, cut=True, unterminated=True))
        return Pause.END

    def _searched(self, data: bytes) -> Piece | Pause:
        newline = data.find(b"\n")
        stretch = data if newline < 0 else data[: newline + 1]
        self._scan_tail = (self._scan_tail + stretch[-TAIL_BYTES:])[-TAIL_BYTES:]
        self._scanned += len(stretch)
        return Pause.AGAIN if newline < 0 else self._finish(Piece(self._beginning, self._scanned, cut=True))

    def _finish(self, piece: Piece) -> Piece:
        self._beginning = b""
        return self._moved(piece, self._scan_tail)

    def _moved(self, piece: Piece, last: bytes) -> Piece:
        if len(self.head) < HEAD_BYTES:
            self.head += piece.data[: HEAD_BYTES - len(self.head)]
            self.head_hash = digest(self.head)
        self.tail = last[-TAIL_BYTES:] if len(last) >= TAIL_BYTES else (self.tail + last)[-TAIL_BYTES:]
        self.offset = piece.end
        return piece

    def _at_end(self, limit: int | None) -> bool:
        return limit is None or not self.source.read_at(limit, 1)


def whole_lines(data: bytes, max_line_bytes: int) -> int:
    """Length of the longest beginning of `data` made of whole lines, none over the limit (newline not counted)."""
    end = 0
    while end < len(data):
        newline = data.rfind(b"\n", end, end + max_line_bytes + 1)
        if newline < 0:
            break
        end = newline + 1
    return end
