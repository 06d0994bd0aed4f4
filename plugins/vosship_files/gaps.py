"""Holes in the sequence of file names: what must have existed by the learnt interval and was not seen.

It does not know whether the switch writes a file in an hour without calls, so it says only that none was seen.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from vosship.events import Gone, Stream
from vosship_files.directory import Directory
from vosship_files.names import rename, starts_at
from vosship_files.track import Track

LEARN_FROM = 4
"""Equal steps between names needed before an interval is believed. Chosen: fewer says nothing."""

LEARN_SHARE = 0.6
"""Share of all steps that must be that interval. Chosen: names by call or by restart have no interval."""


class Gaps:
    """Finds each hole once. One instance a reader."""

    def __init__(self, zone: ZoneInfo, still_s: float, *, enabled: bool) -> None:
        self._zone = zone
        self._still_s = still_s
        self._enabled = enabled
        self._first_seen: dict[str, float] = {}
        self._told: set[str] = set()

    def find(self, directory: Directory, tracks: Mapping[str, Track], now: float, *, at_once: bool) -> list[Gone]:
        """Holes between names that are or were there; the file after a hole must have been there for a while.

        `tracks` holds what is known from before, so a file that was read and deleted leaves no hole, and a hole that
        was told in an earlier run is a (gone) stream itself.
        """
        if not self._enabled:
            return []
        folders: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for name in tracks.keys() | directory.entries.keys():
            track = tracks.get(name)
            if track is not None and track.gone and not (track.offset or track.seen_bytes) and name not in directory.entries:
                self._told.add(name)  # a hole told in an earlier run, or an empty file
                continue
            folder, _, base = name.rpartition("/")
            at = starts_at(base, self._zone)
            if at is not None:
                folders[folder].append((at, base))
        found: list[Gone] = []
        for folder, names in folders.items():
            names.sort()
            found.extend(self._holes(folder, names, now, at_once))
        return found

    def _holes(self, folder: str, names: list[tuple[float, str]], now: float, at_once: bool) -> list[Gone]:
        steps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(names)]
        interval = learn(steps)
        present = {base for _, base in names}
        found = []
        for (at, base), (_, after), step in zip(names[:-1], names[1:], steps, strict=True):
            first_seen = self._first_seen.setdefault(f"{folder}/{after}", now)
            if not interval or step < 1.5 * interval or not (at_once or now - first_seen >= self._still_s):
                continue
            missing = [rename(base, at + n * interval, self._zone) for n in range(1, round(step / interval))]
            missing = [name for name in missing if name not in present and name != after]
            if missing and folder + "/" + missing[0] not in self._told:
                self._told.add(folder + "/" + missing[0])
                found.append(_gone(folder, base, after, missing, at + interval, interval))
        return found


def learn(steps: list[float]) -> float:
    """The usual step between two names in seconds, or 0 when there is none."""
    counted = Counter(step for step in steps if step > 0)
    if not counted:
        return 0.0
    usual, times = counted.most_common(1)[0]
    return usual if times >= LEARN_FROM and times >= LEARN_SHARE * len(steps) else 0.0


def _gone(folder: str, before: str, after: str, missing: list[str], at: float, interval: float) -> Gone:
    name = f"{folder}/{missing[0]}"
    span = missing[0] if len(missing) == 1 else f"{missing[0]} to {missing[-1]} ({len(missing)} intervals of {interval:.0f} s)"
    reason = f"no file was seen between {before} and {after}: {span}; if the switch had no calls then, nothing is missing"
    return Gone(Stream(name, missing[0], name, 1, at), 0, reason=reason, never_seen=True)
