"""Remembers, in bounded memory, which records arrived lately, so that a second arrival is known as a resend.

It does not decide what a record's key is, and keeps nothing on disk: the keys are in the spool's frames.
"""

from __future__ import annotations

import mmap

GENERATION_RECORDS = 1 << 18
"""Records a generation holds at most (chosen: 10 min at 430 records/s; two generations are at most 12 MB, touched as used)."""

_SLOTS = 2 * GENERATION_RECORDS  # chosen: at half load a look-up takes 1.5 probes


class _Generation:
    """An open-addressing table from 8-byte keys to the second of their last arrival."""

    def __init__(self, began_s: int) -> None:
        self.began_s = began_s
        self.records = 0
        # Anonymous maps: pages that were never touched cost nothing, and letting go gives them back at once.
        self._keys = memoryview(mmap.mmap(-1, _SLOTS * 8)).cast("Q")
        self._times = memoryview(mmap.mmap(-1, _SLOTS * 4)).cast("I")

    def last(self, key: int) -> int:
        keys = self._keys
        slot = key & (_SLOTS - 1)
        while found := keys[slot]:
            if found == key:
                return self._times[slot]
            slot = (slot + 1) & (_SLOTS - 1)
        return 0

    def put(self, key: int, at_s: int) -> None:
        keys = self._keys
        slot = key & (_SLOTS - 1)
        while found := keys[slot]:
            if found == key:
                break
            slot = (slot + 1) & (_SLOTS - 1)
        else:
            keys[slot] = key
            self.records += 1
        self._times[slot] = at_s


class Window:
    """The arrivals of the last `window_s` seconds, or of the last GENERATION_RECORDS records where that is less."""

    def __init__(self, window_s: int) -> None:
        self._window_s = window_s
        self._young: _Generation | None = None
        self._old: _Generation | None = None

    def arrived(self, key: int, at_s: int) -> bool:
        """Note an arrival; True when the same key came at most `window_s` before."""
        if not self._window_s:
            return False
        young = self._young
        if young is None or young.records >= GENERATION_RECORDS or at_s - young.began_s > self._window_s:
            self._old, self._young = young, _Generation(at_s)
            young = self._young
        last = young.last(key) or (self._old.last(key) if self._old else 0)
        young.put(key, at_s)
        return last != 0 and at_s - last <= self._window_s
