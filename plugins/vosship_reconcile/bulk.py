"""The quick way for two sets of plain pipe files: lines that are the same bytes on both sides are matched without being parsed.

Equal bytes of a regular line give equal calls, whatever the line says; so DuckDB hashes every line, and only lines whose
counts differ, irregular lines and irregular files go through the configured processors. It decides no class but that one.

A line is regular when it is certain what the processor `cdr` makes of it: the columns of its file, two valid times, a whole
holdTime, a stop near its file's time. What `Plain` promises of zone, layout and processors is for the caller to check.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship_reconcile.staging import Batch

LINES_AT_ONCE = 19
"""Lines handed to the processors as one block. Chosen: below 20, from which on `cdr` asks whether a file changed its columns."""

HEAD_BYTES = 1 << 16
"""Beginning of each file that the processors see first, as they would when reading it (the forward's and files' block size)."""

NEAR_US = 86_400_000_000
"""A regular stop lies within a day of its file's name: the longest interval (domain: 86,400 s), half of `max_skew_days`."""

_MOST_HOLD_DIGITS = 10
"""A holdTime of so many digits is below a year, the most that `cdr` takes."""


class PlainFile(msgspec.Struct, frozen=True):
    """One uncompressed file that nobody writes to any more. `starts_at`: its name's time, local, as `2026-04-26 06:00:00`."""

    path: str
    size: int
    starts_at: str


class Plain(msgspec.Struct, kw_only=True):
    """One side's files, and how its lines become copies.

    `parse(file, head, places)` runs lines (byte, line) through the processors, which have seen `head` first; `rest` gives the
    copies of every file of the side that is not among `files`, and of those named, whole.
    """

    files: list[PlainFile]
    parse: Callable[[PlainFile, bytes, Iterator[Sequence[tuple[int, bytes]]]], Iterator[Batch]]
    rest: Callable[[Sequence[str]], Iterator[Batch]]


class Span(msgspec.Struct, frozen=True):
    """The window in the switch's own clock, which did not change in or near it: `offset_ms` east of UTC."""

    from_text: str
    to_text: str
    offset_ms: int


def match(
    db: Any, sides: tuple[Plain, Plain], span: Span, told: Callable[[str, int], None]
) -> tuple[Iterator[Batch], Iterator[Batch]]:
    """Fill `bulk` with what is the same on both sides; returns each side's copies that remain to be compared."""
    db.execute("SET preserve_insertion_order = true")  # a row's place is its line's number
    irregular: list[list[str]] = []
    for number, side in enumerate(sides):
        db.execute(f"CREATE TABLE plain{number} ({_columns(number)})")
        for place, file in enumerate(side.files):
            told("hashing lines of", place)
            db.execute(f"INSERT INTO plain{number} {_scan(number, place, file, span)}")
        irregular.append(_irregular_files(db, number, side.files))
    db.execute("SET preserve_insertion_order = false")
    told("matching lines", 0)
    db.execute(
        """CREATE TABLE odd AS SELECT h1 FROM (
            SELECT h1, 1 AS d, h2, NOT ok AS irregular FROM plain0 UNION ALL SELECT h1, -1, h2, false FROM plain1)
        GROUP BY h1 HAVING sum(d) <> 0 OR sum(d * CAST(h2 >> 16 AS BIGINT)) <> 0 OR bool_or(irregular)"""
    )
    db.execute(
        """INSERT INTO bulk SELECT quarter, nullif(caller_gateway, ''), nullif(callee_gateway, ''), count(*),
            count(*) FILTER (hold_ms > 0), sum(hold_ms), sum(CASE WHEN billed THEN hold_ms ELSE 0 END)
        FROM plain0 ANTI JOIN odd USING (h1) WHERE inside GROUP BY ALL"""
    )
    left, right = (_remaining(db, number, side, irregular[number]) for number, side in enumerate(sides))
    return left, right


def _columns(number: int) -> str:
    columns = "file INTEGER, size INTEGER, h1 UBIGINT, h2 UBIGINT"
    if number == 0:
        columns += ", columns INTEGER, ok BOOLEAN, inside BOOLEAN, quarter BIGINT, hold_ms BIGINT, billed BOOLEAN"
        columns += ", caller_gateway VARCHAR, callee_gateway VARCHAR"
    return columns


