"""Golden cases of every plugin that reads lines: `tests/cases/<plugin>/<case>/` holds config, input and what must come of it.

`config.yaml`: `timezone`, `processors` as in a configuration, and optionally `file` (name of the file the lines stand for) and
`offset` (where in it they begin). `input.*`: the bytes. `expected.ndjson`: one object a line of the input, either
`{"day", "at", "fields"}`, or `{"dead": reason}`, or `{"filtered": reason}`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vosship.events import Block, Record, Stream
from vosship.pipeline import records_of
from vosship.plugin import Context, make
from vosship.schema import Schema
from vosship.telemetry import Telemetry

CASES = Path(__file__).parent / "cases"


def context(case: Path, timezone: str, schema: Schema) -> Context:
    """What a processor of a case is told; tables of a case lie beside its config."""
    return Context(
        name=case.name,
        switch="dhaka-1",
        timezone=timezone,
        schema=schema,
        log=logging.getLogger("vosship.case"),
        metrics=Telemetry(),
        data_dir=case,
        base_dir=case,
        now=lambda: 1777183200.0,
    )


def run_case(case: Path) -> tuple[list[Record], Schema]:
    """The records of one case after its processors, and the fields these declare."""
    config: dict[str, Any] = yaml.safe_load((case / "config.yaml").read_text(encoding="utf-8"))
    source = next(case.glob("input.*"))
    data = source.read_bytes()
    name, offset = config.get("file", source.name), config.get("offset", 0)
    processors = []
    for number, item in enumerate(config["processors"]):
        options = {"type": item} if isinstance(item, str) else dict(item)
        kind = options.pop("type")
        processors.append(
            (kind, make("processor", kind, options, context(case, config["timezone"], Schema(())), f"processors[{number}]"))
        )
    stream = Stream(name=name, base=name, path=name)
    block = Block(stream, offset, offset + len(data), data, b"", {}, unterminated=not data.endswith(b"\n"))
    records = records_of(block)
    for _, processor in processors:
        processor.process([record for record in records if not record.fate])
    return records, Schema((kind, processor.fields) for kind, processor in processors)


def outcome(record: Record) -> dict[str, Any]:
    """A record as `expected.ndjson` writes it."""
    if record.fate:
        return {record.fate: record.reason}
    return {"day": record.day, "at": record.at, "fields": record.fields}


ALL_CASES = sorted(path.parent for path in CASES.glob("*/*/config.yaml"))


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_every_line_becomes_what_its_case_expects(case: Path) -> None:
    """A golden case's lines become exactly the expected fields, or are dead or filtered for the expected reason."""
    records, _ = run_case(case)
    expected = [msgspec.json.decode(line) for line in (case / "expected.ndjson").read_bytes().splitlines()]
    assert [outcome(record) for record in records] == expected
