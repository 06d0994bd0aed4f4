"""Counts calls by key on a cluster, exactly; the figures themselves are defined in `vosship.query`.

It finds no single call.

Counts and sums come from a composite aggregation, page by page, which leaves out nothing. Percentiles come from the fixed
buckets of `query.PDD_EDGES` as ranges, and below each the keys that have calls there: one pass over the calls, and an answer
as large as what is not empty. Where that is more than a server gives at once they come value by value, an hour at a time.
No script is used: not every distribution has them.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vosship.errors import FatalError, TooLargeError
from vosship.query import (
    KEYS,
    NER_SUCCESS,
    PDD_EDGES,
    SPAN_MS,
    TIME_COLUMNS,
    Query,
    Row,
    StatsQuery,
    Tally,
    pdd_bucket,
    rows,
    span_key,
)
from vosship_bulk.client import Client, Engine
from vosship_bulk.conditions import ANSWERED, condition
from vosship_bulk.searching import Session

PAGE_KEYS = 2_000
"""Keys a page. Chosen: with seven inner buckets each a quarter of the 65,535 that a server gives at once (`search.max_buckets`)."""

TERMS = 50_000
"""Most keys below a range of delays. Chosen: below `search.max_buckets`; whether it was enough is seen in the answer."""

PIECE_MS = 86_400_000
"""Window of one request. Chosen: a day, so that a request's time does not grow with the window."""

HOUR_MS = 3_600_000
"""Window of one request where delays are counted value by value. Chosen: every page looks at all its calls again."""

PAGE_DELAYS = 10_000
"""Delays a page. Chosen: a sixth of `search.max_buckets`, 1 MB of answer."""

_PDD: tuple[str, ...] = ("callerPdd", "calleePdd")
_NONE = "none"
"""Name of the bucket of calls without the field."""


def stats(engine: Engine, client: Client, query: StatsQuery, log: logging.Logger) -> list[Row]:
    """The figures in the order of `query.rows`, all of one point in time. Raises UnavailableError."""
    with Session(engine, client, query.calls, log) as session:
        counting = _Counting(session, query)
        if not session.empty:
            for piece in counting.pieces():
                counting.count(piece)
                counting.delays(piece)
        return rows(counting.tallies)


