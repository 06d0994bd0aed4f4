"""Finds calls on a cluster, newest first, in one point in time: what arrives meanwhile neither shows nor shifts anything.

What is asked is in `conditions`; counting is in `figures`. It changes nothing on the cluster but makes what was already sent
visible (a refresh), so that a call that is settled is found.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from vosship.errors import FatalError, TooLargeError, UnavailableError
from vosship.query import Hit, Query
from vosship_bulk.client import Answer, Client, Engine, refuse, said
from vosship_bulk.conditions import ORDER, condition, indices

KEEP_ALIVE = "5m"
"""How long a point in time outlives its last use. Chosen: a pager may be left alone for a while."""

PAGE = 2_000
"""Most hits asked for at a time, whatever `page_size` says. Chosen: a page of 10,000 took no less time for all of 200,000 calls,
and a peak of 104 MB instead of 55 (measured 2026-11)."""

LARGEST_PAGE = 10_000
"""`index.max_result_window` of both engines, unless an operator raised it: more is refused."""

SPARE = 32
"""Hits asked for beyond a limit. Chosen: calls of one file, byte and time are one or two, so that one page nearly always does."""

ATTEMPTS = 4
"""Times a page is asked for, half a second, one and two apart, when the cluster is busy or the connection breaks. Chosen: a
page is the same page however often it is asked for, and an export of hours should not fail for a second's pause."""

POINT_DIGITS = 6
"""Decimals of a point that an engine made up from its columns, which keep steps of 8.4e-8 degrees (Lucene, `LatLonDocValuesField`);
databases of addresses have four."""

_POINT = {"lat", "lon"}
_WHOLE = "allow_partial_search_results=false"
_ANY_INDEX = "ignore_unavailable=true&allow_no_indices=true"
_PLACE = 3
"""Sort values that are the place of a call; an engine may add a tie-breaker of its own behind them."""


class _Found(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="_id")
    index: str = msgspec.field(name="_index")
    source: msgspec.Raw = msgspec.field(name="_source")
    sort: list[Any]


class _Hits(msgspec.Struct):
    hits: list[_Found] = []


class _Shards(msgspec.Struct):
    total: int = 0
    failed: int = 0


class _Page(msgspec.Struct):
    hits: _Hits = msgspec.field(default_factory=_Hits)
    shards: _Shards = msgspec.field(name="_shards", default_factory=_Shards)
    timed_out: bool = False
    pit_id: str | None = None
    aggregations: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Page).decode
_source = msgspec.json.Decoder(dict[str, Any]).decode


