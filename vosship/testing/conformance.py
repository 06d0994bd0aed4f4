"""What every plugin promises, as suites that any plugin's author can run.

It does not test what a plugin is for: only the contract of `vosship.plugin`. Each suite raises AssertionError with a sentence.

    from vosship.testing.conformance import check_plugin
    check_plugin("processor", "mine", {"option": 1})
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship.errors import ConfigError
from vosship.events import Block, Document, Field, Gone, Outcome, Stream
from vosship.pipeline import records_of
from vosship.plugin import Context, Kind, Known, load, make
from vosship.schema import Schema
from vosship.telemetry import Telemetry

LINES = (
    b"8801711|44207|2026-04-26 12:00:00|2026-04-26 12:01:05|60000|200|0|IN|OUT|10.0.0.1|10.0.0.2|1|2|3|4|0|1|5000|900",
    b"\xff\xfe not a record",
    b"",
    b"a|b|c",
)
"""Chosen: one regular record among bytes in no encoding, an empty line and a line with too few fields."""


def make_context(data_dir: Path, *, schema: Schema | None = None, name: str = "conformance") -> Context:
    """A context like the agent's, with real metrics, below a directory of the test's own."""
    return Context(
        name=name,
        switch="conformance",
        timezone="Asia/Dhaka",
        schema=schema or Schema(()),
        log=logging.getLogger("vosship.conformance"),
        metrics=Telemetry(),
        data_dir=data_dir,
        base_dir=data_dir,
        now=lambda: 1_777_200_000.0,  # 2026-04-26, within a day of the lines above
    )


def make_block(lines: Sequence[bytes], *, name: str = "2026042612.txt", offset: int = 0) -> Block:
    """A block of those lines, as the `files` input would give it."""
    data = b"".join(line + b"\n" for line in lines)
    return Block(Stream(f"/cdr/{name}", name, f"/cdr/{name}"), offset, offset + len(data), data, b"", {})


def check_plugin(kind: Kind, name: str, options: Mapping[str, Any], data_dir: Path) -> None:
    """Everything that can be asked of a plugin of that kind without a server."""
    cls = load(kind, name)
    check_options(cls)
    check_refuses_nonsense(kind, name, options, data_dir)
    before = sorted(data_dir.rglob("*"))
    plugin = make(kind, name, options, make_context(data_dir), f"{kind}s.{name}")
    assert sorted(data_dir.rglob("*")) == before, f"{name}: the constructor made files; only `open` may"
    if kind == "processor":
        check_fields(plugin.fields)
        check_processor(plugin, make(kind, name, options, make_context(data_dir), f"{kind}s.{name}"))
    elif kind == "input":
        assert cls.series, f"{name}: the first part of its day index must be given"
        assert cls.channel, f"{name}: a default channel must be given"
        check_fields(cls.fields)
        reading = plugin.read({}, "now")
        assert all(hasattr(reading, each) for each in ("__anext__", "aclose")), f"{name}: read must be as an async generator"
    elif kind == "output":
        sends = hasattr(plugin, "send") or hasattr(plugin, "send_blocks")
        assert sends, f"{name}: an output has `send` or `send_blocks`"


def check_options(cls: Any) -> None:
    """Options are a frozen struct that refuses unknown keys, and each has a description."""
    options = cls.Options
    assert issubclass(options, msgspec.Struct), "Options must be a msgspec.Struct"
    config = options.__struct_config__
    assert config.frozen, "Options must be frozen"
    assert config.forbid_unknown_fields, "Options must forbid unknown fields"
    from vosship.describing import describe

    for option in describe(options):
        assert option["description"], f"the option {option['name']} has no description"
    assert (cls.__doc__ or "").strip(), "the plugin class has no docstring: its first line is shown by `vosship plugins`"


def check_refuses_nonsense(kind: Kind, name: str, options: Mapping[str, Any], data_dir: Path) -> None:
    """An unknown option is a ConfigError that names the path."""
    refusal = None
    try:
        make(kind, name, {**options, "no_such_option": 1}, make_context(data_dir), "place.in.file")
    except ConfigError as error:
        refusal = error
    assert refusal, f"{name}: an unknown option is accepted"
    assert refusal.path.startswith("place.in.file"), f"{name}: the error does not say where: {refusal}"


def check_fields(fields: Sequence[Field]) -> None:
    """Declared once each, described, aliases with a target."""
    names = [field.name for field in fields]
    assert len(names) == len(set(names)), f"declared twice: {sorted({name for name in names if names.count(name) > 1})}"
    for field in fields:
        assert field.description, f"the field {field.name} has no description"
        assert (field.type == "alias") == bool(field.path), f"the field {field.name}: alias and path go together"


def check_processor(plugin: Any, twin: Any) -> None:
    """Hostile lines never raise; fields set are declared; an instance knows nothing of its twin; the same in, the same out."""
    declared = {field.name for field in plugin.fields}
    results = []
    for instance in (plugin, twin, plugin):
        records = records_of(make_block(LINES))
        inherited = set(records[0].fields)
        instance.process(records)
        results.append([(record.fields, record.fate, record.reason) for record in records])
        for record in records:
            unknown = {name for name in record.fields if name not in declared and not name.startswith("labels.")}
            assert not unknown - inherited - {"@timestamp", "tags"}, f"fields set and not declared: {sorted(unknown)}"
    assert results[0] == results[1] == results[2], "two instances, or two runs of one, disagree"
    plugin.process([])


async def collect(source: Any, known: Known) -> tuple[list[Block], list[Gone]]:
    """All that an input gives until now."""
    blocks: list[Block] = []
    gone: list[Gone] = []
    async for item in source.read(known, "now"):
        (blocks if isinstance(item, Block) else gone).append(item)
    return blocks, gone


def check_tiling(blocks: Sequence[Block]) -> None:
    """Blocks of one stream begin where the one before ended and hold whole lines."""
    ends: dict[tuple[str, int], int] = {}
    for block in blocks:
        key = (block.stream.name, block.stream.generation)
        assert block.offset == ends.get(key, block.offset), f"{key}: a block begins at {block.offset}, not at {ends.get(key)}"
        assert block.end > block.offset, f"{key}: an empty block"
        if not (block.cut or block.unterminated):
            assert block.data.endswith(b"\n"), f"{key}: half a line at {block.end}"
        ends[key] = block.end


def check_input_ends(source: Any) -> None:
    """Reading what is there now ends by itself, and so does a second, independent reading of the same."""
    first = asyncio.run(collect(source, {}))
    second = asyncio.run(collect(source, {}))
    check_tiling(first[0])
    assert [block.data for block in first[0]] == [block.data for block in second[0]], "two readings of the same differ"


async def check_output(output: Any, documents: Sequence[Document]) -> None:
    """One outcome a document, in order; sending again is harmless and tells duplicates."""
    first: Sequence[Outcome] = await output.send(documents)
    assert [outcome.verdict.value for outcome in first] == ["stored"] * len(documents), "a new document was not stored"
    again: Sequence[Outcome] = await output.send(documents)
    assert [outcome.verdict.value for outcome in again] == ["duplicate"] * len(documents), "a repeated document is no duplicate"
    assert list(await output.send([])) == [], "an empty batch has no outcomes"
