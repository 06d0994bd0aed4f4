"""The shapes that travel from an input to an output: no behaviour beyond marking a record's fate.

It does not know how any of them is read, parsed, sent or stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal

import msgspec

Value = str | int | float | bool | list[str] | None
"""What a field may hold once it is in a record: JSON scalars and lists of keywords."""

Proof = bytes
"""An input's own evidence that a stream is still the one it knew; opaque to the core."""

FieldType = Literal["keyword", "ip", "date", "long", "integer", "double", "boolean", "geo_point", "alias", "object"]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the documents, declared once, by whoever makes it.

    From it come the index templates, the embedded store's columns and the field reference.
    `unit` is the unit of the stored value (`ms`, `s`, ``""``); `resolution` the finest difference the value can show.
    `path` is the target of an `alias`. `indexed=False` keeps a field out of search (doc values remain).
    """

    name: str
    type: FieldType
    description: str
    unit: str = ""
    resolution: str = ""
    path: str = ""
    indexed: bool = True
    doc_values: bool = True
    array: bool = False


class Stream(msgspec.Struct, frozen=True, gc=False):
    """One ordered run of bytes: a file in one generation, or a spool segment.

    `name` identifies it within its input (a path without `.gz`); `base` goes into document ids (the base name
    without `.gz`, so that an archived copy gives the same ids); `path` is where it was read.
    `starts_at` is the UTC time in seconds before which no record in it can have happened, or None if unknown.
    """

    name: str
    base: str
    path: str
    generation: int = 1
    starts_at: float | None = None


class Held(msgspec.Struct, frozen=True, gc=False):
    """A stream that ends with the process: no file holds it any more, and what is unsettled of its `size` bytes is in memory only.

    `proof`, where there is one, vouches for all of it; `reason` says what became of it if it is not settled (a short fixed
    sentence). `elsewhere`: a file bears its name that may hold the same; the next reader compares before it is called lost.
    """

    stream: Stream
    size: int
    proof: Proof = b""
    reason: str = ""
    elsewhere: bool = False


class Position(msgspec.Struct, frozen=True, gc=False):
    """How far a stream is settled: everything before `offset` has its fate in the ledger.

    `gone` streams were finished or entered as lost: their content is not expected again. `held` is what an earlier agent,
    before it was killed, noted of a stream that only it still held; of a gone one, that something was lost of it.
    """

    stream: Stream
    offset: int
    proof: Proof = b""
    gone: bool = False
    held: Held | None = None


class Block(msgspec.Struct, gc=False):
    """Whole lines of one stream, from byte `offset` up to, not including, byte `end`.

    Blocks of one stream tile it: each begins where the one before ended. `data` holds the lines with their
    newlines; only the last line of a finished stream may lack one (`unterminated`). With `cut`, the block is one line
    longer than the limit, `data` its beginning only, and the line is going to be dead.
    `fields` are true of every line; `each`, where given, adds one mapping a line; `offsets`, where given, are the
    lines' own places in the stream (a spool frames its lines, so they do not follow from their lengths).
    `proof` vouches for the stream up to `end`.
    """

    stream: Stream
    offset: int
    end: int
    data: bytes
    proof: Proof
    fields: Mapping[str, Value]
    each: Sequence[Mapping[str, Value]] | None = None
    unterminated: bool = False
    cut: bool = False
    offsets: Sequence[int] | None = None


class Gone(msgspec.Struct, frozen=True):
    """A stream that will give no further bytes.

    `lost_bytes` > 0: bytes `offset` to `offset + lost_bytes` were seen and then deleted unread. `never_seen` names
    a gap: something that must have existed between two looks and was not seen at all (`stream.name` says what).
    `skipped` streams were left alone on purpose (`reason` says why).
    """

    stream: Stream
    offset: int
    lost_bytes: int = 0
    reason: str = "deleted"
    never_seen: bool = False
    skipped: bool = False


class Record(msgspec.Struct, gc=False):
    """A line and the fields known of it so far.

    `line` is without its newline. `day` (`2026.04.26`) names the day index and `at` is the record's time in epoch
    seconds: both are set by the processor that reads the time. A processor either sets fields, or rejects the record
    (dead, with a reason), or drops it (filtered). `json`, where a line encoder set it, holds the fields as the members of
    a JSON object, without its braces, `more` further ones, each behind a comma, and `fields` what is not among them. `texts`
    may then be the line's columns, and `notes` what a processor leaves to a later one (`vosship.plugin.Writes`).
    """

    line: bytes
    offset: int
    block: Block
    fields: dict[str, Any]
    day: str = ""
    at: int = 0
    fate: Literal["", "dead", "filtered"] = ""
    reason: str = ""
    detail: str = ""
    json: str = ""
    more: str = ""
    texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def reject(self, reason: str, detail: str = "") -> None:
        """Set the line aside as dead. `reason` is a short fixed word (it is counted and grouped by); `detail` is free."""
        self.fate = "dead"
        self.reason = reason
        self.detail = detail

    def drop(self, reason: str) -> None:
        """Leave the line out on purpose (title line, blank line, an operator's filter): counted as filtered."""
        self.fate = "filtered"
        self.reason = reason


class Document(msgspec.Struct, gc=False):
    """What is sent: `body` is one JSON object without a newline; `id` and `index` say where it belongs.

    `line`, `offset` and `block` lead back to where it came from, for the dead line it may become.
    """

    id: str
    index: str
    body: bytes
    line: bytes
    offset: int
    block: Block


class Verdict(Enum):
    """What a store said of one document."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    RETRY = "retry"


class Outcome(msgspec.Struct, frozen=True):
    """A verdict with, for REJECTED and RETRY, a short fixed reason (`mapping`, `index_blocked`, `busy`) and the server's words."""

    verdict: Verdict
    reason: str = ""
    detail: str = ""


STORED = Outcome(Verdict.STORED)
DUPLICATE = Outcome(Verdict.DUPLICATE)


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """A line set aside with its reason; enough is kept to send it again through today's configuration."""

    stream: Stream
    offset: int
    line: bytes
    reason: str
    detail: str = ""
    fields: bytes = b"{}"
    """The block's fields for this line, as JSON."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector noticed: who (`subject`), which rule, in which window (epoch seconds), and the figures."""

    rule: str
    subject: str
    window_from: int
    window_to: int
    severity: Literal["info", "warning", "critical"]
    text: str
    figures: Mapping[str, Value] = {}