class Session:
    """One question's view of the cluster. Use it as a context; requests block.

    `empty`: no index can hold an answer. Raises UnavailableError when the cluster does not answer.
    """

    def __init__(
        self,
        engine: Engine,
        client: Client,
        query: Query,
        log: logging.Logger,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine, self._client, self._log, self._sleep = engine, client, log, sleep
        self._indices = quote(indices(query), safe=",*")
        self._pit = ""
        self.empty = False

    def __enter__(self) -> Session:
        self.empty = not self._refresh()
        if not self.empty:
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._pit:
            return
        pit, self._pit = self._pit, ""
        path, body = ("/_pit", {"id": pit}) if self._engine == "elasticsearch" else ("/_search/point_in_time", {"pit_id": [pit]})
        try:
            self._client.call("DELETE", path, msgspec.json.encode(body))
        except UnavailableError as error:
            self._log.debug("point in time left to expire", extra={"reason": str(error)})

    def _refresh(self) -> bool:
        """Make what is settled visible; whether there is an index at all, as far as that is known."""
        answer = self._call("POST", f"/{self._indices}/_refresh?{_ANY_INDEX}")
        if answer.status == 200:
            shards = answer.json().get("_shards")
            if not isinstance(shards, dict):
                raise answer.strange()
            if shards.get("failed"):
                self._log.warning("not every shard could be refreshed, the newest calls may be missing", extra={"shards": shards})
            return bool(shards.get("total"))
        if answer.status == 404:
            if "index_not_found" not in said(answer):  # else a wrong path would answer that there are no calls
                raise _refused(answer)
            return False
        self._log.warning(
            "refreshing was refused, calls of the last `refresh_interval_s` may be missing", extra={"reason": said(answer)}
        )
        return True

    def _open(self) -> None:
        path = "_pit" if self._engine == "elasticsearch" else "_search/point_in_time"
        options = "ignore_unavailable=true" if self._engine == "elasticsearch" else _ANY_INDEX
        answer = self._call("POST", f"/{self._indices}/{path}?keep_alive={KEEP_ALIVE}&{options}")
        if answer.status in (401, 404):
            raise _refused(answer)
        if answer.status == 200:
            content = answer.json()
            self._pit = content.get("id") or content.get("pit_id") or ""
        if not self._pit:
            self._log.warning(
                "a point in time was refused, calls that arrive meanwhile may be in the answer or not",
                extra={"reason": said(answer)},
            )

    def ask(self, body: Mapping[str, Any]) -> _Page:
        """One search, whole or not at all. Raises UnavailableError; an answer that is refused for good says why."""
        body = {**body, "track_total_hits": False}
        if self._pit:
            path, body["pit"] = f"/_search?{_WHOLE}", {"id": self._pit, "keep_alive": KEEP_ALIVE}
        else:
            path = f"/{self._indices}/_search?{_WHOLE}&{_ANY_INDEX}"
        answer = self._call("POST", path, msgspec.json.encode(body))
        if answer.status != 200:
            if "search_context_missing" in str(answer.body):
                raise UnavailableError(
                    f"{answer.where}: the point in time is gone (over {KEEP_ALIVE} between two pages, or a node left)",
                    hint="ask again; `vosship export` goes on with the days it has",
                )
            if b"too_many_buckets" in answer.body or b"too many buckets" in answer.body:
                raise TooLargeError(
                    f"{answer.where}: more buckets than the cluster gives at once", hint="raise `search.max_buckets`"
                )
            raise _refused(answer)
        try:
            page = _decode(answer.body)
        except msgspec.DecodeError as error:
            raise UnavailableError(
                f"{answer.where}: the answer cannot be read: {error}", hint="is there a proxy in between?"
            ) from error
        if page.timed_out or page.shards.failed:
            raise UnavailableError(f"{answer.where}: {page.shards.failed} shards gave no answer", hint="see the cluster's own log")
        if page.pit_id and self._pit:
            self._pit = page.pit_id
        return page

    def _call(self, method: str, path: str, body: bytes | None = None) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                answer = self._client.call(method, path, body)
            except UnavailableError:
                if last:
                    raise
            else:
                if last or answer.status not in (429, 502, 503, 504):
                    return answer
            self._sleep(0.25 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _refused(answer: Answer) -> UnavailableError:
    error = refuse(answer, "searching")
    if answer.status == 403:
        error.hint = "the user needs `read` and `maintenance` on vos3000-*"
    return error


def search(engine: Engine, client: Client, query: Query, log: logging.Logger, arrays: Collection[str] = ()) -> Iterator[Hit]:
    """Hits in the order of `query.sort_key`, at most `query.limit`; a page at a time is held. Raises UnavailableError.

    `arrays` names the fields that are arrays even of one value.
    """
    left = query.limit
    with Session(engine, client, query, log) as session:
        if session.empty or left == 0:
            return
        for hit in _ordered(session, query, arrays):
            yield hit
            if left is not None:
                left -= 1
                if not left:
                    return


def _ordered(session: Session, query: Query, arrays: Collection[str]) -> Iterator[Hit]:
    """Page by page. Calls of one place are ordered by id here; those that a page's end may cut in two come with the next."""
    size = full_size = min(query.page_size, PAGE)
    if query.limit is not None:
        size = min(size, query.limit + SPARE)
    wanted = {"query": condition(query), "sort": ORDER}
    after: list[Any] = []
    while True:
        page = session.ask({**wanted, "size": size, **({"search_after": after} if after else {})}).hits.hits
        end = len(page)
        if end == size:
            place = page[-1].sort[:_PLACE]
            while end and page[end - 1].sort[:_PLACE] == place:
                end -= 1
            if not end:
                if size == LARGEST_PAGE:
                    raise FatalError(
                        f"{size} documents share the place {place}", hint="`vosship search --switch` tells switches apart"
                    )
                size = full_size = min(2 * size, LARGEST_PAGE)
                continue
            after = page[end - 1].sort
        yield from _hits(page, end, arrays)
        if len(page) < size:
            return
        size = full_size


def _hits(page: list[_Found], end: int, arrays: Collection[str]) -> Iterator[Hit]:
    start = 0
    while start < end:
        place = page[start].sort[:_PLACE]
        stop = start + 1
        while stop < end and page[stop].sort[:_PLACE] == place:
            stop += 1
        same = page[start:stop]
        if len(same) > 1:
            same.sort(key=lambda found: (found.id, found.index))
        for found in same:
            yield Hit(found.id, found.index, fields_of(found.source, arrays))
        start = stop


def fields_of(source: msgspec.Raw, arrays: Collection[str] = ()) -> dict[str, Any]:
    """A document under its dotted names, also where the engine made it up from its columns: as nested objects, arrays of one
    value as that value."""
    fields = _source(source)
    if any(type(value) is dict for value in fields.values()):
        fields = _flat(fields)
    for name in arrays:
        if type(fields.get(name)) is str:
            fields[name] = [fields[name]]
    return fields


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if type(value) is dict:
            if value.keys() == _POINT:
                found[prefix + name] = f"{round(value['lat'], POINT_DIGITS)},{round(value['lon'], POINT_DIGITS)}"
            else:
                found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found
