"""Who has settled which segment, so that a segment goes only when nobody needs it or the spool is full.

It deletes nothing: `spool` does.

A pipeline reads the segments in their order and settles in that order, so its newest settled place (segment number, offset)
says all. The core names a pipeline only when it tells of settled positions, while readers have no name; so a segment has been
passed by all when as many named pipelines as ever read at one time have passed it. A pipeline that waits or starts again keeps
its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from vosship_forward.shelf import Segment

Place = tuple[int, int]


class Progress:
    """The settled place of every pipeline. Written on the event loop, read by the spool's thread."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._readers = 0
        self._most_readers = 0

    def reader_opened(self) -> None:
        """A pipeline begins to read."""
        self._readers += 1
        self._most_readers = max(self._most_readers, self._readers)

    def reader_closed(self) -> None:
        """A pipeline ends reading; it is still expected to come back."""
        self._readers -= 1

    def settled(self, pipeline: str, positions: Mapping[str, int], shelf: Iterable[Segment]) -> None:
        """Note how far a pipeline is settled; `positions` by segment name, all of them or those that moved.

        A segment that the last pipeline passes just now gets the present as its time of change: the time it is kept counts
        from there, across restarts.
        """
        known = pipeline in self._places
        before = self._places.get(pipeline, (0, 0))
        place = max([before, *((_number(name), offset) for name, offset in positions.items())])
        if place == before and known:
            return
        self._places = {**self._places, pipeline: place}
        for segment in shelf if known else ():
            if segment.sealed and not _passed(segment, before) and self.all_passed(segment):
                try:
                    os.utime(segment.path)
                except FileNotFoundError:
                    continue

    def all_passed(self, segment: Segment) -> bool:
        """Whether every pipeline is settled beyond the segment's last record."""
        places = self._places
        return 0 < len(places) >= self._most_readers and all(_passed(segment, place) for place in places.values())

    def behind(self, segment: Segment) -> list[str]:
        """The pipelines that still need the segment."""
        return sorted(name for name, place in self._places.items() if not _passed(segment, place))


def _number(name: str) -> int:
    number = name.partition("-")[0]
    return int(number) if number.isdigit() else 0


def _passed(segment: Segment, place: Place) -> bool:
    return place[0] > segment.number or (place[0] == segment.number and place[1] >= segment.data_end)
