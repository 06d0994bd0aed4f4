"""Random reading of one open file, plain or gzip, always in bytes of the plain content.

It does not know lines, positions or names of streams.
"""

from __future__ import annotations

import os
from typing import Protocol

from isal import isal_zlib
from isal.igzip_lib import IsalError

CHUNK_BYTES = 1 << 17
"""Compressed bytes read, and most plain bytes made, at a time. Chosen: one block, so that memory stays that of a block."""

HISTORY_BYTES = 4096
"""Plain bytes of a gzip file kept behind the reading place. Chosen: more than the evidence before an offset needs."""

_GZIP_WBITS = 31
"""zlib's window size for a gzip wrapper (RFC 1950 and zlib's manual, inflateInit2: 15 + 16)."""


class Source(Protocol):
    """One open file. `damage` says what keeps the rest of it from being read, if anything."""

    path: str
    device: int
    inode: int
    damage: str

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes of content at `offset`; fewer only at the end. Raises OSError."""
        ...

    def size(self) -> int:
        """Bytes of content: for a plain file now, for a gzip file as far as it has been read."""
        ...

    def close(self) -> None: ...


def open_source(path: str, *, compressed: bool) -> Source:
    """Open for reading only; never waits for a writer, should somebody have put a pipe there. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return Gzip(fd, path) if compressed else Plain(fd, path)


class Plain:
    """An uncompressed file."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        self.damage = ""
        status = os.fstat(fd)
        self.device, self.inode = status.st_dev, status.st_ino

    def read_at(self, offset: int, count: int) -> bytes:
        found = os.pread(self._fd, count, offset)
        while 0 < len(found) < count:  # a network file system may give less than there is
            more = os.pread(self._fd, count - len(found), offset + len(found))
            if not more:
                break
            found += more
        return found

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class Gzip:
    """A gzip file of one or more members, read forward; going back starts again from its beginning.

    What decompresses of a damaged file is given, then the content ends and `damage` is set.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        self.damage = ""
        status = os.fstat(fd)
        self.device, self.inode = status.st_dev, status.st_ino
        self._rewind()

    def _rewind(self) -> None:
        self._at = 0  # where in the compressed file the next chunk is
        self._waiting = b""  # compressed bytes not yet taken
        self._start = 0  # offset of the first byte of _plain
        self._plain = b""
        self._member = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
        self._fresh = True  # nothing of the present member has been read
        self._members = 0  # members read to their end
        self._ended = False

    def read_at(self, offset: int, count: int) -> bytes:
        if offset < self._start:
            self._rewind()
        pieces = [self._plain]
        end = self._start + len(self._plain)
        while end < offset + count and not self._ended:
            pieces.append(self._inflate())
            end += len(pieces[-1])
            if end < offset:  # still before the place asked for: only the history is needed
                pieces = [b"".join(pieces)[-HISTORY_BYTES:]]
        joined = b"".join(pieces)
        self._start = end - len(joined)
        drop = max(0, min(offset, end) - HISTORY_BYTES - self._start)
        self._plain = joined[drop:]
        self._start += drop
        at = offset - self._start
        return self._plain[at : at + count]

    def size(self) -> int:
        return self._start + len(self._plain)

    def close(self) -> None:
        os.close(self._fd)

    def _inflate(self) -> bytes:
        """The next plain bytes, possibly none; sets `_ended` at the end of the content."""
        if not self._waiting:
            self._waiting = os.pread(self._fd, CHUNK_BYTES, self._at)
            self._at += len(self._waiting)
            if not self._waiting:
                return self._cut_short()
        try:
            plain = self._member.decompress(self._waiting, CHUNK_BYTES)
        except IsalError as error:  # type: ignore[misc]  # isal's stubs declare the class as an instance
            if self._fresh and self._members:
                return self._end("")  # padding after the last member, which gzip itself ignores
            return self._end(f"the gzip file is damaged: {error}")
        self._fresh = False
        self._waiting = self._member.unconsumed_tail
        if self._member.eof:
            self._waiting = self._member.unused_data
            self._member = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
            self._fresh = True
            self._members += 1
        return bytes(plain)

    def _cut_short(self) -> bytes:
        """The compressed bytes are used up: what the decompressor still holds, and whether that is all."""
        if self._fresh and self._members:
            return self._end("")
        rest = b"" if self._fresh else bytes(self._member.flush())
        self._end("" if self._member.eof else "the gzip file ends in the middle")
        return rest

    def _end(self, damage: str) -> bytes:
        self._ended = True
        self.damage = damage
        return b""


def gzip_size(path: str) -> int:
    """The plain size a gzip file's last four bytes state (RFC 1952, section 2.3.1), without reading the rest. Raises OSError.

    Right for one undamaged member below 4 GiB, which is what `gzip FILE` makes of an hour's CDRs.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        return int.from_bytes(os.pread(fd, 4, size - 4), "little") if size >= 18 else 0
    finally:
        os.close(fd)
