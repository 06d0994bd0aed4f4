"""The processor `cdr`: which layout each stream is in, and each line into typed fields, or dead with its reason.

How a line is converted is in `pipe` and `lines`; what its codes mean is the processor `codes`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from vosship.errors import FatalError
from vosship.events import Block, Field, Record
from vosship.plugin import TEXTS, Adds, Context, LineEncoder, Processor
from vosship_cdr import pipe
from vosship_cdr.codes import Codes
from vosship_cdr.encoding import PipeEncoder
from vosship_cdr.layout import LAYOUTS, PIPE, Layout, LayoutName, fields
from vosship_cdr.lines import UnreadableError, Values, build
from vosship_cdr.options import CdrOptions
from vosship_cdr.recognition import SETTLED_LINES, Anchors, Recognised, is_title, recognise
from vosship_cdr.splitting import BOM, BOM_BYTES, decode, split
from vosship_cdr.streams import Streams, StreamState
from vosship_cdr.units import LAST_CALL
from vosship_cdr.values import Clock, Instant

REVOTE_LINES = 20
"""Chosen: so many lines of one block, none with the stream's column count, show that the switch was upgraded within a file."""

FEW_VOTES = 3
"""Chosen: fewer lines in the middle of an unknown stream are no evidence of columns beyond the layout."""


