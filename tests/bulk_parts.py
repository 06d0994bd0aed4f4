"""Documents and outputs that the tests of the search outputs share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship.events import Block, Document, Field, Outcome, Stream, Verdict
from vosship.plugin import Context, make
from vosship.schema import Schema

FIELDS = (
    Field(name="callerE164", type="keyword", description="Who called."),
    Field(name="callerIp", type="ip", description="From where."),
    Field(name="holdTime", type="long", unit="ms", description="How long."),
    Field(name="call.answered", type="boolean", description="Whether."),
    Field(name="caller.gateway.name", type="keyword", description="Through which."),
    Field(name="caller.geo.location", type="geo_point", description="Where it stands."),
    Field(name="source.ip", type="alias", path="callerIp", description="ECS spelling."),
    Field(name="labels", type="object", description="An operator's own."),
)

DAY, NEXT_DAY = "vos3000-cdr-2026.04.26", "vos3000-cdr-2026.04.27"

_BLOCK = Block(Stream("cdr_1", "cdr_1", "/cdr/cdr_1"), 0, 0, b"", b"", {})


class NoMetrics:
    """Counts nothing."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...
    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...


def context(folder: Path, fields: Sequence[Field] = FIELDS) -> Context:
    """A context as the core would make it."""
    return Context(
        name="search",
        switch="dhaka-1",
        timezone="Asia/Dhaka",
        schema=Schema([("test", fields)]),
        log=logging.getLogger("vosship.test"),
        metrics=NoMetrics(),
        data_dir=folder / "data",
        base_dir=folder,
        now=time.time,
    )


def output(engine: str, url: str, folder: Path, fields: Sequence[Field] = FIELDS, **options: Any) -> Any:
    """One of the two outputs, as configured by name."""
    return make("output", engine, {"hosts": [url], **options}, context(folder, fields), "outputs.search")


def document(number: int, index: str = DAY, **fields: Any) -> Document:
    """A small valid document whose id is its number."""
    body = {
        "@timestamp": f"2026-04-26T06:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
        "switch": "dhaka-1",
        "callerE164": f"88017{number:06d}",
        "callerIp": "10.0.0.1",
        "holdTime": number,
        **fields,
    }
    return Document(f"{number:016d}", index, msgspec.json.encode(body), b"", number, _BLOCK)


def documents(count: int, index: str = DAY, first: int = 0) -> list[Document]:
    """A run of them."""
    return [document(number, index) for number in range(first, first + count)]


def send(plugin: Any, *batches: Sequence[Document]) -> list[Sequence[Outcome]]:
    """Send each batch once, one after the other, on a loop of their own."""

    async def each() -> list[Sequence[Outcome]]:
        return [await plugin.send(batch) for batch in batches]

    return asyncio.run(each())


def verdicts(outcomes: Sequence[Outcome]) -> list[str]:
    """Each outcome in a word: `stored`, `duplicate`, or verdict and reason."""
    return [
        f"{o.verdict.value} {o.reason}".strip() if o.verdict in (Verdict.REJECTED, Verdict.RETRY) else o.verdict.value
        for o in outcomes
    ]
