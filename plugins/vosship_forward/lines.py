"""Cuts a stream of bytes into records, with limits, without any socket.

It does not know what a record means, nor where the bytes came from.
"""

from __future__ import annotations


class Splitter:
    """Takes the bytes of one connection in any pieces and gives its records, each once and whole.

    A record ends at a newline; what is left at the end of the connection is `rest`. A record longer than `limit` bytes is
    refused, counted in `too_long`, and skipped up to its newline. Blank lines are no records. The outcome does not depend on
    how the bytes were cut on their way.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._skipping = False
        self.too_long = 0
        self.terminated = False
        """Whether a record of this connection ended with a newline so far."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the record that is not finished."""
        return len(self._held)

    @property
    def unfinished(self) -> bool:
        """Whether a record has begun and not ended."""
        return bool(self._held) or self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes, without their newlines."""
        first, newline, tail = data.partition(b"\n")
        if not newline:
            self._hold(first)
            return []
        self.terminated = True
        limit = self._limit
        pieces = tail.split(b"\n")
        last = pieces.pop()
        lines: list[bytes] = []
        if self._skipping:
            self._skipping = False
        else:
            self._held += first
            pieces.insert(0, bytes(self._held))
            self._held.clear()
        for line in pieces:
            if len(line) > limit:
                self.too_long += 1
            elif line and line != b"\r":
                lines.append(line)
        self._hold(last)
        return lines

    def rest(self) -> bytes:
        """What the connection's end leaves unfinished; nothing is held afterwards."""
        line = bytes(self._held)
        self._held.clear()
        self._skipping = False
        return b"" if line == b"\r" else line

    def _hold(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._held += piece
        if len(self._held) > self._limit:
            self._held.clear()
            self._skipping = True
            self.too_long += 1
