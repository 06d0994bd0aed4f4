"""One reader's walk over the directory: which stream next, from where, and what became of the ones that vanished.

It runs in one thread and neither sleeps nor logs record contents; `files` turns it into the input.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable

from vosship.events import Block, Gone, Position, Stream
from vosship.plugin import Known, Until
from vosship_files.directory import Directory, Entry, Order
from vosship_files.gaps import Gaps
from vosship_files.identity import check, decode, digest, prove
from vosship_files.lines import Cutter, Pause, Piece, RewrittenError
from vosship_files.options import Options
from vosship_files.rescue import Rescue
from vosship_files.source import Source, gzip_size, open_source
from vosship_files.track import Track

DAY_S = 86_400

MAX_RATIO = 1032
"""The most that deflate can shrink (zlib's technical details: 1032 to 1): a trailer that says more is damaged."""


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
        self._tracks: dict[str, Track] = {}
        self._queue: list[tuple[Order, str]] = []  # what is pending, oldest first; stale entries are skipped
        self._queued: set[str] = set()
        self._live: dict[str, Track] = {}  # pending newest files
        self._tails: dict[str, Track] = {}  # half last lines that wait for their file to be finished
        self._blocked: dict[str, str] = {}  # per stream what the system said when it could not be read
        self._folder_problems: dict[str, str] = {}
        self._out: deque[Gone] = deque()
        self._credit = 0.0  # bytes the newest files may read before the oldest are due again
        self._looked_at = float("-inf")
        self._listed_at = float("-inf")
        self._first = True

    # -- looking ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what changed in the directories, and take note of it. Never raises for what a file system can do."""
        now = self._now()
        full = not 0 <= now - self._listed_at < self._options.rescan_s
        changes = self._directory.look(full=full)
        self._looked_at = now
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
        """The first look: what is known meets what is there."""
        rescued = self._rescue.find() if self._rescue else {}
        for name, entry in sorted(self._directory.entries.items(), key=lambda item: item[1].order):
            self._meet(name, entry, now)
            if name in rescued and rescued[name].inode != entry.inode:
                self._take_rescued(self._tracks[name], rescued[name])
        for name, position in self._known.items():
            if name in self._tracks:
                continue
            track = self._tracks[name] = Track(position.stream, _no_order(position.stream), None, position.offset, position.proof)
            track.gone = position.gone
            if position.gone:
                continue
            if name in rescued and self._take_rescued(track, rescued[name]):
                continue
            if not self._unlistable(name):
                self._out.append(self._missed(track))
        for name, entry in rescued.items():
            if name not in self._tracks:
                self._meet(name, entry, now)
                self._tracks[name].entry = None
                self._take_rescued(self._tracks[name], entry)

    def _unlistable(self, name: str) -> bool:
        return any(name.startswith(folder + "/") for folder in self._directory.problems)

    def _meet(self, name: str, entry: Entry, now: float) -> None:
        """A file whose name this reader has not seen before, or that is back after it was gone."""
        position = self._known.get(name) if name not in self._tracks else None
        before = self._tracks.get(name)
        if before is not None:
            position = Position(before.stream, before.offset, before.proof, before.gone)
        stream = Stream(name, entry.base, entry.path, position.stream.generation if position else 1, entry.starts_at)
        track = Track(stream, entry.order, entry, position.offset if position else 0, position.proof if position else b"")
        track.seen_bytes = self._size(entry, track)
        track.changed_at = max(entry.mtime_ns / 1e9, now if not self._first else 0.0)
        self._tracks[name] = track
        if self._until == "now":
            track.stop_at = entry.size if self._first and not entry.compressed else 0 if not self._first else None
        if self._too_old(entry, now):
            if position is None or not position.gone:
                self._out.append(
                    Gone(stream, track.offset, reason=f"older than {self._options.ignore_older_days} days", skipped=True)
                )
            track.gone = True
        elif position is not None and position.gone:
            self._return(track)
        else:
            self._pend(track)

    def _return(self, track: Track) -> None:
        """A stream that was gone is back: the same bytes need nothing, anything else is a new generation."""
        assert track.entry is not None
        if track.offset and track.offset == track.seen_bytes and self._open(track, track.entry) and self._verify(track):
            track.gone = track.caught_up = True
            track.close()
            return
        track.close()
        self._log.warning("file is back after it was gone, read anew", extra={"file": track.stream.name})
        self._renew(track)

    def _too_old(self, entry: Entry, now: float) -> bool:
        days = self._options.ignore_older_days
        at = entry.starts_at if entry.starts_at is not None else entry.mtime_ns / 1e9
        return days is not None and at < now - days * DAY_S

    def _note(self, name: str, before: Entry | None, entry: Entry | None, now: float) -> None:
        """One change of the listing."""
        track = self._tracks.get(name)
        if entry is None:
            if track is not None and not track.gone:
                self._vanished(track)
            return
        if track is None or before is None or track.gone:
            if track is not None and not track.gone and track.retired:
                track.entry = entry  # the name is in use again while the deleted file is still being read
            elif track is None or (not self._skipped(track, before, entry)):
                self._meet(name, entry, now)
            return
        track.changed_at = now
        self._changed(track, before, entry)

    def _skipped(self, track: Track, before: Entry | None, entry: Entry) -> bool:
        return track.gone and before is not None and entry.inode == before.inode and self._too_old(entry, self._now())

    def _changed(self, track: Track, before: Entry, entry: Entry) -> None:
        track.entry = entry
        if track.retired:
            return
        replaced = (before.inode, before.device) != (entry.inode, entry.device)
        if replaced and track.cutter is not None:
            self._retire(track)
            return
        track.verified = False
        if entry.path != track.stream.path:
            track.stream = Stream(track.stream.name, entry.base, entry.path, track.stream.generation, entry.starts_at)
            track.close()
        size = self._size(entry, track)
        if size >= track.seen_bytes or (track.caught_up and size >= track.offset):
            track.sure_bytes, track.seen_bytes = track.seen_bytes, size  # at most half a line was withdrawn
        else:
            track.cut_at = min(size, track.cut_at) if track.lost_until else size
            track.lost_until = max(track.lost_until, track.seen_bytes)
        self._pend(track)

    def _vanished(self, track: Track) -> None:
        """The name is no longer in the directory: read what is still open or rescued, else what was unread is lost."""
        entry, track.entry = track.entry, None
        kept = self._rescue.kept(entry) if self._rescue and entry else None
        if track.retired:
            return
        if track.cutter is None and kept is not None and self._take_rescued(track, kept):
            return
        if track.cutter is not None:
            self._retire(track)
        else:
            lost = max(track.unread_bytes, track.lost_until - track.offset)
            self._end(track, lost, "deleted unread" if lost else "deleted")

    def _retire(self, track: Track) -> None:
        track.retired = True
        track.was_newest = track.stream.name in self._directory.newest
        self._pend(track)

    def _take_rescued(self, track: Track, kept: Entry) -> bool:
        """Go on from the rescued file if it is the one known; the name's own file, if any, is the next generation."""
        if track.gone or not self._open(track, kept):
            return False
        if not self._verify(track):
            track.close()
            return False
        track.seen_bytes = max(track.seen_bytes, kept.size)
        track.stream = Stream(track.stream.name, kept.base, kept.path, track.stream.generation, kept.starts_at)
        self._retire(track)
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
        if track.last_words:
            return True
        if track.retired or track.stream.name in self._directory.newest:
            return False
        return self._until == "now" or now - track.changed_at >= self._options.still_s

    def _hold(self) -> None:
        """Keep descriptors of the files a deletion would hurt: the newest, and the next to be deleted unread."""
        held = heapq.nsmallest(self._options.hold_files, {entry for entry in self._queue if self._is_pending(entry[1])})
        wanted = {name for _, name in held} | self._directory.recent
        for name in wanted:
            track = self._tracks.get(name)
            if track is not None and track.entry is not None and track.cutter is None and not track.gone and track.pending:
                self._open(track, track.entry)
        for name, track in self._tracks.items():
            if track.cutter is not None and not track.pending and name not in wanted and name not in self._tails:
                track.close()
        if self._rescue:
            unread = [(t.order, t.entry) for t in self._tracks.values() if t.pending and t.entry and not t.retired]
            for _, entry in sorted(unread, key=lambda item: item[0]):
                if entry.name not in self._directory.newest:
                    self._rescue.keep(entry, self._directory)

    def _is_pending(self, name: str) -> bool:
        track = self._tracks.get(name)
        return track is not None and track.pending

    def _retry_blocked(self) -> None:
        for name in list(self._blocked):
            track = self._tracks.get(name)
            if track is None or track.gone:
                del self._blocked[name]
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
        track = self._choose()
        if track is None:
            return Pause.END
        try:
            return self._step(track)
        except OSError as error:
            self._block(track, error)
            return Pause.AGAIN

    def _choose(self) -> Track | None:
        """The oldest pending stream, but the newest while it has credit."""
        while self._queue and not self._is_pending(self._queue[0][1]):
            self._queued.discard(heapq.heappop(self._queue)[1])
        oldest = self._tracks[self._queue[0][1]] if self._queue else None
        for name in [name for name, track in self._live.items() if not track.pending or name not in self._directory.newest]:
            del self._live[name]
        live = next(iter(self._live.values()), None)
        return live if live is not None and (self._credit > 0 or oldest is None) else oldest

    def _step(self, track: Track) -> Block | Gone | Pause:
        if self._settled_archive(track):
            track.pending, track.caught_up = False, True
            return Pause.AGAIN
        if track.cutter is None and (track.entry is None or not self._open(track, track.entry)):
            track.pending = False
            return Pause.AGAIN
        if not track.verified and not self._verify(track):
            return self._rewritten(track)
        assert track.cutter is not None
        if track.lost_until and not track.retired and track.offset == 0:
            return self._rewritten(track)
        try:
            limit = track.cut_at if track.lost_until else track.stop_at
            piece = track.cutter.cut(limit, take_tail=not track.lost_until and self._may_take_tail(track, self._now()))
        except RewrittenError:
            return self._rewritten(track)
        if isinstance(piece, Piece):
            return self._block_of(track, piece)
        return piece if piece is Pause.AGAIN else self._drained(track)

    def _block_of(self, track: Track, piece: Piece) -> Block:
        assert track.cutter is not None
        offset, track.offset = track.offset, piece.end
        track.caught_up = False
        track.seen_bytes = max(track.seen_bytes, piece.end)
        live = track.stream.name in self._directory.newest
        cutter = track.cutter
        track.proof = prove(cutter.head, cutter.tail, size=track.seen_bytes, live=live)
        length = piece.end - offset
        share = self._options.live_share
        self._credit += -length * (1 - share) / share if live else length
        self._credit = max(-8.0 * self._options.block_bytes / share, min(self._credit, float(self._options.block_bytes)))
        self._blocked.pop(track.stream.name, None)
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
        name = track.stream.name
        if track.retired:
            return self._retired_end(track)
        left = track.cutter.source.size() - track.offset
        if track.lost_until:
            return self._rewritten(track, lost=max(0, track.lost_until - track.offset), reason="cut short unread")
        track.pending = False
        track.caught_up = True
        if track.entry is not None and track.entry.compressed:
            track.seen_bytes = track.cutter.source.size()  # what a damaged file's trailer says is not to be had
            self._say_damage(track.cutter.source)
        if left > 0 and track.stop_at is None:
            self._tails[name] = track
        elif name not in self._directory.recent:
            track.close()
        return Pause.AGAIN

    def _retired_end(self, track: Track) -> Gone | Pause:
        """The end of a file that lost its name: the file that bears it now may hold the same content."""
        assert track.cutter is not None
        cutter = track.cutter
        if track.entry is not None and self._same_content(track, track.entry):
            track.retired = track.was_newest = track.last_words = False
            track.seen_bytes = self._size(track.entry, track)
            return Pause.AGAIN
        if not track.last_words and not track.was_newest:
            track.last_words = True
            return Pause.AGAIN
        size = cutter.source.size()
        lost = max(0, (size if track.stop_at is None else min(size, track.stop_at)) - track.offset)
        successor = track.entry
        gone = self._end(track, lost, "deleted with half a line" if lost else "deleted", queue=False)
        if successor is not None:
            track.entry = successor
            self._renew(track)
        return gone

    def _same_content(self, track: Track, entry: Entry) -> bool:
        """Whether the file that bears the name now has the content read so far; then reading goes on in it."""
        old = track.cutter
        track.cutter = None
        if track.offset and self._open(track, entry) and self._verify(track):
            if old is not None:
                old.source.close()
            return True
        track.close()
        track.cutter, track.verified = old, True
        return False

    def _rewritten(self, track: Track, *, lost: int | None = None, reason: str = "rewritten unread") -> Gone | Pause:
        """The content is another one: what was seen of the old and not read is lost, and a new generation begins."""
        if lost is None:
            lost = max(0, (track.lost_until or track.sure_bytes) - track.offset)
        stream, offset = track.stream, track.offset
        self._log.warning("file content changed, read anew from its beginning", extra={"file": stream.name, "offset": offset})
        if lost:
            self._shout(track, lost, reason)
        track.close()
        self._renew(track)
        return Gone(stream, offset, lost, reason if lost else "rewritten")

    def _renew(self, track: Track) -> None:
        """Begin the next generation of the name, with the file that bears it now."""
        assert track.entry is not None
        old, entry = track.stream, track.entry
        fresh = Track(Stream(old.name, entry.base, entry.path, old.generation + 1, entry.starts_at), entry.order, entry)
        fresh.seen_bytes = self._size(entry, fresh)
        fresh.changed_at = self._now()
        fresh.stop_at = track.stop_at
        self._tails.pop(old.name, None)
        self._tracks[old.name] = fresh
        self._pend(fresh)

    def _end(self, track: Track, lost: int, reason: str, *, queue: bool = True) -> Gone:
        track.close()
        track.gone, track.pending, track.retired = True, False, False
        self._tails.pop(track.stream.name, None)
        if lost:
            self._shout(track, lost, reason)
        gone = Gone(track.stream, track.offset, lost, reason)
        if queue:
            self._out.append(gone)
        return gone

    def _shout(self, track: Track, lost: int, reason: str) -> None:
        extra = {"file": track.stream.name, "offset": track.offset, "bytes": lost, "reason": reason}
        self._log.error("bytes lost unread", extra=extra)

    # -- one file --------------------------------------------------------------------------------------------------

    def _pend(self, track: Track) -> None:
        track.pending = not track.gone
        if track.pending:
            if track.stream.name not in self._queued:
                self._queued.add(track.stream.name)
                heapq.heappush(self._queue, (track.order, track.stream.name))
            if track.stream.name in self._directory.newest:
                self._live[track.stream.name] = track

    def _open(self, track: Track, entry: Entry) -> bool:
        """Open the file of `entry` for the track, not yet verified; False when it cannot be (said once)."""
        try:
            source = open_source(entry.path, compressed=entry.compressed)
        except FileNotFoundError:
            return False  # the next look sees it gone
        except OSError as error:
            self._block(track, error)
            return False
        track.close()
        track.cutter = self._cutter(source, track.offset, b"", b"")
        return True

    def _cutter(self, source: Source, offset: int, head: bytes, tail: bytes) -> Cutter:
        options = self._options
        return Cutter(source, offset, head, tail, block_bytes=options.block_bytes, max_line_bytes=options.max_line_bytes)

    def _verify(self, track: Track) -> bool:
        """Compare the evidence with the open file, and make it the place to read from. Raises OSError."""
        cutter = track.cutter
        assert cutter is not None
        found = check(track.proof, track.offset, cutter.source.read_at)
        if found is None:
            return False
        if cutter.offset != track.offset or (cutter.head, cutter.tail) != found:
            track.cutter = self._cutter(cutter.source, track.offset, *found)
        track.verified = True
        track.sure_bytes = max(track.seen_bytes, track.offset)
        return True

    def _settled_archive(self, track: Track) -> bool:
        """Whether a gzip file ends where the position is: its trailer and its head tell, without reading all of it."""
        entry, evidence = track.entry, decode(track.proof)
        if entry is None or not entry.compressed or evidence is None or track.cutter is not None or track.lost_until:
            return False
        if gzip_size(entry.path) != track.offset & 0xFFFFFFFF or not self._open(track, entry):
            return False
        assert track.cutter is not None
        same = digest(track.cutter.source.read_at(0, evidence.head_bytes)) == evidence.head_hash
        track.close()
        return same

    def _size(self, entry: Entry, track: Track) -> int:
        """Bytes of content: of a gzip file what its trailer states, which for a finished one is its settled offset."""
        if not entry.compressed:
            return entry.size
        try:
            stated = gzip_size(entry.path)
        except OSError:
            return track.offset
        return max(track.offset, stated if stated <= MAX_RATIO * entry.size else entry.size)

    def _block(self, track: Track, error: OSError) -> None:
        track.pending = False
        track.close()
        name, words = track.stream.name, str(error.strerror or error)
        if self._blocked.get(name) != words:
            self._blocked[name] = words
            self._log.warning("file cannot be read, looked at again later", extra={"file": name, "reason": words})

    def _say_damage(self, source: Source) -> None:
        if source.damage:
            self._log.warning("rest of a damaged file cannot be read", extra={"file": source.path, "reason": source.damage})

    def folders(self) -> list[str]:
        """The folders that can be watched now."""
        return self._directory.folders()

    def close(self) -> None:
        """Give every descriptor back."""
        for track in self._tracks.values():
            track.close()


def _no_order(stream: Stream) -> Order:
    return (stream.starts_at or 0.0, stream.base, stream.name)
