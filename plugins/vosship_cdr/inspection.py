"""What one CDR file holds: the engine of `vosship inspect`, which reads it as the processor `cdr` would.

It writes nothing, needs no configuration and does not print.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from vosship.errors import ConfigError
from vosship.events import Block, Record, Stream
from vosship.plugin import Context
from vosship.schema import Schema
from vosship_cdr.cdr import Cdr
from vosship_cdr.options import CdrOptions
from vosship_cdr.splitting import BOM_BYTES, decode, split
from vosship_cdr.streams import StreamState

CHUNK_BYTES = 1 << 18
"""Chosen: lines handed on at a time; memory stays flat whatever the file's size."""

_EXPLAINED = {
    "short_line": "too few columns",
    "stray_delimiter": "more columns than the file has: a delimiter within a value",
    "bad_time": "a start or stop that is no time",
    "bad_number": "a holdTime that is no number",
    "bad_quotes": "quotes that do not pair",
    "encoding": "neither UTF-8 nor GB18030",
    "clock_skew": "stopped far from the date in the file's name",
    "unterminated": "the last line has no newline and may be cut",
}


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of `inspect --json`. `fields` is the file's column count, `bad_lines` what would be dead.

    `first_stop` and `last_stop` are UTC as documents write times, "" without a call.
    """

    file: str
    layout: str
    fields: int
    lines: int
    bad_lines: int
    encoding: str
    newline: str
    times: Literal["text", "epoch_s", "epoch_ms", "unclear"]
    hold_unit: Literal["ms", "s", "unclear"]
    first_stop: str
    last_stop: str
    unanswered: int
    notes: list[str]


class _Tally:
    def __init__(self) -> None:
        self.lines = self.bad = self.unanswered = self.crlf = self.lf = self.with_empty_end = self.good = 0
        self.ascii = True
        self.bom = False
        self.unterminated = False
        self.first = self.last = ""
        self.times: Literal["text", "epoch_s", "epoch_ms", "unclear"] = "unclear"
        self.reasons: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()

    def line(self, record: Record) -> None:
        line = record.line
        self.lines += 1
        self.ascii = self.ascii and line.isascii()
        self.crlf += line.endswith(b"\r")
        self.bom = self.bom or (record.offset == 0 and line.startswith(BOM_BYTES))
        if record.fate == "dead":
            self.bad += 1
            self.reasons[record.reason] += 1
        elif record.fate:
            self.dropped[record.reason] += 1
        else:
            self._call(record)

    def _call(self, record: Record) -> None:
        fields = record.fields
        self.good += 1
        self.with_empty_end += record.line.rstrip(b"\r").endswith((b"|", b","))
        self.unanswered += not fields["call.answered"]
        stop = fields["@timestamp"]
        self.first = min(self.first or stop, stop)
        self.last = max(self.last, stop)
        self.tags.update(fields.get("tags", ()))


def inspect_file(path: Path, options: CdrOptions, timezone: str) -> Inspection:
    """Read a whole file, `.gz` too. `timezone` (IANA) is the zone its text times are in.

    Raises ConfigError when the file cannot be read or an option is wrong. Blocks for as long as reading takes.
    """
    cdr = Cdr(options, _context(timezone))
    cdr.halts = False
    name = path.name.removesuffix(".gz")
    stream = Stream(name=str(path), base=name, path=str(path))
    tally = _Tally()
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise ConfigError("it is no file", file=str(path), hint="name CDR files, not their directory")
    try:
        for records in _records(path, stream):
            cdr.process(records)
            state = cdr.streams.of(stream)
            for record in records:
                tally.line(record)
                if tally.times == "unclear" and not record.fate:
                    tally.times = _times(record, state)
            tally.unterminated = records[-1].block.unterminated
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "its name and permissions" if getattr(error, "strerror", None) else "a whole copy: this one is cut or damaged"
        raise ConfigError(f"cannot read the file: {reason}", file=str(path), hint=hint) from error
    return _told(path, options, tally, cdr.streams.of(stream))


def _context(timezone: str) -> Context:
    return Context(
        name="inspect",
        switch="inspect",
        timezone=timezone,
        schema=Schema(()),
        log=logging.getLogger("vosship.inspect"),
        metrics=_Uncounted(),
        data_dir=Path(),
        base_dir=Path(),
        now=time.time,
    )


class _Uncounted:
    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...

    def set(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, value: float, **labels: str) -> None: ...


def _records(path: Path, stream: Stream) -> Iterator[list[Record]]:
    offset = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
        while lines := handle.readlines(CHUNK_BYTES):
            size = sum(map(len, lines))
            open_end = not lines[-1].endswith(b"\n")
            block = Block(stream, offset, offset + size, b"".join(lines), b"", {}, unterminated=open_end)
            records = []
            for line in lines:
                records.append(Record(line.removesuffix(b"\n"), offset, block, {}))
                offset += len(line)
            yield records


def _times(record: Record, state: StreamState) -> Literal["text", "epoch_s", "epoch_ms", "unclear"]:
    layout = state.layout
    if layout is None or record.fields["layout"] != layout.name:
        return "unclear"
    text = split(decode(record.line)[0], layout.delimiter)[layout.index("stopTime")].strip()
    if not text.isdecimal():
        return "text"
    return "epoch_ms" if len(text) > len("9999999999") else "epoch_s"


def _told(path: Path, options: CdrOptions, tally: _Tally, state: StreamState) -> Inspection:
    unit: Literal["ms", "s", "unclear"] = "unclear"
    if options.hold_unit != "auto":
        unit = options.hold_unit
    elif state.verdict:
        unit = state.verdict
    elif state.watch and (leaning := state.watch.leaning()):
        unit = leaning
    trailing = tally.good > 0 and tally.with_empty_end == tally.good
    return Inspection(
        file=str(path),
        layout=state.layout.name if state.layout else "unclear",
        fields=state.count - trailing if state.count else 0,
        lines=tally.lines,
        bad_lines=tally.bad,
        encoding=_encoding(tally),
        newline=_newline(tally),
        times=tally.times,
        hold_unit=unit,
        first_stop=tally.first,
        last_stop=tally.last,
        unanswered=tally.unanswered,
        notes=list(_notes(tally, state, unit, trailing=trailing)),
    )


def _encoding(tally: _Tally) -> str:
    if tally.tags["gb18030"]:
        return "gb18030"
    return "ascii" if tally.ascii else "utf-8"


def _newline(tally: _Tally) -> str:
    if not tally.lines:
        return "none"
    if not tally.crlf:
        return "lf"
    return "crlf" if tally.crlf >= tally.lines - tally.unterminated else "mixed"


def _notes(tally: _Tally, state: StreamState, unit: str, *, trailing: bool) -> Iterator[str]:
    if not tally.lines:
        yield "the file is empty: not written yet, which is not the same as no calls"
    if state.reason:
        yield state.reason
    if tally.bom:
        yield "begins with a byte-order mark"
    if trailing:
        yield "every line ends with a delimiter"
    for reason, count in sorted(tally.dropped.items()):
        yield f"{count} {reason} line{'s' * (count > 1)} left out"
    for reason, count in sorted(tally.reasons.items()):
        yield f"{count} × {reason}: {_EXPLAINED.get(reason, 'cannot be read')}"
    for tag, count in sorted(tally.tags.items()):
        yield f"{count} calls tagged {tag}"
    if tally.unterminated:
        yield "the last line has no newline: the file may still be written"
    if state.layout and unit not in ("unclear", state.layout.hold_unit):
        yield f"holdTime looks like {unit}, the layout says {state.layout.hold_unit}: set `hold_unit: {unit}` for the processor cdr"
    if tally.good and not tally.unanswered:
        yield "no unanswered call: SS_CDR_RECORD_NONCONNECT may be Off, then ASR means nothing"
