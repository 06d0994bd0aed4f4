"""How one record, or one sign of life, lies in a spool segment; and walking through a segment frame by frame.

It does not open, write or delete segments: `spool` and `shelf` do.

A segment is MAGIC, then frames: HEADER, then the untouched bytes. Numbers are little-endian. The checksum covers the rest
of the header and the bytes, so a frame is whole or it is not one.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAGIC = b"VOSSPL1\n"
"""First bytes of a segment; the digit is the version of this format."""

_SIZES = struct.Struct("<II")  # bytes of payload, crc32 of what follows these eight
_BODY = struct.Struct("<BBHQQ16s")  # kind, flags, port, arrival in µs since 1970, key, IPv6 or mapped IPv4 address
_WHOLE = struct.Struct("<IIBBHQQ16s")
HEADER_BYTES = _WHOLE.size

MAX_PAYLOAD_BYTES = 16 << 20
"""A length beyond this is damage, not a record (chosen: the largest `max_line_bytes` allowed)."""

READ_BYTES = 1 << 20
"""Read ahead while walking a segment (chosen: some 3,000 records, well under the memory budget)."""

_pack_body = _BODY.pack
_pack_sizes = _SIZES.pack


class Kind(IntEnum):
    """What a frame says."""

    DATA = 1
    HEARTBEAT = 2
    START = 3
    STOP = 4
    SEAL = 5


class Flag(IntEnum):
    """What was noticed of a record at its receipt; bits."""

    RESEND = 1
    UNTERMINATED = 2
    UDP = 4


class Frame(NamedTuple):
    """One frame; it begins at `offset` of its segment and `end` is the byte after it."""

    kind: int
    flags: int
    port: int
    arrival_us: int
    key: int
    peer: bytes
    payload: bytes
    offset: int
    end: int


class DamagedError(Exception):
    """What stands at `offset` is no whole frame."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"no whole frame at byte {offset}")
        self.offset = offset


NO_PEER = bytes(16)


def encode(
    kind: int, arrival_us: int, payload: bytes = b"", *, flags: int = 0, peer: bytes = NO_PEER, port: int = 0, key: int = 0
) -> bytes:
    """One frame as it is written."""
    body = _pack_body(kind, flags, port, arrival_us, key, peer) + payload
    return _pack_sizes(len(payload), crc32(body)) + body


def decode(buffer: bytes, base: int, start: int = 0) -> tuple[list[Frame], int]:
    """All whole frames of `buffer` from index `start` on, and the index after the last.

    `base` is the offset of the buffer's first byte in its segment. Raises DamagedError at a frame that contradicts itself;
    bytes that could still become a frame are left.
    """
    frames: list[Frame] = []
    at, size = start, len(buffer)
    unpack = _WHOLE.unpack_from
    while at + HEADER_BYTES <= size:
        length, crc, kind, flags, port, arrival_us, key, peer = unpack(buffer, at)
        if length > MAX_PAYLOAD_BYTES:
            raise DamagedError(base + at)
        end = at + HEADER_BYTES + length
        if end > size:
            break
        if crc32(buffer[at + 8 : end]) != crc:
            raise DamagedError(base + at)
        frames.append(Frame(kind, flags, port, arrival_us, key, peer, buffer[at + HEADER_BYTES : end], base + at, base + end))
        at = end
    return frames, at


def walk(path: Path, start: int, stop: int) -> Iterator[Frame]:
    """Every frame of a segment between two frame boundaries, in order.

    Raises DamagedError at the first that is not whole before `stop` (its `offset` says where), OSError when the file is gone.
    """
    with path.open("rb") as file:
        if start == 0:
            if file.read(len(MAGIC)) != MAGIC:
                raise DamagedError(0)
            start = len(MAGIC)
        file.seek(start)
        rest = b""
        while start + len(rest) < stop:
            more = file.read(min(READ_BYTES, stop - start - len(rest)))
            if not more:
                raise DamagedError(start)
            rest += more
            try:
                frames, used = decode(rest, start)
            except DamagedError as error:
                # Whole frames before the damage are given first: they are safe.
                frames, used = decode(rest[: error.offset - start], start)
                yield from frames
                raise
            yield from frames
            start += used
            rest = rest[used:]
        if rest:
            raise DamagedError(start)


@lru_cache(maxsize=4096)
def pack_address(host: str) -> bytes:
    """An address as 16 bytes. Raises ValueError for what is none."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


@lru_cache(maxsize=4096)
def unpack_address(packed: bytes) -> str:
    """The address as text, an IPv4 one as such."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)
