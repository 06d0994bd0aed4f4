"""One reader's walk over the directory: which stream next, from where, and what became of the ones that vanished.

It runs in one thread and neither sleeps nor logs record contents; `files` turns it into the input.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from vosship.events import Block, Gone, Position, Stream
from vosship.plugin import Known, Until
from vosship_files.access import Access
from vosship_files.directory import Directory, Entry
from vosship_files.gaps import Gaps
from vosship_files.identity import decode, prove
from vosship_files.lines import Pause, Piece, RewrittenError
from vosship_files.names import GZIP_SUFFIX
from vosship_files.options import Options
from vosship_files.rescue import Rescue
from vosship_files.track import Track
from vosship_files.turns import Turns

DAY_S = 86_400


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
        self._options = options
        self._directory = directory
        self._known = known
        self._until = until
        self._now = now
        self._log = log
        self._rescue = rescue
        self._gaps = gaps
        self._access = Access(options, log)
        self._tracks: dict[str, Track] = {}
        self._turns = Turns(self._tracks, options.live_share, options.block_bytes)
        self._tails: dict[str, Track] = {}  # half last lines that wait for their file to be finished
        self._folder_problems: dict[str, str] = {}
        self._out: deque[Gone] = deque()
        self._listed_at = float("-inf")
        self._first = True

    # -- looking ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what changed in the directories, and take note of it. Never raises for what a file system can do."""
        now = self._now()
        full = not 0 <= now - self._listed_at < self._options.rescan_s
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
        self._take_tails(now)
        if changes.listed or full:
            self._hold()
            self._out.extend(self._gaps.find(self._directory, self._tracks, now, at_once=self._until == "now"))
        self._first = False

    def _begin(self, now: float) -> None:
        """The first look: what is known meets what is there, and what was rescued before it vanished."""
        rescued = self._rescue.find() if self._rescue else {}
        entries = self._directory.entries
        for name, entry in sorted(entries.items(), key=lambda item: item[1].order):
            kept = rescued.get(name)
            if kept is None or kept.inode == entry.inode or not self._meet_rescued(kept, entry, now):
                self._meet(name, entry, now)
        for name, kept in rescued.items():
            if name not in entries:
                self._meet_rescued(kept, None, now)
        for name, position in self._known.items():
            if name in self._tracks:
                continue
            stream = position.stream
            order = (stream.starts_at or 0.0, stream.base, stream.name)
            track = self._tracks[name] = Track(stream, order, None, position.offset, position.proof)
            track.gone = position.gone
            if not position.gone and not any(name.startswith(folder + "/") for folder in self._directory.problems):
                self._out.append(self._missed(track))

    def _meet(self, name: str, entry: Entry, now: float) -> None:
        """A file whose name this reader has not seen before, or that is back after it was gone."""
        before = self._tracks.get(name)
        position = Position(before.stream, before.offset, before.proof, before.gone) if before else self._known.get(name)
        generation = position.stream.generation if position else 1
        track = self._track(entry, generation, position.offset if position else 0, position.proof if position else b"")
        track.changed_at = entry.mtime_ns / 1e9 if self._first else now
        self._tracks[name] = track
        if self._until == "now":
            track.stop_at = None if entry.compressed and self._first else entry.size if self._first else 0
        if self._too_old(entry, now):
            if position is None or not position.gone:
                reason = f"older than {self._options.ignore_older_days:g} days"
                self._out.append(Gone(track.stream, track.offset, reason=reason, skipped=True))
            track.gone = True
        elif position is not None and position.gone:
            self._return(track)
        else:
            self._pend(track)

    def _meet_rescued(self, kept: Entry, own: Entry | None, now: float) -> bool:
        """At the start, go on in a rescued file; `own` is another file that bears the name now, read after it."""
        position = self._known.get(kept.name)
        if position is not None and position.gone:
            return False
        generation = position.stream.generation if position else 1
        track = self._track(kept, generation, position.offset if position else 0, position.proof if position else b"")
        track.entry = None
        if own is not None and track.offset and self._same_content(track, own):
            return False
        if not self._take_rescued(track, kept):
            return False
        self._tracks[kept.name] = track
        if own is not None:
            track.after = self._next(track, own, now)
        self._pend(track)
        return True

    def _return(self, track: Track) -> None:
        """A stream that was gone is back: the same bytes need nothing, anything else is a new generation."""
        assert track.entry is not None
        same = track.offset > 0 and track.offset == track.seen_bytes and self._access.open(track, track.entry)
        if same and self._access.verify(track):
            track.gone = True
            track.close()
            return
        self._log.warning("file is back after it was gone, read anew", extra={"file": track.stream.name})
        self._renew(track)

    def _too_old(self, entry: Entry, now: float) -> bool:
        days = self._options.ignore_older_days
        at = entry.starts_at if entry.starts_at is not None else entry.mtime_ns / 1e9
        return days is not None and at < now - days * DAY_S

    def _note(self, name: str, before: Entry | None, entry: Entry | None, now: float) -> None:
        """One change of the listing; it concerns the latest bearer of the name."""
        last = self._tracks.get(name)
        while last is not None and last.after is not None:
            last = last.after
        if entry is None:
            if last is not None and not last.gone and not last.retired:
                self._vanished(last)
        elif last is None or (last.gone and (before is None or not self._too_old(entry, now))):
            self._meet(name, entry, now)
        elif last.retired or last.entry is None:
            last.after = last.after if last.gone else self._next(last, entry, now)
        elif before is not None:
            last.changed_at = now
            self._changed(last, before, entry, now)

    def _changed(self, track: Track, before: Entry, entry: Entry, now: float) -> None:
        replaced = (before.inode, before.device) != (entry.inode, entry.device)
        if replaced and track.cutter is not None:
            self._retire(track)
            track.after = self._next(track, entry, now)
            return
        track.entry = entry
        track.verified = False
        if entry.path != track.stream.path:
            track.stream = Stream(track.stream.name, entry.base, entry.path, track.stream.generation, entry.starts_at)
            track.close()
        if not replaced and not entry.compressed:
            self._access.widen(track)
        size = self._access.size(entry, track.offset)
        current = self._tracks.get(track.stream.name) is track
        if not track.offset and not track.glimpse and track.seen_bytes and (replaced or size < track.seen_bytes):
            track.lost_until = track.seen_bytes  # nothing is known of the content that was there
            if current:
                self._out.append(self._rewritten(track))
                return
        if size >= track.seen_bytes or (track.caught_up and size >= track.offset):
            track.sure_bytes, track.seen_bytes = track.seen_bytes, size  # at most half a line was withdrawn
        else:
            track.cut_at = min(size, track.cut_at) if track.lost_until else size
            track.lost_until = max(track.lost_until, track.seen_bytes)
        self._pend(track)
        self._compare(track)

    def _compare(self, track: Track) -> None:
        """Hold an open file against its evidence now: before its turn comes, the content may be another one twice over."""
        if track.cutter is None or track.retired or (track.entry is not None and track.entry.compressed):
            return
        try:
            same = not self._is_blind(track) and self._access.verify(track)
            if not same and self._tracks.get(track.stream.name) is track:
                self._out.append(self._rewritten(track))
            elif not same:
                track.lost_until = max(track.lost_until, track.sure_bytes)  # entered when it is its turn
        except OSError as error:
            self._access.block(track, error)

    def _is_blind(self, track: Track) -> bool:
        """Seen content was withdrawn of which nothing is known."""
        return track.lost_until > 0 and not track.offset and not track.glimpse

    def _vanished(self, track: Track) -> None:
        """The name is no longer in the directory: read what is still open or rescued, else what was unread is lost."""
        entry, track.entry = track.entry, None
        kept = self._rescue.kept(entry) if self._rescue and entry else None
        if track.cutter is None and kept is not None and self._take_rescued(track, kept):
            self._pend(track)
        elif track.cutter is not None:
            self._retire(track)
        elif self._tracks.get(track.stream.name) is track:
            self._lose(track)  # a later bearer of the name waits until it is its turn: see `_promote`

    def _retire(self, track: Track) -> None:
        """Its open file lost the name: read it to its end."""
        track.retired, track.verified, track.entry = True, False, None
        track.sure_bytes = max(track.sure_bytes, track.seen_bytes)
        if track.cutter is not None and not track.stream.path.endswith(GZIP_SUFFIX):
            size = track.cutter.source.size()
            if size < track.seen_bytes and not (track.caught_up and size >= track.offset):
                track.lost_until, track.cut_at = max(track.lost_until, track.seen_bytes), size  # cut short just before
        track.was_newest = track.stream.name in self._directory.newest
        self._pend(track)

    def _take_rescued(self, track: Track, kept: Entry) -> bool:
        """Go on from the rescued file if it is the one that is known."""
        if not self._access.open(track, kept) or not self._access.verify(track):
            track.close()
            return False
        track.seen_bytes = max(track.seen_bytes, kept.size)
        track.stream = Stream(track.stream.name, kept.base, kept.path, track.stream.generation, kept.starts_at)
        track.retired, track.entry = True, None
        return True

    def _missed(self, track: Track) -> Gone:
        """What vanished while no reader ran: the evidence says how large it was when it was last read."""
        track.gone = True
        evidence = decode(track.proof)
        if evidence is not None and evidence.size > track.offset:
            lost = evidence.size - track.offset
            self._shout(track, lost, "deleted unread")
            return Gone(track.stream, track.offset, lost, "deleted unread while no agent ran; more may have followed")
        if evidence is not None and not evidence.live:
            return Gone(track.stream, track.offset)
        self._log.warning("file deleted while no agent ran", extra={"file": track.stream.name, "offset": track.offset})
        reason = f"deleted while no agent ran: whether anything followed byte {track.offset} is not known"
        return Gone(track.stream, track.offset, reason=reason, never_seen=True)

    def _take_tails(self, now: float) -> None:
        for name, track in list(self._tails.items()):
            if self._may_take_tail(track, now):
                del self._tails[name]
                self._pend(track)

    def _may_take_tail(self, track: Track, now: float) -> bool:
        if track.retired:
            return track.last_words
        if track.stream.name in self._directory.newest:
            return False
        return self._until == "now" or now - track.changed_at >= self._options.still_s

    def _hold(self) -> None:
        """Keep what a deletion would hurt: descriptors of the newest and of the next in turn, second names of the rest."""
        wanted = self._turns.first(self._options.hold_files) | self._directory.recent
        for name in wanted:
            track = self._tracks.get(name)
            if track is not None and track.entry is not None and track.cutter is None and track.pending:
                self._access.glimpse(track, track.entry)
                self._compare(track)
        for name, track in self._tracks.items():
            if track.cutter is not None and not track.pending and name not in wanted and name not in self._tails:
                track.close()
        if self._rescue:
            self._rescue.sweep(self._now())
            unread = [track.entry for track in self._tracks.values() if track.pending and track.entry is not None]
            for entry in sorted(unread, key=lambda entry: entry.order):
                if entry.name not in self._directory.newest:
                    self._rescue.keep(entry, self._directory)

    def _retry_blocked(self) -> None:
        for name in list(self._access.blocked):
            track = self._tracks.get(name)
            if track is None or track.gone:
                del self._access.blocked[name]
            else:
                self._pend(track)

    def _say_problems(self) -> None:
        problems = self._directory.problems
        for folder, problem in problems.items():
            if self._folder_problems.get(folder) != problem:
                self._log.warning("directory cannot be read, waiting for it", extra={"directory": folder, "reason": problem})
        for folder in self._folder_problems.keys() - problems.keys():
            self._log.info("directory can be read again", extra={"directory": folder})
        self._folder_problems = dict(problems)

    # -- reading ---------------------------------------------------------------------------------------------------

    def advance(self) -> Block | Gone | Pause:
        """The next thing to hand over; AGAIN when a bounded piece of work gave nothing yet, END when nothing is pending."""
        if self._out:
            return self._out.popleft()
        track = self._turns.next(self._directory.newest)
        if track is None:
            return Pause.END
        try:
            return self._step(track)
        except OSError as error:
            self._access.block(track, error)
            return Pause.AGAIN

    def _step(self, track: Track) -> Block | Gone | Pause:
        if self._access.settled_archive(track):
            track.pending, track.caught_up = False, True
            return Pause.AGAIN
        if track.cutter is None and (track.entry is None or not self._access.open(track, track.entry)):
            track.pending = False
            return Pause.AGAIN
        unproved = not track.verified or (not track.offset and track.glimpse)  # the cutter itself compares from byte 1 on
        if unproved and (self._is_blind(track) or not self._access.verify(track)):
            return self._rewritten(track)
        assert track.cutter is not None
        try:
            limit = track.cut_at if track.lost_until else track.stop_at
            piece = track.cutter.cut(limit, take_tail=not track.lost_until and self._may_take_tail(track, self._now()))
        except RewrittenError:
            return self._rewritten(track)
        if isinstance(piece, Piece):
            return self._block_of(track, piece)
        return piece if piece is Pause.AGAIN else self._drained(track)

    def _block_of(self, track: Track, piece: Piece) -> Block:
        cutter = track.cutter
        assert cutter is not None
        offset, track.offset = track.offset, piece.end
        track.caught_up = False
        track.seen_bytes = max(track.seen_bytes, piece.end)
        live = track.stream.name in self._directory.newest and not track.retired
        track.proof = prove(cutter.head, cutter.head_hash, cutter.tail, size=track.seen_bytes, live=live)
        self._turns.spend(piece.end - offset, live=live)
        self._access.blocked.pop(track.stream.name, None)
        return Block(
            stream=track.stream,
            offset=offset,
            end=piece.end,
            data=piece.data,
            proof=track.proof,
            fields={},
            unterminated=piece.unterminated,
            cut=piece.cut,
        )

    def _drained(self, track: Track) -> Gone | Pause:
        """Nothing whole is left in the open file."""
        assert track.cutter is not None
        name, source = track.stream.name, track.cutter.source
        if track.lost_until:
            return self._rewritten(track, lost=max(0, track.lost_until - track.offset), reason="cut short unread")
        if track.retired:
            return self._retired_end(track)
        archived = track.entry is not None and track.entry.compressed
        if not archived and source.size() < track.seen_bytes:
            return self._rewritten(track, lost=track.seen_bytes - track.offset, reason="cut short unread")
        track.pending = False
        track.caught_up = True
        if archived:
            track.seen_bytes = source.size()  # what a damaged file's trailer says is not to be had
            if source.damage:
                extra = {"file": source.path, "reason": source.damage}
                self._log.warning("rest of a damaged file cannot be read", extra=extra)
        if source.size() > track.offset and track.stop_at is None:
            self._tails[name] = track
        elif name not in self._directory.recent:
            track.close()
        return Pause.AGAIN

    def _retired_end(self, track: Track) -> Gone | Pause:
        """The end of a file that lost its name: the file that bears it now may hold the same content."""
        assert track.cutter is not None
        after = track.after
        usable = after is not None and not after.retired and not after.lost_until and not track.last_words
        own = after.entry if after is not None and usable else None
        if after is not None and own is not None and self._same_content(track, own):
            self._continue_in(track, after)
            return Pause.AGAIN
        if not track.last_words and not track.was_newest:
            track.last_words = True
            return Pause.AGAIN
        size = track.cutter.source.size()
        lost = max(0, (size if track.stop_at is None else min(size, track.stop_at)) - track.offset)
        gone = self._end(track, lost, "deleted with half a line" if lost else "deleted")
        if after is not None:
            self._promote(track, after)
        return gone

    def _same_content(self, track: Track, entry: Entry) -> bool:
        """Whether another file begins with the content read so far."""
        trial = Track(track.stream, track.order, entry, track.offset, track.proof)
        try:
            return track.offset > 0 and self._access.open(trial, entry) and self._access.verify(trial)
        finally:
            trial.close()

    def _continue_in(self, track: Track, after: Track) -> None:
        """The name's next file is a copy: the same generation goes on in it."""
        track.close()
        after.close()
        stream = Stream(track.stream.name, after.stream.base, after.stream.path, track.stream.generation, after.stream.starts_at)
        copy = Track(stream, after.order, after.entry, track.offset, track.proof)
        copy.seen_bytes, copy.changed_at, copy.stop_at = after.seen_bytes, after.changed_at, track.stop_at
        self._tracks[stream.name] = copy
        self._pend(copy)

    def _promote(self, track: Track, after: Track) -> None:
        """The name's next bearer is read from its beginning; one that has vanished meanwhile is lost as far as it was seen."""
        stream = after.stream
        after.stream = Stream(stream.name, stream.base, stream.path, track.stream.generation + 1, stream.starts_at)
        self._tracks[stream.name] = after
        if after.entry is not None or after.cutter is not None:
            self._pend(after)
            return
        self._lose(after)
        if after.after is not None:
            self._promote(after, after.after)

    def _rewritten(self, track: Track, *, lost: int | None = None, reason: str = "rewritten unread") -> Gone:
        """The content is another one: what was seen of the old and not read is lost, and a new generation begins."""
        if lost is None:
            lost = max(0, (track.lost_until or track.sure_bytes) - track.offset)
        stream, offset = track.stream, track.offset
        self._log.warning("file content changed, read anew from its beginning", extra={"file": stream.name, "offset": offset})
        if lost:
            self._shout(track, lost, reason)
        self._renew(track)
        return Gone(stream, offset, lost, reason if lost else "rewritten")

    def _renew(self, track: Track) -> None:
        """Begin the next generation: of the file that bears the name, or of the open one that has lost it."""
        if track.entry is not None:
            cutter, track.cutter = track.cutter, None
            fresh = self._next(track, track.entry, self._now())
            if cutter is not None and fresh.cutter is None and cutter.source.inode == track.entry.inode:
                fresh.cutter = self._access.anew(cutter.source)  # deleted just now, but still open
            elif cutter is not None:
                cutter.source.close()
        else:
            assert track.cutter is not None
            old = track.stream
            stream = Stream(old.name, old.base, old.path, old.generation + 1, old.starts_at)
            fresh = Track(stream, track.order, None)
            fresh.cutter = self._access.anew(track.cutter.source)
            fresh.seen_bytes = track.cutter.source.size()
            fresh.retired, fresh.was_newest, fresh.after, fresh.stop_at = True, track.was_newest, track.after, track.stop_at
            track.cutter = None
        self._tails.pop(track.stream.name, None)
        self._tracks[track.stream.name] = fresh
        self._pend(fresh)

    def _next(self, track: Track, entry: Entry, now: float) -> Track:
        """The track of the name's next generation, opened ahead of its turn, so that deleting it loses nothing."""
        fresh = self._track(entry, track.stream.generation + 1)
        fresh.changed_at = now
        fresh.stop_at = track.stop_at
        self._access.glimpse(fresh, entry)
        return fresh

    def _track(self, entry: Entry, generation: int, offset: int = 0, proof: bytes = b"") -> Track:
        stream = Stream(entry.name, entry.base, entry.path, generation, entry.starts_at)
        track = Track(stream, entry.order, entry, offset, proof)
        evidence = decode(proof)
        track.sure_bytes = evidence.size if evidence else 0
        track.seen_bytes = self._access.size(entry, offset)
        return track

    def _lose(self, track: Track) -> None:
        lost = max(track.unread_bytes, track.lost_until - track.offset)
        self._out.append(self._end(track, lost, "deleted unread" if lost else "deleted"))

    def _end(self, track: Track, lost: int, reason: str) -> Gone:
        track.close()
        track.gone, track.pending, track.retired = True, False, False
        self._tails.pop(track.stream.name, None)
        if lost:
            self._shout(track, lost, reason)
        return Gone(track.stream, track.offset, lost, reason)

    def _shout(self, track: Track, lost: int, reason: str) -> None:
        extra = {"file": track.stream.name, "offset": track.offset, "bytes": lost, "reason": reason}
        self._log.error("bytes lost unread", extra=extra)

    def _pend(self, track: Track) -> None:
        if not track.gone and self._tracks.get(track.stream.name) is track:
            self._turns.add(track, live=track.stream.name in self._directory.newest)

    def folders(self) -> list[str]:
        """The folders that can be watched now."""
        return self._directory.folders()

    def close(self) -> None:
        """Give every descriptor back."""
        for first in self._tracks.values():
            track: Track | None = first
            while track is not None:
                track.close()
                track = track.after
