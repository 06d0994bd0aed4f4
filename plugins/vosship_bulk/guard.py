"""What must hold of an index before a document goes there: it exists and carries our mapping.

Without a template both engines answer 201 and map `callerIp` as text, silently; so before a day's first document the index
is created by name, while our template is there, and its mapping is looked at. It sends no document and installs no template:
at a run's first contact `output` does.

Rules. A template that is missing at the first contact of a run is installed (`setup: auto`) or asked for (`manual`). One that
disappears later was removed by somebody: the output halts, whatever `setup` says, until `vosship setup` has put it back. An
index of ours that lacks fields gets them added; one whose fields contradict ours, or that is not ours, halts the output.

The hole that remains: an index deleted together with its template while calls arrive is created by the server with a guessed
mapping. It is looked at again every RECHECK_S, and then the output halts and names it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from vosship.errors import HaltedError, UnavailableError
from vosship.events import Outcome, Verdict
from vosship.schema import VERSION
from vosship_bulk.client import Answer, Client, refuse, said
from vosship_bulk.templates import flat_fields, only, source_of, template_of
from vosship_bulk.wire import verdict

RECHECK_S = 60.0
"""Chosen: how long a guessed mapping may go unnoticed, at one small request a minute."""

BLOCKED_S = 30.0
"""Chosen: how long a refusal to create an index is believed before it is tried again."""


class Guard:
    """Remembers which indices were looked at, and when. Safe to use from several threads; one looks, the others wait."""

    def __init__(
        self,
        client: Client,
        mapping: Mapping[str, Any],
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        *,
        others: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """`mapping` is today's; `others` its other forms, which days made before `source` was changed still have."""
        self._client = client
        self._forms = {source_of(form): form for form in (*others, mapping)}
        self._mapping = mapping
        self._log = log
        self._clock = clock
        self._looked_at: dict[str, float] = {}
        self._blocked: dict[str, tuple[float, Outcome]] = {}
        self._lock = threading.Lock()

    def blocked(self, indices: Iterable[str]) -> Mapping[str, Outcome]:
        """Make sure of these indices; gives those that cannot be written, with the outcome of every document meant for them.

        Blocks while it asks the server. Raises HaltedError when the template is missing or a mapping is not ours,
        UnavailableError when the server cannot be asked.
        """
        now = self._clock()
        looked_at = self._looked_at
        if not self._blocked and all(now - looked_at.get(index, -RECHECK_S) < RECHECK_S for index in indices):
            return {}
        with self._lock:
            found: dict[str, Outcome] = {}
            for index in indices:
                if now - looked_at.get(index, -RECHECK_S) < RECHECK_S:
                    continue
                refused_at, outcome = self._blocked.pop(index, (-BLOCKED_S, None))
                if outcome is None or now - refused_at >= BLOCKED_S:
                    refused_at, outcome = now, self._look(index)
                if outcome is None:
                    looked_at[index] = now
                else:
                    self._blocked[index] = (refused_at, outcome)
                    found[index] = outcome
            return found

    def forget(self, index: str) -> None:
        """Look at this index again before the next document: the server said that it is not there."""
        self._looked_at.pop(index, None)

    def _look(self, index: str) -> Outcome | None:
        """None when the index is as it must be, else the outcome of its documents."""
        path = f"/{quote(index)}"
        answer = self._client.call("GET", f"{path}/_mapping")
        if answer.status == 404:
            refused = self._create(index, path)
            if refused is not None:
                return refused
            answer = self._client.call("GET", f"{path}/_mapping")
        if answer.status != 200:
            return self._refused(answer, f"looking at {index}")
        try:
            (mapped,) = [body["mappings"] for body in answer.json().values()]
        except (ValueError, KeyError, TypeError) as error:
            raise UnavailableError(f"the mapping of {index} cannot be read", hint="is it an alias of several indices?") from error
        return self._compare(index, path, mapped)

    def _create(self, index: str, path: str) -> Outcome | None:
        template = template_of(index)
        answer = self._client.call("GET", f"/_index_template/{template}")
        if answer.status == 404:
            raise HaltedError(
                f"the index template {template} is missing: the server would guess the mapping of {index}",
                hint="run `vosship setup`",
            )
        if answer.status != 200:
            raise refuse(answer, f"looking for the template {template}")
        answer = self._client.call("PUT", path, b"{}")
        if answer.status == 200 or "already_exists" in said(answer):
            self._log.info("index created", extra={"index": index})
            return None
        return self._refused(answer, f"creating {index}")

    def _refused(self, answer: Answer, where: str) -> Outcome:
        kind, _, reason = said(answer).partition(": ")
        outcome = verdict(answer.status, kind, reason)
        if outcome.verdict is Verdict.REJECTED and outcome.reason == "index_blocked":
            return outcome
        raise refuse(answer, where)

    def _compare(self, index: str, path: str, mapped: Mapping[str, Any]) -> Outcome | None:
        mark = mapped.get("_meta", {}).get("vosship", {})
        if not mark:
            raise HaltedError(
                f"the index {index} does not carry vosship's mapping: it was made by somebody else, or without the template",
                hint=f"run `vosship setup`, then delete {index} or `vosship reship` its day after moving it away",
            )
        form = self._forms.get(source_of(mapped), self._mapping)
        if mark.get("digest") == form["_meta"]["vosship"]["digest"]:
            return None
        if mark.get("schema") != VERSION:
            raise HaltedError(
                f"the index {index} has version {mark.get('schema')} of the mapping, this vosship writes {VERSION}",
                hint="reindex it, or use the vosship that made it",
            )
        theirs = {name: _essence(body) for name, body in flat_fields(mapped.get("properties", {}))}
        ours = {name: _essence(body) for name, body in flat_fields(form["properties"])}
        differing = sorted(name for name, kind in ours.items() if theirs.get(name, kind) != kind)
        if differing:
            name = differing[0]
            raise HaltedError(
                f"the index {index} maps {name} as {theirs[name]}, not {ours[name]} ({len(differing)} such fields)",
                hint="reindex it with the present template",
            )
        missing = sorted(ours.keys() - theirs.keys())
        if missing:
            self._add(index, path, form, missing)
        return None

    def _add(self, index: str, path: str, form: Mapping[str, Any], missing: list[str]) -> None:
        # Only what is missing: what an older index has may differ in what cannot be changed (whether it has points).
        body = {"_meta": form["_meta"], "properties": only(form["properties"], set(missing))}
        answer = self._client.call("PUT", f"{path}/_mapping", msgspec.json.encode(body))
        if answer.status != 200:
            raise HaltedError(
                f"the index {index} lacks {', '.join(missing[:5])} and refuses them: {said(answer)}", hint="reindex it"
            )
        self._log.info("fields added to an older index", extra={"index": index, "fields": missing})


def _essence(body: Mapping[str, Any]) -> str:
    """What makes two mappings of a field the same for a document: its type, and an alias's target."""
    return f"{body.get('type', 'object')}{' of ' + body['path'] if 'path' in body else ''}"
