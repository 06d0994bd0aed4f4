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

from vosship.errors import ConfigError, FatalError
from vosship.layouts import Layout, converters, parquet_types
from vosship.query import Hit
from vosship.schema import Schema
from vosship.window import Window

Format = Literal["csv", "ndjson", "parquet"]

PARQUET_MEMORY = "32MB"
"""Chosen: what DuckDB needs for one row group; beyond it DuckDB spills beside the parts. A Parquet export peaks at 121 MB,
58 MB of it DuckDB and Python themselves; CSV at 57 MB (measured 2026-11-20 over 999,000 and 583,000 calls, `vosship export`)."""

PARQUET_ROWS = 6_144
"""Rows a row group: one is held at a time (chosen: costs no size against 10,240, measured 2026-11-20)."""

PARQUET_LINE = 1_000_000
"""Longest row in bytes; DuckDB wants a buffer of at least two."""

_COPY_BYTES = 1 << 20


class Totals(msgspec.Struct):
    """What was written: calls, answered ones, and the summed holdTime of these."""

    records: int = 0
    answered: int = 0
    hold_ms: int = 0

    def add(self, other: Totals) -> None:
        """Add another part's."""
        self.records += other.records
        self.answered += other.answered
        self.hold_ms += other.hold_ms


class Part(msgspec.Struct):
    """One day done. `settled`: nothing more was to come when it was read."""

    totals: Totals
    settled: bool


class Encoder(Protocol):
    """Turns hits into bytes; `head` begins the file."""

    head: bytes

    def encode(self, hit: Hit) -> bytes: ...


class Ndjson:
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


class Csv:
    """One row a call, quoted where needed; absent values are empty."""

    def __init__(self, layout: Layout, schema: Schema, window: Window, *, plain: bool = False) -> None:
        self._columns = converters(layout, schema, window.zone)
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, delimiter="," if plain else layout.delimiter, lineterminator="\n")
        self.head = self._row([column.title for column in layout.columns]) if layout.header and not plain else b""

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


def stream(hits: Iterable[Hit], encoder: Encoder, out: IO[bytes], check: Callable[[int], None], before: int = 0) -> Totals:
    """Write hits as they come. `check` is given the count so far (with `before`) every so often and at the end."""
    totals = Totals()
    write, encode = out.write, encoder.encode
    for hit in hits:
        write(encode(hit))
        totals.records += 1
        hold_ms = hit.fields.get("holdTime", 0)
        if hold_ms > 0:
            totals.answered += 1
            totals.hold_ms += hold_ms
        if not totals.records % 1000:
            check(before + totals.records)
    check(before + totals.records)
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
        return part if part.settled and self.path(day).exists() else None

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


def assemble(parts: list[Path], head: bytes, target: Path) -> str:
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
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(target)
    return digest.hexdigest()


def assemble_parquet(parts: list[Path], layout: Layout, schema: Schema, target: Path) -> str:
    """As `assemble`, from CSV parts into one Parquet file. Raises ConfigError when DuckDB is not installed."""
    duckdb = load_duckdb()
    unfinished = target.with_name(target.name + ".unfinished")
    types = ", ".join(f"{_literal(title)}: {_literal(kind)}" for title, kind in parquet_types(layout, schema))
    db = duckdb.connect(config={"memory_limit": PARQUET_MEMORY, "threads": "1", "temp_directory": str(target.parent)})
    try:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            "COPY (SELECT * FROM read_csv(?, header = false, auto_detect = false, delim = ',', quote = '\"', escape = '\"', "
            f"nullstr = '', columns = {{{types}}}, buffer_size = {2 * PARQUET_LINE}, max_line_size = {PARQUET_LINE})) "
            f"TO {_literal(str(unfinished))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {PARQUET_ROWS})",
            [[str(path) for path in parts]],
        )
    except duckdb.Error as error:
        unfinished.unlink(missing_ok=True)
        raise FatalError(f"the Parquet file cannot be written: {error}", hint="--format csv needs no DuckDB") from error
    finally:
        db.close()
    with unfinished.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    unfinished.replace(target)
    return digest


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def load_duckdb() -> Any:
    """DuckDB, which an extra brings. Raises ConfigError without it."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError("Parquet needs DuckDB", hint="pip install 'vosship[reconcile]'; or --format csv") from error
    return duckdb


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
