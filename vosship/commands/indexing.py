"""Sends the documents of a report through a configured output, each until its fate is known.

It makes no documents.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vosship.errors import FatalError
from vosship.events import Verdict
from vosship.plugin import Opens

if TYPE_CHECKING:
    from vosship.events import Document

BATCH = 1000
"""Documents a request (chosen: half of what a pipeline sends at a time; these are few)."""

ATTEMPTS, WAIT_S = 5, 1.0
"""Chosen: a busy store is asked again for some seconds; a command that somebody waits for does not insist for ever."""


def send(output: Any, documents: Iterable[Document]) -> Counter[str]:
    """Send all; returns how many were stored, and how many were there already. Raises FatalError where some were not taken."""
    return asyncio.run(_send(output, documents))


async def _send(output: Any, documents: Iterable[Document]) -> Counter[str]:
    counted: Counter[str] = Counter()
    if isinstance(output, Opens):
        await output.open()
    try:
        remaining = iter(documents)
        while batch := list(itertools.islice(remaining, BATCH)):
            counted += await _insist(output, batch)
    finally:
        if isinstance(output, Opens):
            await output.close()
    return counted


async def _insist(output: Any, batch: list[Document]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(WAIT_S)
        again = []
        for document, outcome in zip(batch, await output.send(batch), strict=True):
            if outcome.verdict is Verdict.REJECTED:
                raise FatalError(f"the store refuses a difference: {outcome.reason} {outcome.detail}", hint="vosship setup")
            if outcome.verdict is Verdict.RETRY:
                again.append(document)
            else:
                counted[outcome.verdict.value] += 1
        batch = again
        if not batch:
            return counted
    raise FatalError(f"the store is busy: {len(batch)} differences were not taken", hint="again later; nothing is doubled")
