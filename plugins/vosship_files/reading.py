"""The reading half of a walk: a block of the stream whose turn it is, or the end of one.

It never looks at a directory: what became of a name is told to `roster` by `looking`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from vosship.events import Block, Gone
from vosship_files.directory import Directory
from vosship_files.identity import prove
from vosship_files.lines import Pause, Piece, RewrittenError
from vosship_files.names import GZIP_SUFFIX
from vosship_files.roster import Roster
from vosship_files.track import Track


class Reading:
    """Reads what is pending. `advance` blocks briefly, however long a line is."""

    def __init__(self, directory: Directory, roster: Roster, now: Callable[[], float], log: logging.Logger) -> None:
        self._directory = directory
        self._roster = roster
        self._now = now
        self._log = log

    def advance(self) -> Block | Gone | Pause:
        """The next thing to hand over; AGAIN when a bounded piece of work gave nothing yet, END when nothing is pending."""
        if self._roster.out:
            return self._roster.out.popleft()
        track = self._roster.turns.next(self._directory.newest)
        if track is None:
            return Pause.END
        try:
            return self._step(track)
        except OSError as error:
            self._roster.access.block(track, error)
            return Pause.AGAIN

    def _step(self, track: Track) -> Block | Gone | Pause:
        if self._roster.access.settled_archive(track):
            track.pending, track.caught_up = False, True
            return Pause.AGAIN
        if track.cutter is None and not self._open(track):
            track.pending = False
            if track.retired and track.stream.name not in self._roster.access.blocked:
                self._roster.lose(track)  # somebody took the rescued file away
                if track.after is not None:
                    self._roster.promote(track, track.after)
            return Pause.AGAIN
        unproved = not track.verified or (not track.offset and track.glimpse)  # the cutter itself compares from byte 1 on
        if unproved and (self._roster.is_blind(track) or not self._roster.access.verify(track)):
            return self._roster.rewritten(track)
        assert track.cutter is not None
        try:
            limit = track.cut_at if track.lost_until else track.stop_at
            piece = track.cutter.cut(limit, take_tail=not track.lost_until and self._roster.may_take_tail(track, self._now()))
        except RewrittenError:
            return self._roster.rewritten(track)
        if isinstance(piece, Piece):
            return self._block_of(track, piece)
        return piece if piece is Pause.AGAIN else self._drained(track)

    def _open(self, track: Track) -> bool:
        """Open the file in its turn; False leaves it to the next look to say what became of it."""
        access, entry = self._roster.access, track.entry
        if entry is None or not access.open(track, entry):
            return False
        if self._roster.goes_on and not track.retired and access.is_another(track, entry):
            track.close()
            return False
        return True

    def _block_of(self, track: Track, piece: Piece) -> Block:
        cutter = track.cutter
        assert cutter is not None
        offset, track.offset = track.offset, piece.end
        track.caught_up = False
        track.seen_bytes = max(track.seen_bytes, piece.end)
        live = track.stream.name in self._directory.newest and not track.retired
        # A file that is no longer the newest may still get the switch's last flush.
        growing = not track.retired and not self._roster.may_take_tail(track, self._now())
        track.proof = prove(cutter.head, cutter.head_hash, cutter.tail, size=track.seen_bytes, live=growing)
        self._roster.turns.spend(piece.end - offset, live=live)
        self._roster.access.blocked.pop(track.stream.name, None)
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
            return self._roster.rewritten(track, lost=max(0, track.lost_until - track.offset), reason="cut short unread")
        if track.retired:
            return self._retired_end(track)
        archived = track.entry is not None and track.entry.compressed
        if not archived and source.size() < track.seen_bytes:
            return self._roster.rewritten(track, lost=track.seen_bytes - track.offset, reason="cut short unread")
        track.pending = False
        track.caught_up = True
        if archived:
            track.seen_bytes = source.size()  # what a damaged file's trailer says is not to be had
            if source.damage and self._roster.may_take_tail(track, self._now()):
                return self._damaged_end(track)
        if (source.size() > track.offset or source.damage) and track.stop_at is None:
            self._roster.tails[name] = track
        elif name not in self._directory.recent:
            track.close()
        return Pause.AGAIN

    def _damaged_end(self, track: Track) -> Gone:
        """The end of what an archive gives that nobody writes on: the rest is lost as far as its trailer says, else a gap."""
        assert track.entry is not None
        assert track.cutter is not None
        source = track.cutter.source
        stated = self._roster.access.size(track.entry, track.offset) if "damaged" in source.damage else 0
        lost = max(0, max(stated, source.size()) - track.offset)
        extra = {"file": source.path, "offset": track.offset, "reason": source.damage}
        self._log.error("rest of a damaged file cannot be read", extra=extra)
        reason = f"{source.damage}: what followed byte {track.offset} cannot be read"
        self._roster.access.damaged[track.stream.name] = reason
        return msgspec.structs.replace(self._roster.end(track, lost, reason), never_seen=not lost)

    def _retired_end(self, track: Track) -> Gone | Pause:
        """The end of a file that lost its name: the file that bears it now may hold the same content."""
        assert track.cutter is not None
        after = track.after
        usable = after is not None and not after.retired and not after.lost_until and not track.last_words
        own = after.entry if after is not None and usable else None
        if after is not None and own is not None and self._roster.same_content(track, own):
            self._roster.continue_in(track, after)
            return Pause.AGAIN
        if not track.last_words and not track.was_newest:
            track.last_words = True
            return Pause.AGAIN
        size = track.cutter.source.size()
        if not track.stream.path.endswith(GZIP_SUFFIX):  # what a damaged archive stated is not to be had
            size = max(size, track.seen_bytes)  # a rescued copy may lack what was written after it was made
        lost = max(0, (size if track.stop_at is None else min(size, track.stop_at)) - track.offset)
        gone = self._roster.end(track, lost, "deleted with half a line" if lost else "deleted")
        if after is not None:
            self._roster.promote(track, after)
        return gone
