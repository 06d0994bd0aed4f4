"""The evidence that a file is still the one that was read: what it holds and how it is checked.

It does not open files, and it does not know what happens when the evidence fails.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import msgspec

from vosship.events import Proof

HEAD_BYTES = 1024
"""Bytes hashed from the beginning of a file (design: identity and order; a line is 200 to 350 bytes, so three or more)."""

TAIL_BYTES = 256
"""Bytes hashed before the offset (design: identity and order; about one line)."""

_VERSION = 1
_SHAPE = struct.Struct(">BHHQB16s16s")

ReadAt = Callable[[int, int], bytes]
"""Bytes at an offset; fewer than asked for only at the end of the content."""


class Evidence(msgspec.Struct, frozen=True):
    """A proof taken apart. `size` is the file's size when the proof was made, `live` whether it could still grow then."""

    head_bytes: int
    tail_bytes: int
    size: int
    live: bool
    head_hash: bytes
    tail_hash: bytes


def prove(head: bytes, head_hash: bytes, tail: bytes, *, size: int, live: bool) -> Proof:
    """Evidence for a position: `head` the first bytes of the content before it with their hash, `tail` the last."""
    return _SHAPE.pack(_VERSION, len(head), len(tail), size, live, head_hash, digest(tail))


def digest(content: bytes) -> bytes:
    """The hash kept of a stretch of content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def decode(proof: Proof) -> Evidence | None:
    """The proof taken apart, or None when it is not one of ours."""
    if len(proof) != _SHAPE.size or proof[0] != _VERSION:
        return None
    _, head_bytes, tail_bytes, size, live, head_hash, tail_hash = _SHAPE.unpack(proof)
    return Evidence(head_bytes, tail_bytes, size, bool(live), head_hash, tail_hash)


def check(proof: Proof, offset: int, read_at: ReadAt) -> tuple[bytes, bytes] | None:
    """The head and the tail of the content before `offset` when they are as `proof` says, else None.

    At offset 0 there is nothing to prove. An empty or foreign proof further on proves nothing: reading anew doubles
    no document, while trusting it could skip lines.
    """
    if offset == 0:
        return b"", b""
    evidence = decode(proof)
    if evidence is None:
        return None
    head = read_at(0, evidence.head_bytes)
    if digest(head) != evidence.head_hash:
        return None
    tail = read_at(offset - evidence.tail_bytes, evidence.tail_bytes)
    return (head, tail) if digest(tail) == evidence.tail_hash else None
