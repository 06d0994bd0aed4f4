"""Remembers on disk what was sent lately, so that it can be repeated to a peer that died with unread records in its buffer.

It sends nothing, and does not sync: it must outlive this process and the peer's, not the machine.

Two files take turns; each begins anew when it is older than the overlap or has grown to half of the bound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

_ENTRY = struct.Struct("<IId")  # bytes of payload, crc32 of time and payload, epoch seconds
_TIME = struct.Struct("<d")


class Overlap:
    """What was sent within `keep_s` seconds before the last send, oldest first, at most `max_bytes` of it."""

    def __init__(self, directory: Path, keep_s: float, max_bytes: int) -> None:
        self._directory = directory
        self._young = directory / "sent.new"
        self._old = directory / "sent.old"
        self._keep_s = keep_s
        self._half_bytes = max_bytes // 2
        self._began_at: float | None = None
        self._bytes = 0

    def add(self, payload: bytes, at: float) -> None:
        """Note what the peer's kernel was given just now. Raises OSError when the disk refuses."""
        if self._keep_s <= 0:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._began_at is None:
            self._take_up(at)
        if self._bytes and (at - (self._began_at or at) > self._keep_s or self._bytes + len(payload) > self._half_bytes):
            self._young.replace(self._old)
            self._bytes, self._began_at = 0, at
        stamp = _TIME.pack(at)
        with self._young.open("ab") as file:
            file.write(_ENTRY.pack(len(payload), crc32(payload, crc32(stamp)), at) + payload)
        self._bytes += _ENTRY.size + len(payload)

    def recall(self) -> list[bytes]:
        """What to repeat now, in the order it was sent.

        Counted back from the last send, not from now: while a peer hangs, nothing it holds unread grows too old to repeat.
        """
        entries = [*_entries(self._old), *_entries(self._young)]
        if not entries:
            return []
        since = entries[-1][0] - self._keep_s
        return [payload for at, payload in entries if at >= since]

    def _take_up(self, at: float) -> None:
        # What a killed agent left may end in a piece of an entry: new entries must not follow it.
        kept = list(_entries(self._young))
        if kept:
            self._young.replace(self._old)
        else:
            self._young.unlink(missing_ok=True)
        self._bytes, self._began_at = 0, at


def _entries(path: Path) -> Iterator[tuple[float, bytes]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    at = 0
    while at + _ENTRY.size <= len(data):
        length, crc, sent_at = _ENTRY.unpack_from(data, at)
        payload = data[at + _ENTRY.size : at + _ENTRY.size + length]
        if len(payload) < length or crc32(payload, crc32(_TIME.pack(sent_at))) != crc:
            return
        yield sent_at, payload
        at += _ENTRY.size + length
