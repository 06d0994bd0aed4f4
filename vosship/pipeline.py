"""Blocks into documents: the per-record path, from whole lines to what is ready to send.

It reads nothing, sends nothing and moves no position: `delivery` does.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from vosship.documents import Renderer
from vosship.errors import VosshipError
from vosship.events import Block, Dead, Document, Record
from vosship.plugin import Conceals, Encodes, Finishes, LineEncoder, Processor

T = TypeVar("T")

log = logging.getLogger("vosship.pipeline")

LINE_TOO_LONG = "line_too_long"
UNTERMINATED = "unterminated"
"""Reasons that belong to the line's shape, not to its content: kept when a dead line is tried again."""

_HALF = "\0unterminated"
"""Among a dead line's fields: it never got its newline, whatever it died of. No input's field is called so."""


SLICE = 100
"""Lines that go through all steps of the quick way together. With a whole block of 700 they fall out of a core's 1 MB of cache:
71 misses a record there with the default chain, 148 with gateways and a deck; 34 and 35 in slices (cachegrind, 2026-11-29)."""


class Prepared(msgspec.Struct, gc=False):
    """One block after the processors: every one of its `lines` is a document, dead, or filtered.

    `last_at` is the latest time (epoch seconds) of any of its records, 0 when none has one.
    """

    block: Block
    lines: int
    documents: list[Document]
    dead: list[Dead]
    filtered: int
    last_at: int = 0


class Pipeline:
    """The steps of one (input, output) pair. Not shared between tasks: processors may remember streams.

    Without a renderer it only processes: `prepare` needs one.
    """

    def __init__(
        self,
        name: str,
        *,
        source: Any,
        processors: Sequence[Processor],
        renderer: Renderer | None,
        now: Callable[[], float],
        keep_original: bool = False,
    ) -> None:
        self.name = name
        self._processors = list(processors)
        self._renderer = renderer
        self._now = now
        self._keep_original = keep_original
        self._finish = source.finish if isinstance(source, Finishes) else None
        first = self._processors[0] if self._processors else None
        wants_fields = bool(self._finish) or keep_original
        self._encoder = first.encoder(self._processors[1:]) if isinstance(first, Encodes) and not wants_fields else None
        self._conceal = [processor.conceal for processor in processors if isinstance(processor, Conceals)]

    def prepare(self, block: Block, wanted: Callable[[Record], bool] | None = None) -> Prepared:
        """Take one block through all processors and render what is left (of it what is `wanted`; the rest counts as filtered).

        Raises FatalError (or another VosshipError) only when a processor says that the whole pipeline must stop.
        """
        encoder = self._encoder
        if wanted is None and encoder is not None and not block.cut and block.offsets is None:
            straight = self._unless_broken(block, lambda: self._straight(block, encoder))
            if straight is not None:
                return straight
        records, alive = self.process(block)
        if wanted is not None:
            alive = [record for record in alive if wanted(record)]
        return self._rendered(block, records, alive)

    def process(self, block: Block) -> tuple[list[Record], list[Record]]:
        """One record a line of the block, and those of them that have no fate after all processors."""
        records = records_of(block)
        if block.cut:
            records[0].reject(LINE_TOO_LONG, f"{block.end - block.offset} bytes")
        elif self._unless_broken(block, lambda: self._chain(records)) is None:
            records = self._one_by_one(block)
        living = [record for record in records if not record.fate]
        if self._finish:
            self._finish(living)
        return records, living

    @staticmethod
    def _unless_broken(block: Block, work: Callable[[], T]) -> T | None:
        """What the work gives; None, and a report, where a plugin has a bug: whatever it raises costs lines, not the pipeline."""
        try:
            return work()
        except VosshipError:
            raise
        except Exception as error:  # noqa: BLE001  # see above
            _report("processor failed on a block, trying its lines another way", block, error)
            return None

    def _chain(self, records: Sequence[Record]) -> Sequence[Record]:
        for processor in self._processors:
            if not records:
                break
            processor.process(records)
            records = [record for record in records if not record.fate]
        return records

    def _straight(self, block: Block, encoder: LineEncoder) -> Prepared | None:
        """The block by way of the encoder; None where that cannot be.

        Its lines go through all steps in slices; those that the encoder leaves go through the chain together.
        """
        assert self._renderer is not None
        lines = lines_of(block)
        documents: list[Document] = []
        left: list[Record] = []
        dead: list[Dead] = []
        now, last_at, offset = self._now(), 0, block.offset
        if not encoder.ready(block, lines):
            return None
        for start in range(0, len(lines), SLICE):
            records = _records(block, lines[start : start + SLICE], offset)
            offset = records[-1].offset + len(records[-1].line) + 1
            others = encoder.encode(records)
            taken = [record for record in records if record.json] if others else records
            documents += self._renderer.render(block, taken, now)
            dead += [dead_line(record) for record in taken if record.fate == "dead"]
            last_at = max(last_at, max([record.at for record in taken], default=0))
            left += others
        if left:
            alive = self._chain(left)
            documents += self._renderer.render(block, alive, now)
            documents.sort(key=lambda document: document.offset)
            dead += [dead_line(record) for record in left if record.fate == "dead"]
            last_at = max(last_at, max([record.at for record in alive], default=0))
        return Prepared(block, len(lines), documents, dead, len(lines) - len(documents) - len(dead), last_at)

    def _rendered(self, block: Block, records: list[Record], alive: list[Record]) -> Prepared:
        if self._keep_original:
            for record in alive:
                record.fields["event.original"] = original(self.concealed(record.line))
        assert self._renderer is not None
        documents = self._renderer.render(block, alive, self._now())
        last_at = max([record.at for record in alive], default=0)
        if len(documents) == len(records):
            return Prepared(block, len(records), documents, [], 0, last_at)
        dead = [dead_line(record) for record in records if record.fate == "dead"]
        return Prepared(block, len(records), documents, dead, len(records) - len(documents) - len(dead), last_at)

    def concealed(self, line: bytes) -> bytes:
        """The line as it may leave the machine: every configured privacy rule applied."""
        for conceal in self._conceal:
            line = conceal(line)
        return line

    def _one_by_one(self, block: Block) -> list[Record]:
        # Fresh records: a processor that failed half way has already touched some of the first ones.
        records = records_of(block)
        for record in records:
            for processor in self._processors:
                if record.fate:
                    break
                try:
                    processor.process([record])
                except VosshipError:
                    raise
                except Exception as error:  # noqa: BLE001  # as above
                    _report("processor failed on a line, it is set aside", block, error)
                    record.reject(f"bug_in_{type(processor).__name__.lower()}", f"{type(error).__name__}: {error}")
        return records


