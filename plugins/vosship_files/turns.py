"""Whose turn it is to be read: the oldest first, because it is deleted first, and a share for the newest.

It does not know what there is to read.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from vosship_files.directory import Order
from vosship_files.track import Track


class Turns:
    """The pending tracks of one reader, in order. `tracks` is the reader's own mapping and only read here."""

    def __init__(self, tracks: Mapping[str, Track], live_share: float, block_bytes: int) -> None:
        self._tracks = tracks
        self._share = live_share
        self._most = float(block_bytes)
        self._queue: list[tuple[Order, str]] = []  # entries that are no longer pending are skipped
        self._queued: set[str] = set()
        self._live: set[str] = set()
        self._credit = 0.0  # bytes the newest files may read before the oldest are due again

    def add(self, track: Track, *, live: bool) -> None:
        """There may be something to read in it. `live`: it is the newest of its directory."""
        track.pending = True
        if track.stream.name not in self._queued:
            self._queued.add(track.stream.name)
            heapq.heappush(self._queue, (track.order, track.stream.name))
        if live:
            self._live.add(track.stream.name)

    def next(self, newest: set[str]) -> Track | None:
        """The track to read from now."""
        while self._queue and not self._is_pending(self._queue[0][1]):
            self._queued.discard(heapq.heappop(self._queue)[1])
        oldest = self._tracks[self._queue[0][1]] if self._queue else None
        self._live = {name for name in self._live if name in newest and self._is_pending(name)}
        if self._live and (self._credit > 0 or oldest is None):
            return self._tracks[min(self._live)]
        return oldest

    def spend(self, length: int, *, live: bool) -> None:
        """So many bytes were read, of a newest file or of another."""
        self._credit += -length * (1 - self._share) / self._share if live else length
        self._credit = min(self._credit, self._most)

    def first(self, count: int) -> set[str]:
        """The names of the next so many in order that still bear their name: a deletion would hurt them soonest."""
        named = (item for item in self._queue if self._is_pending(item[1]) and not self._tracks[item[1]].retired)
        return {name for _, name in heapq.nsmallest(count, named)}

    def _is_pending(self, name: str) -> bool:
        track = self._tracks.get(name)
        return track is not None and track.pending
