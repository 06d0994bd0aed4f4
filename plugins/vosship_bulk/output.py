"""The two outputs: one attempt to send a batch, setting up, and looking at the cluster.

What a request looks like is in `wire`, how it travels in `client`, which index may be written in `guard`. It retries nothing
and waits for nothing: delivery does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from vosship.events import Document, Outcome, Verdict
from vosship.plugin import Context, Remark
from vosship.query import Hit, Query, Row, StatsQuery
from vosship_bulk import figures, searching, wire
from vosship_bulk import options as _options
from vosship_bulk.client import CONNECTIONS, Client, Engine, connect, refuse
from vosship_bulk.examination import examine
from vosship_bulk.guard import Guard
from vosship_bulk.installation import Installation, Step
from vosship_bulk.moving import remove_elsewhere
from vosship_bulk.packing import arranged
from vosship_bulk.templates import lifecycle, mapping, templates


class _Bulk:
    """What both outputs share. Connects when it is first used; requests block threads of its own."""

    engine: ClassVar[Engine]
    Options = _options.Options

    def __init__(self, options: _options.Options, context: Context) -> None:
        _options.check(options)
        self._access: _options.Access | _options.ClosedError
        try:
            self._access = _options.access(options, context.base_dir)
        except _options.ClosedError as error:  # whoever only asks for the account of the lines needs no server
            error.path = f"outputs.{context.name}.{error.path}"
            self._access = error
        self._options = options
        self._context = context
        self._mapping = mapping(context.schema, engine=self.engine, source=options.source)
        others = (source for source in _options.SOURCES if source != options.source)
        self._others = [mapping(context.schema, engine=self.engine, source=source) for source in others]
        self._shape = arranged if options.source == "packed" else bytes
        self._arrays = frozenset(field.name for field in context.schema if field.array)
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._guard: Guard | None = None

    async def open(self) -> None:
        """The first batch connects, so that a cluster that is down does not keep the agent from starting. Raises ConfigError when
        a file may not be read."""
        self._accessible()

    async def close(self) -> None:
        """Drop connections; a request on its way is left to end in its own thread."""
        threads, client = self._threads, self._client
        self._threads = self._client = self._guard = None
        if threads:
            threads.shutdown(wait=False, cancel_futures=True)
        if client:
            client.close()

    async def send(self, batch: Sequence[Document]) -> Sequence[Outcome]:
        """One `_bulk` request with operation `create`; a document that is there already is DUPLICATE."""
        return await self._in_thread(batch, "create")

    async def overwrite(self, batch: Sequence[Document]) -> Sequence[Outcome]:
        """Replace what is there, also where it lies in a neighbouring day's index: a zone that was mended moves calls."""
        return await self._in_thread(batch, "index")

    async def _in_thread(self, batch: Sequence[Document], action: wire.Action) -> Sequence[Outcome]:
        if not batch:
            return ()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix=f"vosship-{self._context.name}")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, batch, action)

    def _send(self, batch: Sequence[Document], action: wire.Action) -> Sequence[Outcome]:
        guard = self._guarded()
        blocked = guard.blocked({document.index for document in batch})
        if not blocked:
            return self._attempt(guard, batch, action)
        free = [document for document in batch if document.index not in blocked]
        answers = iter(self._attempt(guard, free, action) if free else ())
        return [blocked.get(document.index) or next(answers) for document in batch]

    def _attempt(self, guard: Guard, batch: Sequence[Document], action: wire.Action) -> Sequence[Outcome]:
        body, headers = wire.encode(wire.render(batch, action, self._shape), self._options.compression_level)
        answer = self._connected().call("POST", wire.PATH, body, headers)
        if answer.status != 200:
            raise refuse(answer, "sending")
        outcomes = wire.judge(answer, len(batch))
        for document, outcome in zip(batch, outcomes, strict=True):
            if outcome.verdict is Verdict.RETRY and outcome.reason == "index_missing":
                guard.forget(document.index)
        if action == "index":
            stored = [document for document, outcome in zip(batch, outcomes, strict=True) if outcome.verdict is Verdict.STORED]
            remove_elsewhere(self._connected(), stored)
        return outcomes

    def _accessible(self) -> _options.Access:
        if isinstance(self._access, _options.ClosedError):
            raise self._access
        return self._access

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = connect(self.engine, self._accessible())
            return self._client

    def _guarded(self) -> Guard:
        """The guard; at the first contact of a run what is missing is installed, if that is wanted."""
        client = self._connected()
        with self._lock:
            if self._guard is None:
                if self._options.setup == "auto":
                    for step in self._installation(client).install(overwrite=False):
                        self._tell(step)
                self._guard = Guard(client, self._mapping, self._context.log, others=self._others)
            return self._guard

    def _tell(self, step: Step) -> None:
        log = self._context.log
        if step.done == "left alone":
            log.warning("template differs, run `vosship setup`", extra={"what": step.what, "differences": step.detail})
        else:
            log.log(
                logging.INFO if step.done in ("installed", "brought up to date") else logging.DEBUG,
                "set up",
                extra={"what": step.what, "done": step.done},
            )

    def _installation(self, client: Client) -> Installation:
        return Installation(self.engine, client, self._context.schema, self._options)

    def search(self, query: Query) -> Iterator[Hit]:
        """Hits newest first; works without `open`, beside an agent that writes. Raises UnavailableError."""
        return searching.search(self.engine, self._connected(), query, self._context.log, self._arrays)

    def stats(self, query: StatsQuery) -> list[Row]:
        """The figures, a line for each key; works without `open`. Raises UnavailableError."""
        return figures.stats(self.engine, self._connected(), query, self._context.log)

    def artefacts(self) -> Mapping[str, Any]:
        """Templates and lifecycle policy as a server with every feature gets them, and dashboards if they are to go anywhere."""
        made: dict[str, Any] = {
            **templates(self._context.schema, self._options, engine=self.engine, lifecycle=self.engine == "elasticsearch"),
            "lifecycle-ilm" if self.engine == "elasticsearch" else "lifecycle-ism": lifecycle(self.engine, self._options),
        }
        if self._options.dashboards_url:
            from vosship_bulk.dashboards import objects

            made["dashboards"] = list(objects(self._context.schema))
        return made

    def setup(self) -> Iterator[str]:
        """Install or bring up to date; existing indices keep their settings. Raises UnavailableError when it cannot."""
        for step in self._installation(self._connected()).install(overwrite=True):
            yield str(step)
        if self._options.dashboards_url:
            from vosship_bulk.dashboards import ndjson
            from vosship_bulk.dashboards.importing import import_objects

            yield import_objects(self.engine, self._options.dashboards_url, self._accessible(), ndjson(self._context.schema))

    def check(self) -> Iterator[Remark]:
        """Reachable, what it is, its health and disk, template and lifecycle; changes nothing."""
        yield from examine(self.engine, self._connected, self._installation, self._accessible())


class Elasticsearch(_Bulk):
    """Day indices on Elasticsearch 8 or 9."""

    engine = "elasticsearch"
    Options = _options.Options


class OpenSearch(_Bulk):
    """Day indices on OpenSearch 2 or 3."""

    engine = "opensearch"
    Options = _options.Options