def _report(phrase: str, block: Block, error: Exception) -> None:
    """Log a bug and where it is, without the exception's words, which may quote a number: the dead line's detail keeps them."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error(phrase, extra={"file": block.stream.path, "error": type(error).__name__, "traceback": where})


def original(line: bytes) -> str:
    """The line as text: UTF-8, or GB18030 as an older switch writes, or with its bytes as escapes."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("ascii", "backslashreplace")


def lines_of(block: Block) -> list[bytes]:
    """Its lines without their newlines."""
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def records_of(block: Block) -> list[Record]:
    """One record a line, each with its place in the stream."""
    lines = lines_of(block)
    if block.offsets is not None:
        records = [Record(line, offset, block, {}) for line, offset in zip(lines, block.offsets, strict=True)]
    else:
        records = _records(block, lines, block.offset)
    if block.each is not None:
        for record, fields in zip(records, block.each, strict=True):
            # Lists are copied: processors append to them, and a block may be prepared again.
            record.fields = {key: list(value) if isinstance(value, list) else value for key, value in fields.items()}
    return records


def _records(block: Block, lines: Sequence[bytes], offset: int) -> list[Record]:
    """Records of lines that follow each other from there on."""
    records: list[Record] = []
    append = records.append
    for line in lines:
        append(Record(line, offset, block, {}))
        offset += len(line) + 1
    return records


def dead_line(record: Record) -> Dead:
    """The dead line of a record, with the fields its input gave it (arrival time, peer)."""
    return dead_at(record.block, record.offset, record.line, record.reason, record.detail)


def dead_at(block: Block, offset: int, line: bytes, reason: str, detail: str) -> Dead:
    """A dead line at a place of a block. `fields` keeps what only the input knew of it."""
    given = dict(block.fields)
    if block.each is not None and block.offsets is not None:
        given.update(block.each[list(block.offsets).index(offset)])
    if block.unterminated and offset + len(line) == block.end:
        given[_HALF] = True
    fields = msgspec.json.encode(given) if given else b"{}"
    return Dead(stream=block.stream, offset=offset, line=line, reason=reason, detail=detail[:500], fields=fields)


def revived(dead: Dead) -> Block:
    """A block of that one line again, as its input gave it, to be tried with today's configuration.

    A line that was cut, or that never got its newline, stays so: trying again must not make it look whole.
    """
    fields = msgspec.json.decode(dead.fields)
    half = bool(fields.pop(_HALF, False))
    data = dead.line + b"\n"
    return Block(
        dead.stream,
        dead.offset,
        dead.offset + len(data),
        data,
        b"",
        {},
        each=[fields],
        offsets=[dead.offset],
        unterminated=half or dead.reason == UNTERMINATED,
        cut=dead.reason == LINE_TOO_LONG,
    )
