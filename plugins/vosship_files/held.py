"""Which streams of one reader end with the process: no file holds them, and they are not known to be settled.

It neither reads nor decides what is lost: it lists, and says whether a file holds what was listed before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from vosship.events import Gone, Held, Proof, Stream
from vosship_files.directory import Entry
from vosship_files.identity import HEAD_BYTES, TAIL_BYTES, check, digest, prove
from vosship_files.source import Plain, open_source
from vosship_files.track import Track

UNSETTLED = "deleted before it was settled, and the agent that held it open ended; rescue_dir outlives the agent"
"""The reason of such a loss, in the ledger and in the log; a fixed sentence."""

Key = tuple[str, int]
"""Name and generation of a stream."""


class HeldStreams:
    """The list of one reader. All but `let_go` is called in its thread."""

    def __init__(self, earlier: Iterable[Held]) -> None:
        self._ended: dict[Key, Held] = {}
        self._settled: deque[Gone] = deque()
        for held in earlier:  # not yet decided: its folder may not be readable
            self._ended[_key(held.stream)] = msgspec.structs.replace(held, elsewhere=True)

    def end(self, stream: Stream, size: int, reason: str = UNSETTLED, proof: Proof = b"") -> None:
        """A generation has come to its end; until that is settled its bytes are in memory only."""
        self._ended[_key(stream)] = Held(stream, size, proof, reason)

    def found(self, stream: Stream) -> None:
        """A file holds it after all."""
        self._ended.pop(_key(stream), None)

    def let_go(self, gone: Sequence[Gone]) -> None:
        """The ends of these streams are settled. Safe to call from any thread."""
        self._settled.extend(gone)

    def listing(self, tracks: Mapping[str, Track], named: Collection[str]) -> list[Held]:
        """All of them. `named` are the stream names that a file of the directory bears."""
        while self._settled:
            self._ended.pop(_key(self._settled.popleft().stream), None)
        found = list(self._ended.values())
        for first in tracks.values():
            if first.gone or (first.entry is not None and first.after is None):
                continue
            generation, track = first.stream.generation, first
            while True:
                if track.entry is None and not track.gone and not track.rescued:
                    stream = msgspec.structs.replace(track.stream, generation=generation)
                    size, proof = whole(track)
                    found.append(Held(stream, size, proof, UNSETTLED))
                if track.after is None:
                    break
                generation, track = generation + 1, track.after
        return [
            msgspec.structs.replace(held, elsewhere=True) if held.proof and held.stream.name in named else held
            for held in found
            if held.size
        ]


def whole(track: Track) -> tuple[int, Proof]:
    """How much was seen of a track in all, and the evidence for all of it, where that is to be had without much reading."""
    size = track.lost_until or track.seen_bytes
    cutter = track.cutter
    if track.lost_until or cutter is None or not isinstance(cutter.source, Plain):
        return size, track.proof if track.offset == size else b""
    try:
        size = max(size, cutter.source.size())
        if track.whole is None or track.whole[0] != size:
            head, tail = (
                cutter.source.read_at(0, min(HEAD_BYTES, size)),
                cutter.source.read_at(max(0, size - TAIL_BYTES), TAIL_BYTES),
            )
            track.whole = size, prove(head, digest(head), tail, size=size, live=False)
    except OSError:
        return size, b""
    return track.whole


def holds(entry: Entry, held: Held) -> bool:
    """Whether a file holds all that was held. One that cannot be read does not."""
    if not held.proof:
        return False
    try:
        source = open_source(entry.path, compressed=entry.compressed)
    except OSError:
        return False
    try:
        return check(held.proof, held.size, source.read_at) is not None
    except OSError:
        return False
    finally:
        source.close()


def _key(stream: Stream) -> Key:
    return stream.name, stream.generation