class Cdr:
    """Reads VOS3000 call detail records of every layout."""

    Options: ClassVar[type[CdrOptions]] = CdrOptions

    def __init__(self, options: CdrOptions, context: Context) -> None:
        self._options = options
        self._log = context.log
        self.fields: Sequence[Field] = fields()
        zone = ZoneInfo(context.timezone)
        self._values = Values(Clock(zone, options.times), options)
        self._only: Layout | None = None if options.layout == "auto" else LAYOUTS[options.layout]
        self._anchors: dict[LayoutName, Anchors] = {
            name: Anchors(
                layout,
                self._values.instants.__getitem__,
                self._values.holdings[self._unit(layout)].__getitem__,
                self._values.addresses.__getitem__,
            )
            for name, layout in LAYOUTS.items()
        }
        self.streams = Streams(zone, options.max_skew_days, watch=options.hold_unit == "auto")
        self.halts = True
        """Whether a contradicted unit of holdTime raises FatalError; `inspect` only wants to know."""

    def process(self, records: Sequence[Record]) -> None:
        """Set the fields of each record. Raises FatalError when answered calls contradict the unit of holdTime."""
        if not records:
            return
        block = records[0].block
        state = self.streams.of(block.stream)
        self._recognise(state, block, records)
        last = records[-1]
        tail = last if block.unterminated and last.offset + len(last.line) + 1 >= block.end else None
        left: Sequence[Record] = records
        if state.layout is PIPE and state.count:
            first = 1 if records[0].offset == 0 and records[0].line.startswith(BOM_BYTES) else 0
            regular = records[first : len(records) - (tail is not None)] if first or tail else records
            left = pipe.read(regular, state.count, self._unit(PIPE), self._values, state.earliest_s, state.latest_s)
            left = [*records[:first], *left, *records[first + len(regular) :]]
        for record in left:
            self._read(record, state, unterminated=record is tail)
        if state.watch is not None:
            self._check_unit(state, block, records)

    def encoder(self, following: Sequence[Processor]) -> LineEncoder | None:
        """Straight to JSON, where only `codes` and processors that add follow, and nothing but the line's columns is asked for."""
        codes = following[0] if following and type(following[0]) is Codes else None
        adding: list[Adds] = []
        readable = set(TEXTS)
        encoded = {field.name for field in (*self.fields, *(codes.fields if codes else ()))} - {"tags"}
        for processor in following[1:] if codes else following:
            own = {field.name for field in processor.fields}
            if not isinstance(processor, Adds) or own & encoded or not processor.reads <= readable | own:
                return None
            adding.append(processor)
            readable |= own
        return PipeEncoder(self, codes, adding) if self._values.rounding is None else None

    def regular(self, block: Block, lines: Sequence[bytes]) -> StreamState | None:
        """The stream's state, when nothing is left to be found out of it and its lines are the pipe's nineteen columns."""
        state = self.streams.of(block.stream)
        if state.layout is not PIPE or state.count != pipe.COLUMNS or not state.settled or state.watch is not None:
            return None
        return None if self._upgraded(state, lines) else state

    @property
    def values(self) -> Values:
        """How texts become values, remembered by text."""
        return self._values

    @property
    def pipe_unit(self) -> str:
        """The unit of holdTime in a pipe file."""
        return self._unit(PIPE)

    def _unit(self, layout: Layout) -> str:
        return layout.hold_unit if self._options.hold_unit == "auto" else self._options.hold_unit

    def _recognise(self, state: StreamState, block: Block, records: Sequence[Record]) -> None:
        lines = [record.line for record in records]
        if state.layout is not None and state.settled and not self._upgraded(state, lines):
            return
        if block.offset < state.seen_to:
            return
        state.seen_to = block.end
        if block.unterminated:
            lines.pop()
        fresh = state.settled
        found = recognise(lines, self._anchors, None if fresh else state.votes, state.layout or self._only)
        if found is None or (fresh and found.votes < REVOTE_LINES // 2):
            return
        if found.count > len(found.layout.columns) and found.votes < FEW_VOTES and block.offset > 0 and not state.count:
            state.layout, state.votes = found.layout, found.counted
            return
        self._take(state, found, block)

    def _take(self, state: StreamState, found: Recognised, block: Block) -> None:
        if state.layout is not found.layout or state.count != found.count:
            self._log.info(
                "layout recognised",
                extra={"file": block.stream.path, "layout": found.layout.name, "columns": found.count, "reason": found.reason},
            )
            state.reason = found.reason
        state.layout, state.count = found.layout, found.count
        state.votes = found.counted
        state.settled = found.votes >= SETTLED_LINES
        self.streams.last_counts[found.layout.name] = found.count

    @staticmethod
    def _upgraded(state: StreamState, lines: Sequence[bytes]) -> bool:
        if len(lines) < REVOTE_LINES or state.layout is not PIPE:
            return False
        probes = (lines[0], lines[len(lines) // 2], lines[-2], lines[-1])
        return all(line.count(b"|") + 1 != state.count for line in probes)

    def _read(self, record: Record, state: StreamState, *, unterminated: bool) -> None:
        tags: list[str] = []
        try:
            text, chinese = decode(record.line)
        except UnicodeDecodeError:
            record.reject("encoding", "neither UTF-8 nor GB18030")
            return
        if record.offset == 0:
            text = text.removeprefix(BOM)
        if not text.strip():
            record.drop("blank")
            return
        if chinese:
            tags.append("gb18030")
        try:
            self._fill(record, text, state, tags, unterminated=unterminated)
        except UnreadableError as error:
            record.reject(error.reason, str(error))

    def _fill(self, record: Record, text: str, state: StreamState, tags: list[str], *, unterminated: bool) -> None:
        layout, parts = self._parts(text, state)
        try:
            found, stop = self._built(parts, layout, state, tags, unterminated=unterminated)
        except UnreadableError:
            if is_title(parts) or is_title(text.split(",")):
                record.drop("title")
                return
            raise
        if not state.earliest_s <= stop[2] <= state.latest_s:
            raise UnreadableError("clock_skew", f"it stopped on {stop[0][:10]}, far from its file's name")
        if tags:
            found["tags"] = [*record.fields.get("tags", ()), *tags]
        record.fields = {**record.fields, **found}
        record.day, record.at = stop[1], stop[2]

    def _built(
        self, parts: list[str], layout: Layout, state: StreamState, tags: list[str], *, unterminated: bool
    ) -> tuple[dict[str, Any], Instant]:
        want = state.count if layout is state.layout and state.count else self._usual(layout, len(parts))
        if unterminated:
            if len(parts) != (state.count or self.streams.last_counts.get(layout.name, len(layout.columns))):
                raise UnreadableError("unterminated", f"{len(parts)} columns and no newline")
            tags.append("unterminated")
        return build(self._fitted(parts, layout, want, tags), layout, self._unit(layout), self._values, tags)

    def _parts(self, text: str, state: StreamState) -> tuple[Layout, list[str]]:
        layout = state.layout or self._only or PIPE
        try:
            parts = split(text, layout.delimiter)
        except ValueError as error:
            raise UnreadableError("bad_quotes", str(error)) from error
        if len(parts) < layout.least and self._only is None:
            # One spool segment may hold lines of two switches' layouts: taken where every anchor of another layout holds.
            for other in LAYOUTS.values():
                try:
                    texts = split(text, other.delimiter)
                except ValueError:
                    continue
                if other.least <= len(texts) <= len(other.columns) and self._anchors[other.name].hold_in(texts):
                    return other, texts
        return layout, parts

    @staticmethod
    def _usual(layout: Layout, count: int) -> int:
        return count if layout.least <= count <= len(layout.columns) else len(layout.columns)

    def _fitted(self, parts: list[str], layout: Layout, want: int, tags: list[str]) -> list[str]:
        count = len(parts)
        if count == want:
            return parts
        if count == want + 1 and not parts[-1]:
            return parts[:-1]
        if count > want:
            raise UnreadableError("stray_delimiter", f"{count} columns where the file has {want}")
        if count < layout.least:
            raise UnreadableError("short_line", f"{count} columns where the layout has {layout.least}")
        if not self._anchors[layout.name].hold_in(parts):
            raise UnreadableError("short_line", f"{count} columns where the file has {want}, and they do not hold what they must")
        tags.append("short_line")
        return parts

    def _check_unit(self, state: StreamState, block: Block, records: Sequence[Record]) -> None:
        watch, layout = state.watch, state.layout
        if watch is None or layout is None:
            return
        per_unit = 1 if self._unit(layout) == "ms" else 1000
        for record in records:
            if not record.fate and record.fields["layout"] == layout.name and record.fields["call.answered"]:
                start_s = datetime.fromisoformat(record.fields["startTime"]).timestamp()
                watch.look(record.fields["holdTime"] // per_unit, record.at - int(start_s))
                if watch.as_ms + watch.as_s >= LAST_CALL:
                    break
        verdict = watch.verdict()
        if not verdict:
            return
        state.verdict, state.watch = verdict, None
        if verdict not in ("unclear", layout.hold_unit) and self.halts:
            raise FatalError(
                f"{block.stream.path}: holdTime of layout {layout.name} should be in {layout.hold_unit} and looks like "
                f"{verdict}: {watch.evidence()}",
                hint=f"set `hold_unit: {verdict}` for the processor cdr, or `hold_unit: {layout.hold_unit}` if this file is right",
            )