class _Counting:
    """One `stats` under way: the tallies by key, and the way from the cluster's raw keys to them."""

    def __init__(self, session: Session, query: StatsQuery) -> None:
        self.tallies: dict[tuple[str, ...], Tally] = {}
        self._session = session
        self._calls = query.calls
        # A span beside another key has too many buckets as ranges: the attempt alone took 7 s of 200,000 calls (measured 2026-11).
        self._many = len(query.by) > 1 and not all(KEYS[word] for word in query.by)
        self._by = query.by
        self._time = TIME_COLUMNS[query.calls.time]
        self._zone = ZoneInfo(query.timezone)
        self._sizes: dict[int, int] = {}  # what a page may hold instead, once that is known

    def pieces(self) -> Iterator[Query]:
        """The days of the window (of UTC, whose days these are does not matter) that have calls."""
        calls = self._calls
        days = {"field": self._time, "fixed_interval": f"{PIECE_MS}ms", "min_doc_count": 1}
        for day in self._ask(calls, {"days": {"date_histogram": days}}, [])["days"]["buckets"]:
            start = day["key"]
            yield msgspec.structs.replace(calls, from_ms=max(start, calls.from_ms), to_ms=min(start + PIECE_MS, calls.to_ms))

    def count(self, calls: Query) -> None:
        """Add everything but delays."""
        for keys, bucket in self._paged(calls, PAGE_KEYS, _COUNTS):
            self._enter(self._tally(keys), bucket)

    def delays(self, calls: Query) -> None:
        """Add the buckets that percentiles are read from: as ranges in one pass, or where there are too many, by value."""
        if not self._many:
            try:
                self._in_ranges(calls)
            except TooLargeError:
                self._many = True
        if self._many:
            for start in range(calls.from_ms, calls.to_ms, HOUR_MS):
                hour = msgspec.structs.replace(calls, from_ms=start, to_ms=min(start + HOUR_MS, calls.to_ms))
                for name in _PDD:
                    for (*keys, ms), bucket in self._paged(hour, PAGE_DELAYS, {}, name):
                        self._add(name, keys, pdd_bucket(ms), bucket["doc_count"])

    def _in_ranges(self, calls: Query) -> None:
        """Raises TooLargeError, with nothing added, when the answer would be too large."""
        edges = [{"from": low, "to": high} for low, high in itertools.pairwise(PDD_EDGES)]
        ranges = [{"to": PDD_EDGES[0]}, *edges, {"from": PDD_EDGES[-1]}]
        asked = {name: {"range": {"field": name, "ranges": ranges}, "aggs": self._nested(0)} for name in _PDD}
        found = self._ask(calls, asked, [ANSWERED])
        entries = [
            (name, keys, pdd_bucket(int(each.get("from", 0))), calls_there)
            for name in _PDD
            for each in found[name]["buckets"]
            if each["doc_count"]
            for keys, calls_there in self._flat(each, 0)
        ]
        for entry in entries:
            self._add(*entry)

    def _add(self, name: str, keys: list[Any], bucket: int, calls: int) -> None:
        tally = self._tally(keys)
        (tally.caller_pdd if name == "callerPdd" else tally.callee_pdd)[bucket] += calls

    def _paged(
        self, calls: Query, size: int, inner: Mapping[str, Any], delay: str = ""
    ) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Raw keys, and with `delay` its value behind them, each with its bucket; with `delay` of answered calls only."""
        sources = [{word: self._source(word)} for word in self._by]
        if delay:
            sources.append({delay: {"terms": {"field": delay}}})
        composite: dict[str, Any] = {"size": self._sizes.get(size, size), "sources": sources}
        while True:
            try:
                found = self._ask(calls, {"keys": {"composite": composite, **_inside(inner)}}, [ANSWERED] if delay else [])["keys"]
            except TooLargeError:
                if composite["size"] == 1:
                    raise
                self._sizes[size] = composite["size"] = composite["size"] // 2
                continue
            for bucket in found["buckets"]:
                yield list(bucket["key"].values()), bucket
            if len(found["buckets"]) < composite["size"]:
                return
            composite["after"] = found["after_key"]

    def _ask(self, calls: Query, aggregations: Mapping[str, Any], more: list[dict[str, Any]]) -> dict[str, Any]:
        where = {"bool": {"filter": [condition(calls), *more]}}
        page = self._session.ask({"query": where, "size": 0, "aggs": aggregations})
        answer: dict[str, Any] = msgspec.json.decode(page.aggregations)
        return answer

    def _source(self, word: str) -> dict[str, Any]:
        if not KEYS[word]:
            return {"date_histogram": {"field": self._time, "fixed_interval": f"{SPAN_MS}ms"}}
        return {"terms": {"field": KEYS[word], "missing_bucket": True}}

    def _nested(self, depth: int) -> dict[str, Any]:
        """Buckets of the key at that depth, with those of the next inside."""
        if depth == len(self._by):
            return {}
        inner = self._nested(depth + 1)
        word = self._by[depth]
        if not KEYS[word]:
            spans = {"field": self._time, "fixed_interval": f"{SPAN_MS}ms", "min_doc_count": 1}
            return {"keys": {"date_histogram": spans, **_inside(inner)}}
        field = {"field": KEYS[word]}
        return {"keys": {"terms": {**field, "size": TERMS}, **_inside(inner)}, _NONE: {"missing": field, **_inside(inner)}}

    def _flat(self, bucket: Mapping[str, Any], depth: int) -> Iterator[tuple[list[Any], int]]:
        """Raw keys and calls of every innermost bucket. Raises TooLargeError when not all keys were given."""
        if depth == len(self._by):
            yield [], bucket["doc_count"]
            return
        keys = bucket["keys"]
        if keys.get("sum_other_doc_count") or keys.get("doc_count_error_upper_bound"):
            raise TooLargeError("more keys than the cluster gives at once")
        for each in keys["buckets"]:
            raw = each["key_as_string"] if self._by[depth] == "ip" and "key_as_string" in each else each["key"]
            for rest, calls in self._flat(each, depth + 1):
                yield [raw, *rest], calls
        without = bucket.get(_NONE)
        if without and without["doc_count"]:
            for rest, calls in self._flat(without, depth + 1):
                yield [None, *rest], calls

    def _enter(self, tally: Tally, bucket: Mapping[str, Any]) -> None:
        answered = bucket["answered"]
        illegal, calls = bucket["illegal"]["doc_count"], answered["doc_count"]
        tally.illegal += illegal
        tally.attempts += bucket["doc_count"] - illegal
        tally.answered += calls
        tally.network_success += calls + bucket["success"]["doc_count"]
        tally.hold_ms += int(answered["hold_ms"]["value"])
        sides = Counter({each["key"]: each["doc_count"] for each in answered["sides"]["buckets"]})
        sides[""] += answered[_NONE]["doc_count"]
        if sides.total() != calls:
            raise FatalError("more values of `end.by` than there are sides", hint="see the index's documents")
        tally.hangups.update(+sides)

    def _tally(self, raw: list[Any]) -> Tally:
        words = []
        for word, value in zip(self._by, raw, strict=True):
            if not KEYS[word]:
                words.append(span_key(word, value, self._zone))
            else:
                words.append("" if value is None else str(value))
        return self.tallies.setdefault(tuple(words), Tally())


def _inside(inner: Mapping[str, Any]) -> dict[str, Any]:
    return {"aggs": inner} if inner else {}


_LEGAL_FAILURE = [{"term": {"billingMode": {"value": -1}}}, ANSWERED]
_COUNTS: dict[str, Any] = {
    "answered": {
        "filter": ANSWERED,
        "aggs": {
            "hold_ms": {"sum": {"field": "holdTime"}},
            "sides": {"terms": {"field": "end.by", "size": 10}},
            _NONE: {"missing": {"field": "end.by"}},
        },
    },
    "illegal": {"filter": {"bool": {"filter": [{"term": {"billingMode": {"value": -1}}}], "must_not": [ANSWERED]}}},
    "success": {"filter": {"bool": {"filter": [{"terms": {"end.code": sorted(NER_SUCCESS)}}], "must_not": _LEGAL_FAILURE}}},
}
