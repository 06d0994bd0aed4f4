"""The streams of one reader: who bears a name now and next, how a generation ends, and how the next one begins.

It neither lists directories (`looking`) nor cuts lines (`reading`): both tell it what they found.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from vosship.events import Gone, Held, Stream
from vosship.plugin import Until
from vosship_files.access import Access
from vosship_files.directory import Directory, Entry
from vosship_files.held import UNSETTLED, HeldStreams, whole
from vosship_files.identity import decode
from vosship_files.options import Options
from vosship_files.source import Source
from vosship_files.track import Track
from vosship_files.turns import Turns


class Roster:
    """Every track of one reader, and what is to be said of them before the next block."""

    def __init__(
        self, options: Options, directory: Directory, until: Until, now: Callable[[], float], log: logging.Logger,
        held: Iterable[Held] = (),
    ) -> None:  # fmt: skip
        self._options = options
        self._directory = directory
        self.goes_on = until == "forever"
        """There will be another look."""
        self._now = now
        self._log = log
        self.access = Access(options, log)
        self.tracks: dict[str, Track] = {}
        """Per stream name the track to be read now; later bearers of the name follow by `after`."""
        self.turns = Turns(self.tracks, options.live_share, options.block_bytes)
        self.tails: dict[str, Track] = {}
        """Half last lines that wait for their file to be finished."""
        self.out: deque[Gone] = deque()
        """Ends found while looking, to be handed over before the next block."""
        self.held = HeldStreams(held)
        """What ends with the process, that included which an earlier one held and nobody has looked for yet."""

    def track(self, entry: Entry, generation: int, offset: int = 0, proof: bytes = b"") -> Track:
        """A new track of that file, not yet in `tracks`."""
        stream = Stream(entry.name, entry.base, entry.path, generation, entry.starts_at)
        track = Track(stream, entry.order, entry, offset, proof)
        evidence = decode(proof)
        track.sure_bytes = evidence.size if evidence else 0
        track.seen_bytes = self.access.size(entry, offset)
        return track

    def next(self, track: Track, entry: Entry, now: float) -> Track:
        """The track of the name's next generation, opened ahead of its turn, so that deleting it loses nothing."""
        fresh = self.track(entry, track.stream.generation + 1)
        fresh.changed_at = now
        fresh.stop_at = track.stop_at
        self.access.glimpse(fresh, entry)
        self._believe_open(fresh)
        return fresh

    def _believe_open(self, fresh: Track) -> None:
        """What the last look said of a file that was cut short since is not owed by the generation that begins now."""
        if fresh.cutter is not None and not (fresh.entry is not None and fresh.entry.compressed):
            fresh.seen_bytes = min(fresh.seen_bytes, fresh.cutter.source.size())
            fresh.sure_bytes = min(fresh.sure_bytes, fresh.seen_bytes)

    def pend(self, track: Track) -> None:
        """There may be something to read in it. Harmless for one that is gone or not yet due."""
        if not track.gone and self.tracks.get(track.stream.name) is track:
            self.turns.add(track, live=track.stream.name in self._directory.newest)

    def compare(self, track: Track) -> None:
        """Hold an open file against its evidence now: before its turn comes, the content may be another one twice over."""
        if track.cutter is None or track.retired or (track.entry is not None and track.entry.compressed):
            return
        try:
            same = not self.is_blind(track) and self.access.verify(track)
            if not same and self.tracks.get(track.stream.name) is track:
                self.out.append(self.rewritten(track))
            elif not same:
                track.lost_until = max(track.lost_until, track.sure_bytes)  # entered when it is its turn
        except OSError as error:
            self.access.block(track, error)

    def is_blind(self, track: Track) -> bool:
        """Seen content was withdrawn of which nothing is known."""
        return track.lost_until > 0 and not track.offset and not track.glimpse

    def may_take_tail(self, track: Track, now: float) -> bool:
        """Whether nothing can follow any more, so that a half last line counts as one."""
        if track.retired:
            return track.last_words
        if track.stream.name in self._directory.newest:
            return False
        return not self.goes_on or now - track.changed_at >= self._options.still_s

    def wake_tails(self, now: float) -> None:
        """Let the half last lines of finished files be read."""
        for name, track in list(self.tails.items()):
            if self.may_take_tail(track, now):
                del self.tails[name]
                self.pend(track)

    def same_content(self, track: Track, entry: Entry) -> bool:
        """Whether another file begins with the content read so far."""
        return self._begins_with(track, entry, lambda _: True)

    def is_all_read(self, track: Track, entry: Entry) -> bool:
        """Whether a file holds the content read so far and no whole line more."""
        limit = self._options.max_line_bytes
        return self._begins_with(track, entry, lambda source: b"\n" not in source.read_at(track.offset, limit))

    def is_spent(self, track: Track, entry: Entry) -> bool:
        """Whether an archive that was read, or whose rest was given up, gives no more than it did."""
        if track.offset:
            return self.is_all_read(track, entry)
        if not self.access.open(track, entry) or track.cutter is None:
            return False
        try:
            return b"\n" not in track.cutter.source.read_at(0, self._options.max_line_bytes)
        except OSError:
            return False
        finally:
            track.close()

    def _begins_with(self, track: Track, entry: Entry, and_also: Callable[[Source], bool]) -> bool:
        trial = Track(track.stream, track.order, entry, track.offset, track.proof)
        try:
            if not track.offset or not self.access.open(trial, entry) or not self.access.verify(trial):
                return False
            return trial.cutter is not None and and_also(trial.cutter.source)
        finally:
            trial.close()

    def continue_in(self, track: Track, after: Track) -> None:
        """The name's next file is a copy: the same generation goes on in it."""
        track.close()
        after.close()
        stream = Stream(track.stream.name, after.stream.base, after.stream.path, track.stream.generation, after.stream.starts_at)
        copy = Track(stream, after.order, after.entry, track.offset, track.proof)
        copy.seen_bytes, copy.changed_at, copy.stop_at = after.seen_bytes, after.changed_at, track.stop_at
        self.tracks[stream.name] = copy
        self.pend(copy)

    def promote(self, track: Track, after: Track) -> None:
        """The name's next bearer is read from its beginning; one that has vanished meanwhile is lost as far as it was seen."""
        stream = after.stream
        after.stream = Stream(stream.name, stream.base, stream.path, track.stream.generation + 1, stream.starts_at)
        self.tracks[stream.name] = after
        if after.entry is not None or after.cutter is not None:
            self.pend(after)
            return
        self.lose(after)
        if after.after is not None:
            self.promote(after, after.after)

    def rewritten(self, track: Track, *, lost: int | None = None, reason: str = "rewritten unread") -> Gone:
        """The content is another one: what was seen of the old and not read is lost, and a new generation begins."""
        if lost is None:
            lost = max(0, (track.lost_until or track.sure_bytes) - track.offset)
        stream, offset = track.stream, track.offset
        self.held.end(stream, offset + lost, "rewritten unread")
        self._log.warning("file content changed, read anew from its beginning", extra={"file": stream.name, "offset": offset})
        if lost:
            self.shout(track, lost, reason)
        self.renew(track)
        return Gone(stream, offset, lost, reason if lost else "rewritten")

    def renew(self, track: Track) -> None:
        """Begin the next generation: of the file that bears the name, or of the open one that has lost it."""
        if track.entry is not None and not track.retired:
            cutter, track.cutter = track.cutter, None
            fresh = self.next(track, track.entry, self._now())
            if cutter is not None and fresh.cutter is None and cutter.source.inode == track.entry.inode:
                fresh.cutter = self.access.anew(cutter.source)  # deleted just now, but still open
                self._believe_open(fresh)
            elif cutter is not None:
                cutter.source.close()
        else:
            assert track.cutter is not None
            old = track.stream
            stream = Stream(old.name, old.base, old.path, old.generation + 1, old.starts_at)
            fresh = Track(stream, track.order, None)
            fresh.cutter = self.access.anew(track.cutter.source)
            fresh.seen_bytes = track.cutter.source.size()
            fresh.retired, fresh.was_newest, fresh.after, fresh.stop_at = True, track.was_newest, track.after, track.stop_at
            fresh.rescued = track.rescued
            track.cutter = None
        self.tails.pop(track.stream.name, None)
        self.tracks[track.stream.name] = fresh
        self.pend(fresh)

    def lose(self, track: Track) -> None:
        """Its file is gone and nothing of it is open: what was seen and not read is lost."""
        lost = max(track.unread_bytes, track.lost_until - track.offset)
        track.rescued = False
        self.out.append(self.end(track, lost, "deleted unread" if lost else "deleted"))

    def end(self, track: Track, lost: int, reason: str) -> Gone:
        """The end of a track that has no further generation of its own."""
        if not track.rescued and (track.entry is None or track.retired):  # else its file is there, and is read again
            proof = whole(track)[1] if lost else track.proof
            self.held.end(track.stream, track.offset + lost, reason if lost else UNSETTLED, proof)
        track.close()
        track.gone, track.pending, track.retired = True, False, False
        self.tails.pop(track.stream.name, None)
        if lost:
            self.shout(track, lost, reason)
        return Gone(track.stream, track.offset, lost, reason)

    def shout(self, track: Track, lost: int, reason: str) -> None:
        """Log a loss as an ERROR."""
        extra = {"file": track.stream.name, "offset": track.offset, "bytes": lost, "reason": reason}
        self._log.error("bytes lost unread", extra=extra)

    def unread(self) -> list[Entry]:
        """The files of the directory that have something to read, those included that wait for an earlier bearer of their name."""
        return [
            track.entry
            for track in self._every()
            if track.entry and not track.retired and (track.pending or self.tracks[track.stream.name] is not track)
        ]

    def _every(self) -> Iterator[Track]:
        for first in self.tracks.values():
            track: Track | None = first
            while track is not None:
                yield track
                track = track.after

    def close(self) -> None:
        """Give every descriptor back."""
        for track in self._every():
            track.close()