def _scan(number: int, place: int, file: PlainFile, span: Span) -> str:
    source = (
        f"read_csv({_literal(file.path)}, delim = '\x01', quote = '', escape = '', header = false, auto_detect = false,"
        " columns = {'line': 'VARCHAR'}, max_line_size = 4000000, ignore_errors = true, nullstr = '\x02', buffer_size = 16000000)"
    )
    # The second hash is over shifted bytes, so that two lines that meet in the first do not meet in it too.
    plain = f"{place}, strlen(line), hash(line), hash('#' || line)"
    if number == 1:
        return f"SELECT {plain} FROM {source}"
    ok = (
        f"len(p) IN (17, 19) AND length(p[3]) = 19 AND length(p[4]) = 19 AND p[3][12:13] <> '24' AND p[4][12:13] <> '24'"
        f" AND start IS NOT NULL AND abs(epoch_us(stop) - epoch_us(TIMESTAMP {_literal(file.starts_at)})) <= {NEAR_US}"
        f" AND length(p[5]) BETWEEN 1 AND {_MOST_HOLD_DIGITS} AND regexp_full_match(p[5], '[0-9]+')"
    )
    inside = f"p[4] >= {_literal(span.from_text)} AND p[4] < {_literal(span.to_text)}"
    quarter = f"(epoch_ms(stop) - {span.offset_ms}) // 900000"
    return (
        f"SELECT {plain}, len(p), coalesce({ok}, false), coalesce({inside}, false), {quarter}, try_cast(p[5] AS BIGINT),"
        " p[17] NOT IN ('', '-1'), p[8], p[9]"
        " FROM (SELECT *, try_cast(p[3] AS TIMESTAMP) AS start, try_cast(p[4] AS TIMESTAMP) AS stop"
        f" FROM (SELECT line, string_split(line, '|') AS p FROM {source}))"
    )


def _irregular_files(db: Any, number: int, files: Sequence[PlainFile]) -> list[str]:
    """Files that DuckDB did not read line for line, byte for byte; their rows are taken out. Lines of few columns are not ok."""
    found = dict(db.execute(f"SELECT file, sum(size + 1) FROM plain{number} GROUP BY file").fetchall())
    bad = [place for place, file in enumerate(files) if found.get(place, 0) != file.size]
    for place in bad:
        db.execute(f"DELETE FROM plain{number} WHERE file = ?", [place])
    if number == 0:
        db.execute(
            """UPDATE plain0 SET ok = false FROM (
                SELECT file, arg_max(columns, c) AS usual FROM (SELECT file, columns, count(*) AS c FROM plain0 GROUP BY ALL)
                GROUP BY file
                HAVING count(*) > 1) f
            WHERE plain0.file = f.file AND columns <> usual"""
        )
    return [files[place].path for place in bad]


def _remaining(db: Any, number: int, side: Plain, irregular: Sequence[str]) -> Iterator[Batch]:
    """The copies of the lines that were not matched: rows lie in the order of the files."""
    yield from side.rest(irregular)
    wanted = f"""SELECT file, byte, size FROM (
            SELECT file, size, h1, sum(size + 1) OVER (ROWS UNBOUNDED PRECEDING) - size - 1 AS byte FROM plain{number})
        JOIN odd USING (h1) ORDER BY byte"""
    cursor = db.cursor().execute(wanted)
    current, begins = -1, 0
    places: list[tuple[int, int]] = []
    bases = _bases(side.files, irregular)
    while rows := cursor.fetchmany(50_000):
        for place, at, size in rows:
            if place != current:
                yield from _parsed(side, current, places)
                current, begins, places = place, bases[place], []
            places.append((at - begins, size))
    yield from _parsed(side, current, places)


def _bases(files: Sequence[PlainFile], irregular: Sequence[str]) -> list[int]:
    """Per file how many bytes of rows stand before its own."""
    found, total = [], 0
    for file in files:
        found.append(total)
        total += 0 if file.path in irregular else file.size
    return found


def _parsed(side: Plain, place: int, places: Sequence[tuple[int, int]]) -> Iterator[Batch]:
    if not places:
        return
    file = side.files[place]
    with Path(file.path).open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        head = content[: min(HEAD_BYTES, file.size)]
        head = head[: head.rfind(b"\n") + 1]
        groups = (
            [(at, content[at : at + size]) for at, size in places[begin : begin + LINES_AT_ONCE]]
            for begin in range(0, len(places), LINES_AT_ONCE)
        )
        yield from side.parse(file, head, groups)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
