"""Removes what a call that is written again leaves behind in another day's index.

A document's index is the day of the call's stop in the switch's zone. When the configured zone was wrong and is mended, times
that are written as epoch stay and the day may change, by at most two days; ids do not, so what is left behind has the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from urllib.parse import quote

import msgspec

from vosship.errors import UnavailableError
from vosship.events import Document, Verdict
from vosship_bulk import wire
from vosship_bulk.client import Client, refuse

REACH_DAYS = 2
"""How far a day may move: zones reach from -12 h to +14 h, so that two of them can be 26 h apart."""

IDS = 5_000
"""Ids a question. Chosen: half of what an answer may hold (`index.max_result_window`), as an id may be found in two indices."""


def remove_elsewhere(client: Client, documents: Sequence[Document]) -> None:
    """Remove documents of these ids from the neighbouring days of their indices. Raises UnavailableError."""
    by_index: dict[str, list[str]] = {}
    for document in documents:
        by_index.setdefault(document.index, []).append(document.id)
    for index, names in by_index.items():
        others = ",".join(quote(other) for other in neighbours(index))
        for start in range(0, len(names) if others else 0, IDS):
            found = _find(client, others, names[start : start + IDS])
            if found:
                _remove(client, found)


def neighbours(index: str) -> list[str]:
    """The names of the days around; none for an index that is no day's."""
    series, _, day = index.rpartition("-")
    try:
        middle = date(*map(int, day.split(".")))
    except (ValueError, TypeError):
        return []
    return [f"{series}-{middle + timedelta(days=far):%Y.%m.%d}" for far in range(-REACH_DAYS, REACH_DAYS + 1) if far]


def _find(client: Client, indices: str, names: list[str]) -> list[tuple[str, str]]:
    body = {"size": 2 * len(names), "_source": False, "track_total_hits": False, "query": {"ids": {"values": names}}}
    path = f"/{indices}/_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false"
    answer = client.call("POST", path, msgspec.json.encode(body))
    if answer.status != 200:
        raise refuse(answer, "looking for what was moved")
    try:
        return [(hit["_index"], hit["_id"]) for hit in answer.json()["hits"]["hits"]]
    except (KeyError, TypeError) as error:
        raise answer.strange() from error


def _remove(client: Client, places: list[tuple[str, str]]) -> None:
    body, headers = wire.encode(wire.render_removal(places), -1)
    answer = client.call("POST", wire.PATH, body, headers)
    if answer.status != 200:
        raise refuse(answer, "removing what was moved")
    for (index, name), outcome in zip(places, wire.judge(answer, len(places)), strict=True):
        if outcome.verdict is not Verdict.STORED and outcome.reason != "index_missing":
            raise UnavailableError(
                f"{index}/{name} was moved to another day and cannot be removed there: {outcome.detail}",
                hint="make the index writable; `vosship reship` again",
            )
