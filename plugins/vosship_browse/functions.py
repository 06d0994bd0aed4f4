"""SQL functions that the panels' queries use beside SQLite's own.

They are pure; those that depend on what is in the store are `days`'.
"""

from __future__ import annotations

import html
import sqlite3
from collections import Counter
from typing import Any, ClassVar
from urllib.parse import quote

from vosship.query import pdd_bucket, percentile


class _Percentile:
    """Read from the same 1 % buckets as `vosship stats`."""

    share: ClassVar[float]

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def step(self, ms: int | None) -> None:
        if ms is not None:
            self._buckets[pdd_bucket(ms)] += 1

    def finalize(self) -> float | None:
        return percentile(self._buckets, self.share)


class P50(_Percentile):
    """The median."""

    share = 0.50


class P95(_Percentile):
    """What 95 of 100 stay within."""

    share = 0.95


def text(value: Any) -> str:
    """A value as HTML text: numbers and names come from callers, and some of these are hostile."""
    return "" if value is None else html.escape(str(value))


def word(value: Any) -> str:
    """HTML of a cell, or title, of words, which stand on the left, and not of figures."""
    return f'<span class="word">{text(value)}</span>'


def link(value: Any, address: str) -> str:
    """HTML of a value that leads somewhere."""
    return f'<a href="{html.escape(address)}">{text(value)}</a>'


def in_url(value: Any) -> str:
    """A value as part of an address."""
    return "" if value is None else quote(str(value), safe="")


def register(db: sqlite3.Connection) -> None:
    """Make them known to a connection."""
    db.create_aggregate("p50", 1, P50)  # type: ignore[arg-type]  # typeshed has `step` take a single int, never NULL
    db.create_aggregate("p95", 1, P95)  # type: ignore[arg-type]  # as above
    db.create_function("word", 1, word, deterministic=True)
    db.create_function("link", 2, link, deterministic=True)
    db.create_function("in_url", 1, in_url, deterministic=True)
