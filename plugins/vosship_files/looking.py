"""What a look at the directories means for the streams: met, grown, cut short, replaced, vanished, back, too old.

It reads no lines (`reading` does), and it leaves the ends and beginnings of generations to `roster`.
"""

from __future__ import annotations

import fnmatch
import itertools
import logging
from collections.abc import Callable, Sequence

import msgspec

from vosship.events import Gone, Position, Stream
from vosship.plugin import Known, Until
from vosship_files.directory import Directory, Entry
from vosship_files.gaps import Gaps
from vosship_files.held import holds
from vosship_files.identity import decode
from vosship_files.keeping import Keeping
from vosship_files.names import GZIP_SUFFIX
from vosship_files.options import Options
from vosship_files.rescue import Rescue
from vosship_files.roster import Roster
from vosship_files.track import Track

DAY_S = 86_400


class Looking:
    """The looking half of a walk. `look` blocks briefly and never raises for what a file system can do."""

    def __init__(
        self,
        options: Options,
        directory: Directory,
        roster: Roster,
        known: Known,
        until: Until,
        *,
        now: Callable[[], float],
        log: logging.Logger,
        rescue: Rescue | None,
        keeping: Keeping,
        gaps: Gaps,
    ) -> None:
        self._options = options
        self._directory = directory
        self._roster = roster
        self._known = dict(known)
        self._until = until
        self._now = now
        self._log = log
        self._rescue = rescue
        self._keeping = keeping
        self._gaps = gaps
        self._folder_problems: dict[str, str] = {}
        self._unnameable: set[str] = set()
        self._listed_at = float("-inf")
        self._first = True
        self._awaited: set[str] = set()  # known streams of folders that cannot be read yet
        self._newest: set[str] = set()  # the newest files at the look before

    def look(self) -> None:
        """See what changed in the directories, and take note of it. Never raises for what a file system can do."""
        now = self._now()
        full = not 0 <= now - self._listed_at < self._options.rescan_s
        self._newest = self._directory.newest
        changes = self._directory.look(full=full)
        if full:
            self._listed_at = now
            self._retry_blocked()
        self._say_problems()
        if self._first:
            self._begin(now)
        else:
            for name, (before, entry) in changes.entries.items():
                self._note(name, before, entry, now)
        if self._awaited:
            self._miss()
        self._roster.wake_tails(now)
        if changes.listed or full:
            self._keeping.hold(now)
            self._roster.out.extend(self._gaps.find(self._directory, self._roster.tracks, now, at_once=self._until == "now"))
        self._first = False

    def _begin(self, now: float) -> None:
        """The first look: what is known meets what is there, and what was rescued before it vanished."""
        rescued = self._rescue.find() if self._rescue else {}
        entries = self._directory.entries
        for name, entry in sorted(entries.items(), key=lambda item: item[1].order):
            self._face(name, [*rescued.get(name, ()), entry])
            earlier = [kept for kept in rescued.get(name, ()) if kept.inode != entry.inode]
            if not earlier or not self._meet_rescued(earlier, entry, now):
                self._meet(name, entry, now)
        for name, kept in rescued.items():
            if name not in entries:
                self._face(name, kept)
                self._meet_rescued(kept, None, now)
        self._awaited = set(self._known) - self._roster.tracks.keys()

    def _miss(self) -> None:
        """Of what is known and was not met at the start: it is gone, once its folder can be read."""
        for name in sorted(self._awaited):
            if any(_lies_in(name, folder) for folder in self._directory.problems):
                continue
            self._awaited.discard(name)
            if name in self._roster.tracks:
                continue
            self._face(name, [])
            position = self._known[name]
            order = (position.stream.starts_at or 0.0, position.stream.base, name)
            track = self._roster.tracks[name] = Track(position.stream, order, None, position.offset, position.proof)
            track.gone = position.gone
            track.seen_bytes = position.held.size if position.held else 0
            if not position.gone:
                self._roster.out.append(self._missed(track))

    def _face(self, name: str, files: Sequence[Entry]) -> None:
        """What only an agent that was killed still held is lost, unless one of these files holds it."""
        position = self._known.get(name)
        held = position.held if position is not None and not position.gone else None
        if position is None or held is None:
            return
        found = any(holds(file, held) for file in files)
        self._known[name] = msgspec.structs.replace(position, held=None if found else held, gone=not found)
        if found:
            self._roster.held.found(held.stream)
            return
        track = Track(position.stream, (0.0, "", ""), None, position.offset, position.proof)
        lost = max(0, held.size - position.offset)
        self._roster.out.append(self._roster.end(track, lost, held.reason if lost else "deleted"))

    def _meet(self, name: str, entry: Entry, now: float) -> None:
        """A file whose name this reader has not seen before, or that is back after it was gone."""
        before = self._roster.tracks.get(name)
        if before is None:
            self._face(name, [entry])
        position = Position(before.stream, before.offset, before.proof, before.gone) if before else self._known.get(name)
        generation = position.stream.generation if position else 1
        track = self._roster.track(entry, generation, position.offset if position else 0, position.proof if position else b"")
        track.changed_at = entry.mtime_ns / 1e9 if self._first else now
        self._roster.tracks[name] = track
        if self._until == "now":
            track.stop_at = None if entry.compressed and self._first else entry.size if self._first else 0
        if too_old(self._options, entry, now):
            if position is None or not position.gone:
                reason = f"older than {self._options.ignore_older_days:g} days"
                self._roster.out.append(Gone(track.stream, track.offset, reason=reason, skipped=True))
            track.gone = True
        elif position is not None and position.gone:
            self._return(track)
        else:
            self._roster.pend(track)
            if self._first and track.offset and entry.size != track.offset and not entry.compressed:
                self._prove(track)

    def _meet_rescued(self, rescued: Sequence[Entry], own: Entry | None, now: float) -> bool:
        """At the start, go on in rescued bearers of one name, oldest first; `own`, which bears it now, is read after them."""
        unread = self._unread(rescued, own, now)
        if not unread:
            return False
        for earlier, later in itertools.pairwise(unread):
            earlier.after = later
        if own is not None:
            unread[-1].after = self._roster.next(unread[-1], own, now)
        self._roster.tracks[unread[0].stream.name] = unread[0]
        self._roster.pend(unread[0])
        return True

    def _unread(self, rescued: Sequence[Entry], own: Entry | None, now: float) -> list[Track]:
        """The bearer that was being read, if it is among them, and all that came after what was read."""
        position = self._known.get(rescued[0].name)
        if position is None:
            return self._fresh(rescued, 1)
        generation = position.stream.generation
        if not position.offset and not position.gone:
            return self._fresh(rescued, generation)
        known = self._roster.track(rescued[0], generation, position.offset, position.proof)
        if position.gone:
            done = max((number for number, kept in enumerate(rescued, 1) if self._roster.is_all_read(known, kept)), default=0)
            return self._fresh([kept for kept in rescued[done:] if not too_old(self._options, kept, now)], generation + 1)
        if own is not None and self._roster.same_content(known, own):
            return []
        for number, kept in enumerate(rescued):
            track = self._roster.track(kept, generation, position.offset, position.proof)
            track.entry = None
            if self._take_rescued(track, kept):
                return [track, *self._fresh(rescued[number + 1 :], generation + 1)]
        fresh = self._fresh(rescued, generation + 1)
        if fresh:
            self._roster.out.append(self._replaced(known))
        return fresh

    def _fresh(self, rescued: Sequence[Entry], generation: int) -> list[Track]:
        """Tracks of rescued files that nobody has read; `Roster.promote` numbers the later ones."""
        tracks = []
        for kept in rescued:
            track = self._roster.track(kept, generation)
            track.entry = None
            if self._take_rescued(track, kept):
                tracks.append(track)
        return tracks

    def _prove(self, track: Track) -> None:
        """Compare a file that was partly read: should it go before its turn, its loss is then named right.

        There are few: at the start the oldest unread file and the newest (one of the settled size waits for its turn).
        """
        assert track.entry is not None
        if self._roster.access.open(track, track.entry):
            self._roster.compare(track)

    def _replaced(self, track: Track) -> Gone:
        """The rescued file holds other content than what was read under its name: it was rewritten, then deleted."""
        evidence = decode(track.proof)
        lost = max(0, evidence.size - track.offset) if evidence is not None else 0
        if lost:
            self._roster.shout(track, lost, "rewritten unread")
        return Gone(track.stream, track.offset, lost, "rewritten unread" if lost else "rewritten")

    def _return(self, track: Track) -> None:
        """A stream that was gone is back: the same bytes need nothing, anything else is a new generation."""
        assert track.entry is not None
        if track.entry.compressed:  # its trailer may be damaged, or that of its last member only
            same = self._roster.is_spent(track, track.entry)
        else:
            same = track.offset > 0 and track.offset == track.seen_bytes and self._roster.access.open(track, track.entry)
            same = same and self._roster.access.verify(track)
        if same:
            track.gone = True
            track.close()
            return
        self._log.warning("file is back after it was gone, read anew", extra={"file": track.stream.name})
        self._roster.renew(track)

    def _note(self, name: str, before: Entry | None, entry: Entry | None, now: float) -> None:
        """One change of the listing; it concerns the latest bearer of the name."""
        last = self._roster.tracks.get(name)
        while last is not None and last.after is not None:
            last = last.after
        if entry is None:
            if last is not None and not last.gone and not last.retired:
                self._vanished(last)
        elif last is None or (last.gone and (before is None or not too_old(self._options, entry, now))):
            self._meet(name, entry, now)
        elif last.retired or last.entry is None:
            last.after = last.after if last.gone else self._roster.next(last, entry, now)
        elif before is not None:
            last.changed_at = now
            self._changed(last, before, entry, now)

    def _changed(self, track: Track, before: Entry, entry: Entry, now: float) -> None:
        replaced = (before.inode, before.device) != (entry.inode, entry.device)
        if replaced and track.cutter is not None:
            self._retire(track, self._kept(before))
            track.after = self._roster.next(track, entry, now)
            return
        track.entry = entry
        track.verified = False
        if entry.path != track.stream.path:
            track.stream = Stream(track.stream.name, entry.base, entry.path, track.stream.generation, entry.starts_at)
            track.close()
        if not replaced and not entry.compressed:
            self._roster.access.widen(track)
        size = self._roster.access.size(entry, track.offset)
        current = self._roster.tracks.get(track.stream.name) is track
        if not track.offset and not track.glimpse and track.seen_bytes and (replaced or size < track.seen_bytes):
            track.lost_until = track.seen_bytes  # nothing is known of the content that was there
            if current:
                self._roster.out.append(self._roster.rewritten(track))
                return
        if size >= track.seen_bytes or (track.caught_up and size >= track.offset):
            track.caught_up = track.caught_up and size <= track.seen_bytes
            track.sure_bytes, track.seen_bytes = track.seen_bytes, size  # at most half a line was withdrawn
        else:
            track.cut_short(size)
        self._roster.pend(track)
        if track.offset and track.cutter is None and not entry.compressed:
            self._prove(track)
        else:
            self._roster.compare(track)

    def _vanished(self, track: Track) -> None:
        """The name is no longer in the directory: read what is still open or rescued, else what was unread is lost."""
        entry, track.entry = track.entry, None
        kept = self._kept(entry) if entry else None
        if track.cutter is not None and not self._keeping.has_room():
            track.close()
        if track.cutter is None and kept is not None and self._take_rescued(track, kept):
            self._roster.pend(track)
        elif track.cutter is not None:
            self._retire(track, kept)
        elif self._roster.tracks.get(track.stream.name) is track:
            self._roster.lose(track)  # a later bearer of the name waits until it is its turn: see `_promote`

    def _kept(self, entry: Entry) -> Entry | None:
        return self._rescue.kept(entry) if self._rescue else None

    def _retire(self, track: Track, kept: Entry | None) -> None:
        """Its open file lost the name: read it to its end."""
        track.retired, track.verified, track.entry = True, False, None
        track.rescued = kept is not None
        track.sure_bytes = max(track.sure_bytes, track.seen_bytes)
        if track.cutter is not None and not track.stream.path.endswith(GZIP_SUFFIX):
            size = track.cutter.source.size()
            if size >= track.seen_bytes or (track.caught_up and size >= track.offset):
                track.seen_bytes = size  # at most half a line was withdrawn
            else:
                track.cut_short(size)
        track.was_newest = track.stream.name in self._newest
        self._roster.pend(track)

    def _take_rescued(self, track: Track, kept: Entry) -> bool:
        """Go on from the rescued file if it is the one that is known."""
        if not kept.compressed:
            track.glimpse = track.glimpse[: kept.size]  # a copy may be older than what was seen of the file since
        if not self._roster.access.open(track, kept) or not self._roster.access.verify(track):
            track.close()
            return False
        track.seen_bytes = max(track.seen_bytes, kept.size)
        track.stream = Stream(track.stream.name, kept.base, kept.path, track.stream.generation, kept.starts_at)
        track.retired, track.rescued, track.entry = True, True, None
        if not self._keeping.has_room():
            track.close()
            track.entry = kept  # opened again in its turn
        return True

    def _missed(self, track: Track) -> Gone:
        """What vanished while no reader ran: the evidence says how large it was when it was last read."""
        track.gone = True
        evidence = decode(track.proof)
        if evidence is not None and evidence.size > track.offset:
            lost = evidence.size - track.offset
            self._roster.shout(track, lost, "deleted unread")
            return Gone(track.stream, track.offset, lost, "deleted unread while no agent ran; more may have followed")
        if evidence is not None and not evidence.live:
            return Gone(track.stream, track.offset)
        self._log.warning("file deleted while no agent ran", extra={"file": track.stream.name, "offset": track.offset})
        reason = f"deleted while no agent ran: whether anything followed byte {track.offset} is not known"
        return Gone(track.stream, track.offset, reason=reason, never_seen=True)

    def _retry_blocked(self) -> None:
        for name in list(self._roster.access.blocked):
            track = self._roster.tracks.get(name)
            if track is None or track.gone:
                del self._roster.access.blocked[name]
            else:
                self._roster.pend(track)

    def _say_problems(self) -> None:
        unnameable = self._directory.unnameable
        if unnameable.keys() - self._unnameable:
            extra = {"files": len(unnameable), "file": min(unnameable), "reason": next(iter(unnameable.values()))}
            self._log.warning("files are not read for their names", extra=extra)
        self._unnameable = set(unnameable)
        problems = self._directory.problems
        for folder, problem in problems.items():
            if self._folder_problems.get(folder) != problem:
                self._log.warning("directory cannot be read, waiting for it", extra={"directory": folder, "reason": problem})
        for folder in self._folder_problems.keys() - problems.keys():
            self._log.info("directory can be read again", extra={"directory": folder})
        self._folder_problems = dict(problems)


def too_old(options: Options, entry: Entry, now: float) -> bool:
    """Whether the file is left alone for its age."""
    days = options.ignore_older_days
    at = entry.starts_at if entry.starts_at is not None else entry.mtime_ns / 1e9
    return days is not None and at < now - days * DAY_S


def _lies_in(name: str, folder: str) -> bool:
    """Whether a stream's file lies in the folder, which may be a glob itself."""
    parent = name.rpartition("/")[0]
    return parent == folder or fnmatch.fnmatchcase(parent, folder)
