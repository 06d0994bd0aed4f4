"""Parquet as `vosship.parquet` writes it, read by DuckDB: every kind of column, page and row group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from sqlite_calls import calls, decoded, document, schema, send

from vosship import cli
from vosship.exporting import Parquet, Parts, Totals, assemble, stream
from vosship.layouts import Column, Layout
from vosship.parquet import BOOLEAN, DOUBLE, GROUP_ROWS, MAGIC, MOMENT, PAGE_ROWS, TEXT, WHOLE, Kind, Writer, decimal
from vosship.query import Hit
from vosship.window import parse


def written(path: Path, kinds: Sequence[Kind], rows: Sequence[tuple[Any, ...]]) -> Any:
    """A file of these rows, as DuckDB sees it."""
    writer = Writer([(f"c{number}", kind) for number, kind in enumerate(kinds)])
    groups, content = [], MAGIC
    found = [*(writer.add(row) for row in rows), writer.end()]
    for part, group in (each for each in found if each is not None):
        groups.append(group.moved(len(content)))
        content += part
    path.write_bytes(content + writer.footer(groups))
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    return db.from_parquet(str(path))


def rows_of(relation: duckdb.DuckDBPyRelation | None) -> list[tuple[Any, ...]]:
    """The rows of a question that has an answer."""
    assert relation is not None
    return relation.fetchall()


def test_every_kind_of_column_comes_back(tmp_path: Path) -> None:
    """Texts of any script, negative and largest numbers, fractions, truth, times, decimals, and nothing in each of them."""
    rows = [
        ("0088017", 2**63 - 1, 0.1, True, 1_777_140_000_123, 21_050),
        ("", -(2**63), -1e300, False, 0, -1),
        ('网关一|"a"\n', 0, 0.0, True, -1, 0),
        (None,) * 6,
    ]
    kinds = (TEXT, WHOLE, DOUBLE, BOOLEAN, MOMENT, decimal(3))
    found = written(tmp_path / "x.parquet", kinds, rows)
    assert [str(kind) for kind in found.types] == [
        "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP WITH TIME ZONE", "DECIMAL(18,3)",
    ]  # fmt: skip
    texts = found.project("c0, c1, c2, c3, strftime(c4, '%Y-%m-%dT%H:%M:%S.%g'), c5").fetchall()
    assert texts == [
        ("0088017", 2**63 - 1, 0.1, True, "2026-04-25T18:00:00.123", Decimal("21.050")),
        ("", -(2**63), -1e300, False, "1970-01-01T00:00:00.000", Decimal("-0.001")),
        ('网关一|"a"\n', 0, 0.0, True, "1969-12-31T23:59:59.999", Decimal(0)),
        (None,) * 6,
    ]


@pytest.mark.parametrize("count", [0, 1, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 9, GROUP_ROWS, 2 * GROUP_ROWS + PAGE_ROWS + 1])
def test_every_row_stands_once_and_in_order_over_pages_and_groups(tmp_path: Path, count: int) -> None:
    """Columns with few values, with so many that their places take two bytes, with all different ones, and with holes."""
    rows = [
        (number, f"GW{number % 7}", number % 999, f"n{number}", None if number % 3 else number % 5, number % 11 == 0)
        for number in range(count)
    ]
    found = written(tmp_path / "x.parquet", (WHOLE, TEXT, WHOLE, TEXT, WHOLE, BOOLEAN), rows)
    assert found.fetchall() == rows


def test_bounds_of_a_group_are_true(tmp_path: Path) -> None:
    """A reader that leaves out groups by their bounds finds what one that reads all finds."""
    rows = [(number, -number) for number in range(GROUP_ROWS + 10)]
    written(tmp_path / "x.parquet", (MOMENT, WHOLE), rows)
    asked = f"SELECT stats_min_value, stats_max_value, stats_null_count FROM parquet_metadata('{tmp_path / 'x.parquet'}')"
    found = rows_of(duckdb.sql(f"{asked} WHERE path_in_schema = 'c1' ORDER BY row_group_id"))
    assert found == [(str(1 - GROUP_ROWS), "0", 0), (str(-GROUP_ROWS - 9), str(-GROUP_ROWS), 0)]


def test_an_operator_s_layout_is_typed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Seconds with decimals are decimals, local dates text, epochs numbers, flags flags, lists text; what is absent is null."""
    inputs = {"cdr": {"type": "files", "paths": ["cdr/*.txt"]}}
    (tmp_path / "vosship.yaml").write_text(
        json.dumps({"switch": "dhaka-1", "timezone": "Asia/Dhaka", "data_dir": "data", "inputs": inputs})
    )
    (tmp_path / "bill.yaml").write_text(
        "columns:\n  - {field: callerE164, name: A}\n  - {field: stopTime, name: END, date: '%d.%m.%Y %H:%M'}\n"
        "  - {field: startTime, name: BEGAN, date: epoch_s}\n  - {field: holdTime, name: S, unit: s, decimals: 1, rounding: up}\n"
        "  - {field: '@timestamp', name: STOPPED}\n  - {field: call.answered, name: OK}\n  - {field: tags, name: TAGS}\n"
    )
    fields = {
        "@timestamp": "2026-04-25T18:30:00.000Z",
        "stopTime": "2026-04-25T18:30:00.000Z",
        "startTime": "2026-04-25T18:29:00.000Z",
        "callerE164": "777",
        "holdTime": 21_001,
        "call.answered": True,
        "tags": ["short_line", "gb18030"],
    }
    send(tmp_path / "data" / "store", [[document(fields), document({"@timestamp": fields["@timestamp"], "callerE164": "778"})]])
    words = ["export", "-c", str(tmp_path / "vosship.yaml"), "--day", "2026-04-26", "--channel", "all", "--format", "parquet"]
    assert cli.run([*words, "--layout", "bill.yaml", "--out", str(tmp_path / "x.parquet")]) == 0, capfd.readouterr().err
    found = rows_of(duckdb.sql(f"SELECT * REPLACE (epoch_ms(STOPPED) AS STOPPED) FROM '{tmp_path / 'x.parquet'}' ORDER BY A"))
    at = round(datetime(2026, 4, 25, 18, 30, tzinfo=UTC).timestamp() * 1000)
    assert found[0] == ("777", "26.04.2026 00:30", at // 1000 - 60, Decimal("21.1"), at, True, "short_line;gb18030")
    assert found[1][0] == "778"


def write_part(hits: list[Hit], encoder: Parquet, file: IO[bytes]) -> Totals:
    """A day's part."""
    return stream(hits, encoder, file, lambda _: None)


def test_parts_of_an_earlier_run_and_new_ones_make_one_file(tmp_path: Path) -> None:
    """A day taken as it is and a day written after a restart stand in one file, each call once, as it was sent."""
    columns = ("callerE164", "holdTime", "callerPdd", "log.offset")
    layout = Layout(columns=[Column(field=name) for name in columns])
    window = parse(day="2026-04-25", zone=ZoneInfo("UTC"), time="stop", now=0.0, max_days=31)
    days = [[Hit(each.id, each.index, decoded(each)) for each in calls(5000, seed=seed)] for seed in (22, 23)]
    total = Totals()
    for day, hits in zip("ab", days, strict=True):
        for run in range(2):
            parts, encoder = Parts(tmp_path / "x.parquet", {"question": 1}), Parquet(layout, schema(), window)
            parts.open(restart=False)
            parts.close()
            done = parts.done(day)
            assert bool(done) == bool(run)
            if done is None:
                fill = partial(write_part, hits, encoder)
                parts.write(day, fill, settled=True)
            else:
                total.add(done.totals)
    assemble([parts.path(day) for day in "ab"], encoder.head, encoder.tail(total), tmp_path / "x.parquet")
    found = rows_of(duckdb.sql(f"SELECT * FROM '{tmp_path / 'x.parquet'}'"))
    assert found == [tuple(hit.fields.get(name) for name in columns) for hits in days for hit in hits]
    assert total.records == 10_000
