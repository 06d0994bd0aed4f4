"""Writes the answer to a question into a file, a day at a time: in constant memory, resumable, and all of it or nothing.

It does not know a store's ways or the command line.

Beside the target FILE, `FILE.parts/` holds the question and a part for each day done. A crash or Ctrl-C leaves it, and
the same question goes on from it; a part is taken again only if its day was complete in the store when it was read.
At the end the parts become FILE under a temporary name first, then the manifest is written, then the parts are removed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec

from vosship.errors import ConfigError
from vosship.layouts import Layout, converters, typed
from vosship.parquet import MAGIC, Group, Writer
from vosship.query import Hit
from vosship.schema import Schema
from vosship.window import Window

Format = Literal["csv", "ndjson", "parquet"]

_COPY_BYTES = 1 << 20


class Totals(msgspec.Struct):
    """What was written: calls, answered ones, the summed holdTime of these, bytes, and in Parquet the row groups."""

    records: int = 0
    answered: int = 0
    hold_ms: int = 0
    size_bytes: int = 0
    groups: list[Group] = []

    def add(self, other: Totals) -> None:
        """Add what stands behind it."""
        self.groups += [group.moved(self.size_bytes) for group in other.groups]
        self.records += other.records
        self.answered += other.answered
        self.hold_ms += other.hold_ms
        self.size_bytes += other.size_bytes


class Part(msgspec.Struct):
    """One day done. `settled`: nothing more was to come when it was read."""

    totals: Totals
    settled: bool


class Encoder(Protocol):
    """Turns hits into bytes: a file is `head`, its parts, `tail`. A part is what `encode` gave, and what it held back."""

    head: bytes

    def encode(self, hit: Hit) -> bytes: ...

    def end_part(self) -> tuple[bytes, list[Group]]:
        """What was held back, and the part's row groups."""
        ...

    def tail(self, totals: Totals) -> bytes:
        """The end of a file of these parts."""
        ...


class _Text:
    """A format of lines: nothing held back, nothing at the end."""

    def end_part(self) -> tuple[bytes, list[Group]]:
        return b"", []

    def tail(self, totals: Totals) -> bytes:
        return b""


class Ndjson(_Text):
    """One JSON object a line: the document as indexed with `_id` and `_index`, or with a layout its columns only."""

    head = b""

    def __init__(self, layout: Layout | None, schema: Schema, window: Window) -> None:
        self._columns = None
        if layout is not None:
            titles = [column.title for column in layout.columns]
            self._columns = [(title, *pair) for title, pair in zip(titles, converters(layout, schema, window.zone), strict=True)]
        self._encode = msgspec.json.Encoder().encode

    def encode(self, hit: Hit) -> bytes:
        """One line."""
        if self._columns is None:
            return self._encode({"_id": hit.id, "_index": hit.index, **hit.fields}) + b"\n"
        fields = hit.fields
        return self._encode({title: way(fields[name]) for title, name, way in self._columns if name in fields}) + b"\n"


class Csv(_Text):
    """One row a call, quoted where needed; absent values are empty."""

    def __init__(self, layout: Layout, schema: Schema, window: Window) -> None:
        self._columns = converters(layout, schema, window.zone)
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, delimiter=layout.delimiter, lineterminator="\n")
        self.head = self._row([column.title for column in layout.columns]) if layout.header else b""

    def encode(self, hit: Hit) -> bytes:
        """One row."""
        fields = hit.fields
        return self._row([way(fields[name]) if name in fields else "" for name, way in self._columns])

    def _row(self, values: list[Any]) -> bytes:
        self._writer.writerow(values)
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text.encode("utf-8", "surrogatepass")


