"""Opening the file of a track, and proving that it is the one that was read.

It does not decide what follows when the proof fails.
"""

from __future__ import annotations

import logging
from pathlib import Path

from vosship_files.directory import Entry
from vosship_files.identity import HEAD_BYTES, check, decode, digest
from vosship_files.lines import Cutter
from vosship_files.options import Options
from vosship_files.source import Source, gzip_size, open_source
from vosship_files.track import Track

MAX_RATIO = 1032
"""The most that deflate can shrink (zlib's technical details: 1032 to 1): a trailer that says more is damaged."""


class Access:
    """How one reader gets at files. Each complaint is said once, until it changes."""

    def __init__(self, options: Options, log: logging.Logger) -> None:
        self._options = options
        self._log = log
        self.blocked: dict[str, str] = {}
        """Per stream what the system said when its file could not be read."""
        self.damaged: dict[str, str] = {}
        """Per stream why the rest of its archive was given up by this reader."""

    def open(self, track: Track, entry: Entry) -> bool:
        """Open the file of `entry` for the track, not yet verified; False when it cannot be."""
        try:
            source = open_source(entry.path, compressed=entry.compressed)
        except FileNotFoundError:
            return False  # the next look sees it gone
        except OSError as error:
            self.block(track, error)
            return False
        track.close()
        track.cutter = self._cutter(source, track.offset, b"", b"")
        return True

    def is_another(self, track: Track, entry: Entry) -> bool:
        """Whether a file of which nothing is known but its size has lost its name to the open one since it was looked at.

        Then the next look sees that too. A file system whose two answers differ for one file is not taken at its word.
        """
        if track.cutter is None or track.offset or track.glimpse or not track.seen_bytes:
            return False
        opened = track.cutter.source
        if (opened.inode, opened.device) == (entry.inode, entry.device):
            return False
        try:
            named = Path(entry.path).stat()
        except OSError:
            return True
        return (named.st_ino, named.st_dev) == (opened.inode, opened.device)

    def anew(self, source: Source) -> Cutter:
        """The beginning of a source that is open already."""
        return self._cutter(source, 0, b"", b"")

    def glimpse(self, track: Track, entry: Entry) -> None:
        """Open a file ahead of its turn, and remember how it begins if nothing of it was read."""
        if self.open(track, entry) and not entry.compressed:
            self.widen(track)
            if not track.offset:
                track.sure_bytes = max(track.sure_bytes, track.seen_bytes)

    def widen(self, track: Track) -> None:
        """Remember more of the beginning of an open, unread file, as long as it is the one glimpsed before."""
        if track.cutter is None or track.offset or len(track.glimpse) >= HEAD_BYTES:
            return
        try:
            head = track.cutter.source.read_at(0, HEAD_BYTES)
        except OSError as error:
            self.block(track, error)
            return
        if head.startswith(track.glimpse):
            track.glimpse = head

    def verify(self, track: Track) -> bool:
        """Compare the evidence with the open file, and make it the place to read from. Raises OSError."""
        cutter = track.cutter
        assert cutter is not None
        found = check(track.proof, track.offset, cutter.source.read_at)
        if found is None or (not track.offset and cutter.source.read_at(0, len(track.glimpse)) != track.glimpse):
            return False
        if cutter.offset != track.offset or (cutter.head, cutter.tail) != found:
            track.cutter = self._cutter(cutter.source, track.offset, *found)
        track.verified = True
        track.sure_bytes = max(track.seen_bytes, track.offset)
        return True

    def settled_archive(self, track: Track) -> bool:
        """Whether a gzip file ends where the position is: its trailer and its head tell, without reading all of it."""
        entry, evidence = track.entry, decode(track.proof)
        if entry is None or not entry.compressed or evidence is None or track.verified or track.lost_until or track.retired:
            return False
        try:
            stated = gzip_size(entry.path)
        except OSError:
            return False  # deleted just now; it may still be open
        if stated != track.offset & 0xFFFFFFFF or (track.cutter is None and not self.open(track, entry)):
            return False
        assert track.cutter is not None
        same = digest(track.cutter.source.read_at(0, evidence.head_bytes)) == evidence.head_hash
        track.close()
        return same

    def size(self, entry: Entry, offset: int) -> int:
        """Bytes of content: of a gzip file what its trailer states, but at least what was read of it."""
        if not entry.compressed:
            return entry.size
        try:
            stated = gzip_size(entry.path)
        except OSError:
            return offset
        return max(offset, stated if stated <= MAX_RATIO * entry.size else entry.size)

    def block(self, track: Track, error: OSError) -> None:
        """Leave the file alone until it is looked at again, and say why."""
        track.pending = False
        track.close()
        name, words = track.stream.name, str(error.strerror or error)
        if self.blocked.get(name) != words:
            self.blocked[name] = words
            self._log.warning("file cannot be read, looked at again later", extra={"file": name, "reason": words})

    def _cutter(self, source: Source, offset: int, head: bytes, tail: bytes) -> Cutter:
        options = self._options
        return Cutter(source, offset, head, tail, block_bytes=options.block_bytes, max_line_bytes=options.max_line_bytes)
