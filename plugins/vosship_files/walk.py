"""One reader's walk over the directory: looking and reading over one roster of streams, in one thread.

It decides nothing itself: `looking` says what changed, `reading` what comes next. Neither sleeps nor logs record contents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from vosship.events import Block, Gone, Held
from vosship.plugin import Known, Until
from vosship_files.directory import Directory
from vosship_files.gaps import Gaps
from vosship_files.keeping import Keeping
from vosship_files.lines import Pause
from vosship_files.looking import Looking
from vosship_files.options import Options
from vosship_files.reading import Reading
from vosship_files.rescue import Rescue
from vosship_files.roster import Roster


class Walk:
    """The state of one `read`. `look` finds out what changed, `advance` reads one block; both block briefly."""

    def __init__(
        self,
        options: Options,
        directory: Directory,
        known: Known,
        until: Until,
        *,
        now: Callable[[], float],
        log: logging.Logger,
        rescue: Rescue | None,
        gaps: Gaps,
    ) -> None:
        self._directory = directory
        self._roster = Roster(
            options, directory, until, now, log, [each.held for each in known.values() if each.held and not each.gone]
        )
        self._keeping = Keeping(options.hold_files, directory, self._roster, rescue)
        self._looking = Looking(
            options, directory, self._roster, known, until,
            now=now, log=log, rescue=rescue, keeping=self._keeping, gaps=gaps,
        )  # fmt: skip
        self._reading = Reading(directory, self._roster, now, log)

    def look(self) -> list[Held]:
        """See what changed in the directories, and take note of it. Never raises for what a file system can do.

        Gives what ends with the process as things stand.
        """
        self._looking.look()
        return self._roster.held.listing(self._roster.tracks, self._directory.entries)

    def let_go(self, gone: Sequence[Gone]) -> None:
        """The ends of these streams are settled. Safe to call from any thread."""
        self._roster.held.let_go(gone)

    def finish(self) -> list[Held]:
        """A last look, so that what was deleted just now is among what it gives; then everything is given back."""
        try:
            return self.look() if self._roster.goes_on else self._roster.held.listing(self._roster.tracks, self._directory.entries)
        finally:
            self.close()

    def advance(self) -> Block | Gone | Pause:
        """The next thing to hand over; AGAIN when a bounded piece of work gave nothing yet, END when nothing is pending."""
        return self._reading.advance()

    def unreadable(self) -> dict[str, str]:
        """Directories, and files with something unread, that cannot be read now: by path what the system said."""
        tracks, access = self._roster.tracks, self._roster.access
        files = {
            name: why
            for name, why in access.blocked.items()
            if name in tracks and not (tracks[name].gone or tracks[name].caught_up)
        }
        # What is entered as lost is waited for by nobody; but who reads once has not read it.
        damaged = {} if self._roster.goes_on else access.damaged
        return {**self._directory.problems, **self._directory.unnameable, **files, **damaged}

    def folders(self) -> list[str]:
        """The folders that can be watched now."""
        return self._directory.folders()

    def close(self) -> None:
        """Give every descriptor back."""
        self._roster.close()
        self._keeping.close()