class Parquet:
    """Typed columns: times as timestamps, durations as whole numbers, nothing for what is absent."""

    head = MAGIC

    def __init__(self, layout: Layout, schema: Schema, window: Window) -> None:
        columns = typed(layout, schema, window.zone)
        self._ways = [(name, way) for _, name, _, way in columns]
        self._writer = Writer([(title, kind) for title, _, kind, _ in columns])
        self._groups: list[Group] = []
        self._written = 0

    def encode(self, hit: Hit) -> bytes:
        """Nothing, or a row group once that is full."""
        fields = hit.fields
        return self._taken(self._writer.add([way(fields[name]) if name in fields else None for name, way in self._ways]))

    def _taken(self, found: tuple[bytes, Group] | None) -> bytes:
        if found is None:
            return b""
        content, group = found
        self._groups.append(group.moved(self._written))
        self._written += len(content)
        return content

    def end_part(self) -> tuple[bytes, list[Group]]:
        """The last row group; the next part begins at 0 again."""
        content = self._taken(self._writer.end())
        groups, self._groups, self._written = self._groups, [], 0
        return content, groups

    def tail(self, totals: Totals) -> bytes:
        """The footer, which says where all is."""
        return self._writer.footer([group.moved(len(self.head)) for group in totals.groups])


def stream(hits: Iterable[Hit], encoder: Encoder, out: IO[bytes], check: Callable[[int], None], before: int = 0) -> Totals:
    """Write a part, hits as they come. `check` is given the count so far (with `before`) every so often and at the end."""
    totals = Totals()
    write, encode = out.write, encoder.encode
    for hit in hits:
        totals.size_bytes += write(encode(hit))
        totals.records += 1
        hold_ms = hit.fields.get("holdTime", 0)
        if hold_ms > 0:
            totals.answered += 1
            totals.hold_ms += hold_ms
        if not totals.records % 1000:
            check(before + totals.records)
    check(before + totals.records)
    rest, totals.groups = encoder.end_part()
    totals.size_bytes += write(rest)
    return totals


class Parts:
    """The folder of an export under way."""

    def __init__(self, target: Path, question: dict[str, Any]) -> None:
        self.directory = target.with_name(target.name + ".parts")
        self._question = msgspec.json.encode(question, order="sorted")

    def open(self, *, restart: bool) -> bool:
        """Make the folder or go on from it; True when there was one. Raises ConfigError when it is another question's."""
        question = self.directory / "question.json"
        if restart:
            self.remove()
        if question.exists():
            if question.read_bytes() != self._question:
                raise ConfigError(
                    f"{self.directory} holds an unfinished export of another question",
                    hint="--restart gives that one up; or another --out",
                )
            return True
        self.directory.mkdir(parents=True, exist_ok=True)
        _write(question, self._question)
        return False

    def path(self, day: str) -> Path:
        """Where a day's rows go."""
        return self.directory / f"{day}.part"

    def done(self, day: str) -> Part | None:
        """A part that can be taken as it is."""
        try:
            part = msgspec.json.decode((self.directory / f"{day}.json").read_bytes(), type=Part)
        except (OSError, msgspec.DecodeError):
            return None
        path = self.path(day)
        whole = path.exists() and path.stat().st_size == part.totals.size_bytes
        return part if part.settled and whole else None

    def write(self, day: str, fill: Callable[[IO[bytes]], Totals], *, settled: bool) -> Totals:
        """Fill a day's part; only a whole one gets its name."""
        path, account = self.path(day), self.directory / f"{day}.json"
        account.unlink(missing_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb", buffering=_COPY_BYTES) as file:
            totals = fill(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _write(account, msgspec.json.encode(Part(totals=totals, settled=settled)))
        return totals

    def remove(self) -> None:
        """Forget the export under way."""
        shutil.rmtree(self.directory, ignore_errors=True)


def assemble(parts: list[Path], head: bytes, tail: bytes, target: Path) -> str:
    """Put the parts together under a temporary name, then give it its own; returns the SHA-256."""
    unfinished = target.with_name(target.name + ".unfinished")
    digest = hashlib.sha256(head)
    with unfinished.open("wb") as out:
        out.write(head)
        for path in parts:
            with path.open("rb") as file:
                while piece := file.read(_COPY_BYTES):
                    out.write(piece)
                    digest.update(piece)
        out.write(tail)
        digest.update(tail)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(target)
    return digest.hexdigest()


def days(window: Window) -> Iterator[tuple[str, Window]]:
    """The window a day at a time, newest first, each with the name of its part."""
    for piece in window.pieces():
        yield f"{piece.start:%Y-%m-%d}", piece


def manifest_path(target: Path) -> Path:
    """Where the manifest of an export lies."""
    return target.with_name(target.name + ".manifest.json")


def write_manifest(target: Path, content: dict[str, Any]) -> None:
    """Write it in one step."""
    _write(manifest_path(target), msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
