"""What one reader remembers of one stream.

It does no reading: `walk` does, and keeps this up to date.
"""

from __future__ import annotations

from vosship.events import Proof, Stream
from vosship_files.directory import Entry, Order
from vosship_files.lines import Cutter


class Track:
    """One stream in its present generation.

    `entry` is the file that bears the name now, if any; of a retired one, its rescued file if that is not open.
    """

    __slots__ = (
        "after",
        "caught_up",
        "changed_at",
        "cut_at",
        "cutter",
        "entry",
        "glimpse",
        "gone",
        "last_words",
        "lost_until",
        "offset",
        "order",
        "pending",
        "proof",
        "rescued",
        "retired",
        "seen_bytes",
        "stop_at",
        "stream",
        "sure_bytes",
        "verified",
        "was_newest",
        "whole",
    )

    def __init__(self, stream: Stream, order: Order, entry: Entry | None, offset: int = 0, proof: Proof = b"") -> None:
        self.stream = stream
        self.order = order
        self.entry = entry
        self.offset = offset
        self.proof = proof
        self.cutter: Cutter | None = None
        self.verified = False
        """The bytes before `offset` were compared with the proof since the file last changed."""
        self.after: Track | None = None
        """The next bearer of the name, while the open file that lost it is still being read."""
        self.pending = False
        """There may be something to read."""
        self.caught_up = False
        """Read to the end at the last try: what is left, if anything, is half a line."""
        self.retired = False
        """The open file no longer bears the name (deleted or replaced): it is read to its end, then gone."""
        self.rescued = False
        """Its content has a second name in the rescue directory, and is read from there after a restart."""
        self.whole: tuple[int, Proof] | None = None
        """Of an open file that lost its name: its size, and the evidence for all of it."""
        self.last_words = False
        """The half last line of a retired or ended file may be taken."""
        self.was_newest = False
        """It was the newest when it was retired: its half last line was never whole."""
        self.glimpse = b""
        """The first bytes when the file was opened ahead of its turn: the only evidence there is at offset 0."""
        self.gone = False
        self.seen_bytes = 0
        """The most that was seen of this generation and is lost if it is not read."""
        self.sure_bytes = 0
        """Likewise, as of the last time its content was compared: a later size may be that of other content."""
        self.lost_until = 0
        """Set when the file was cut short: what was seen up to here is lost once the rest is read."""
        self.cut_at = 0
        """Set with it: where the content of this generation ends."""
        self.changed_at = 0.0
        """Epoch seconds when the file was last seen to change."""
        self.stop_at: int | None = None

    @property
    def unread_bytes(self) -> int:
        """Bytes seen and not yet read."""
        return max(0, self.seen_bytes - self.offset)

    def cut_short(self, size: int) -> None:
        """Its file was seen to end at `size`, before what had been seen: what follows there is other content."""
        self.cut_at = min(size, self.cut_at) if self.lost_until else size
        self.lost_until = max(self.lost_until, self.seen_bytes)

    def close(self) -> None:
        """Give the descriptor back. Harmless when none is open."""
        if self.cutter is not None:
            self.cutter.source.close()
            self.cutter = None
        self.verified = False
