"""What a reader keeps from being lost by a deletion: open descriptors, and second names or copies in the rescue directory.

It does not see what changed (`looking` does), and it does not read.
"""

from __future__ import annotations

import resource

from vosship_files.directory import Directory, Entry
from vosship_files.rescue import Rescue
from vosship_files.roster import Roster

DELETED_SHARE = 4
"""One in so many of the process's descriptors may hold a deleted file, for each reader. Chosen: a second pipeline, the held
files, the state and the connections that end the outage need the others."""


SETTLES_S = 5.0
"""Chosen: while an output answers, what was read is settled by then (a batch is sent after a second), and is not copied."""


class Keeping:
    """The keeping half of a look."""

    def __init__(self, hold_files: int, directory: Directory, roster: Roster, rescue: Rescue | None) -> None:
        self._hold_files = hold_files
        self._directory = directory
        self._roster = roster
        self._rescue = rescue

    def hold(self, now: float) -> None:
        """Keep what a deletion would hurt: descriptors of the newest and of the next in turn, second names of the rest."""
        # No more than these stay open, or an outage of days would use up the descriptors: each file was the newest once.
        wanted = self._roster.turns.first(self._hold_files) | self._directory.recent
        for name in wanted:
            track = self._roster.tracks.get(name)
            if track is not None and track.entry is not None and track.cutter is None and track.pending:
                self._roster.access.glimpse(track, track.entry)
                self._roster.compare(track)
        for name, track in self._roster.tracks.items():
            if track.cutter is None or track.cutter.is_within_line:
                continue
            if (not track.pending or track.entry is not None) and name not in wanted and name not in self._roster.tails:
                track.close()
        if self._rescue:
            reading = {name for name, track in self._roster.tracks.items() if not track.gone or track.after is not None}
            self._rescue.sweep(id(self), reading, now)
            for entry in sorted({*self._roster.unread(), *self._read_ahead(now)}, key=lambda entry: entry.order):
                if entry.name not in self._directory.newest:
                    self._rescue.keep(entry, self._directory)

    def _read_ahead(self, now: float) -> list[Entry]:
        """Plain files that were read and are not settled: in an outage their lines are in memory, which a restart forgets."""
        assert self._rescue is not None
        found = []
        for track in self._roster.tracks.values():
            if track.entry is None or not track.caught_up or track.gone or track.retired or now - track.changed_at < SETTLES_S:
                continue
            if not track.entry.compressed and self._rescue.unsettled(track.entry):
                found.append(track.entry)
        return found

    def has_room(self) -> bool:
        """Whether one more deleted file may be held open: in a long outage every file is deleted while it is held."""
        held = sum(track.retired and track.cutter is not None for track in self._roster.tracks.values())
        return held < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DELETED_SHARE

    def close(self) -> None:
        """Nothing more will be looked at."""
        if self._rescue:
            self._rescue.leave(id(self))
