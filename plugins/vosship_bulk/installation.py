"""Templates and lifecycle on a cluster: installed, compared, reported.

It sends no document. What the bodies are is `templates`' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from vosship.errors import HaltedError
from vosship.plugin import Remark
from vosship.schema import Schema
from vosship_bulk.client import DISGUISED, Answer, Client, Engine, identify, refuse, said
from vosship_bulk.options import Options
from vosship_bulk.packing import too_old
from vosship_bulk.templates import POLICY, lifecycle, templates

SAMPLE_DAY = "2000.01.01"
"""The day of an index that `check` asks the server to imagine."""


class Step(msgspec.Struct, frozen=True):
    """What became of one thing to install. `left alone`: it differs and was not to be overwritten; `absent`: not to be had."""

    what: str
    done: Literal["installed", "brought up to date", "unchanged", "left alone", "absent"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.done}{', ' + self.detail if self.detail else ''}"


class Installation:
    """What one output needs on its cluster. Asks the server each time; repeating changes nothing."""

    def __init__(self, engine: Engine, client: Client, schema: Schema, options: Options) -> None:
        self._engine = engine
        self._client = client
        self._schema = schema
        self._options = options
        self._policy_path = f"/_ilm/policy/{POLICY}" if engine == "elasticsearch" else f"/_plugins/_ism/policies/{POLICY}"

    def install(self, *, overwrite: bool) -> Iterator[Step]:
        """Put what is missing, and with `overwrite` what differs, step by step. Raises HaltedError when refused, or when the
        server is of the other kind."""
        found, number = self._identity()
        if found not in ("", self._engine) and number != DISGUISED:
            raise HaltedError(f"this is {found} {number}, not {self._engine}", hint=f"use `type: {found}` for this output")
        if reason := self._too_old():
            raise HaltedError(reason, hint="set `source: stored`, or bring the server up to date")
        answer = self._client.call("GET", self._policy_path)
        able = _has_lifecycle(answer)
        if able:
            yield self._install_policy(answer, overwrite=overwrite)
        else:
            yield Step(f"lifecycle policy {POLICY}", "absent", self._lacks(answer))
        for name, body in self._templates(able):
            yield self._install_template(name, body, overwrite=overwrite, closed=answer.status == 403)

    def compare(self) -> Iterator[Remark]:
        """Template and lifecycle as `check` reports them; changes nothing."""
        if reason := self._too_old():
            yield Remark("bad", reason, hint="set `source: stored`, or bring the server up to date")
        answer = self._client.call("GET", self._policy_path)
        able = _has_lifecycle(answer)
        if not able:
            yield Remark("warn", self._lacks(answer))
        elif answer.status == 404:
            yield self._missing(f"lifecycle policy {POLICY}", "warn")
        else:
            yield self._remark(f"lifecycle policy {POLICY}", self._policy_differences(answer))
        for name, body in self._templates(able):
            present = self._template(name)
            if present is None:
                yield self._missing(f"index template {name}", "bad")
            else:
                body = _with_lifecycle_of(present, body) if answer.status == 403 else body
                found = differences(_normal(body), _normal(present))
                yield (None if found else self._outranked(name, body)) or self._remark(f"index template {name}", found)

    def _missing(self, what: str, level: Literal["warn", "bad"]) -> Remark:
        """Nothing is wrong before a run that installs it; one under way does not (see `guard`), and `check` cannot tell."""
        if self._options.setup == "auto":
            hint = "if an agent is running, it was removed since: run `vosship setup`"
            return Remark("warn", f"the {what} is missing; `vosship run` installs it when it begins", hint)
        return Remark(level, f"the {what} is missing, and with `setup: manual` no run installs it", "run `vosship setup`")

    def _too_old(self) -> str:
        if self._options.source != "packed":
            return ""
        found, number = self._identity()
        return too_old(self._engine, number) if found == self._engine else ""

    def _identity(self) -> tuple[str, str]:
        """Which engine this is, and its version; empty where this distribution or this user may not be asked."""
        answer = self._client.call("GET", "/")
        return identify(answer) if answer.status == 200 else ("", "")

    def _outranked(self, name: str, body: Mapping[str, Any]) -> Remark | None:
        """Said where a new day would be made by somebody else's template of a higher priority: it would have another mapping."""
        for pattern in body["index_patterns"]:
            answer = self._client.call("POST", f"/_index_template/_simulate_index/{pattern.replace('*', SAMPLE_DAY)}")
            if answer.status != 200:
                return None  # a user who may not ask; the guard of the first document of a day looks again
            made = answer.json().get("template", {}).get("mappings", {}).get("_meta", {}).get("vosship")
            if made != body["template"]["mappings"]["_meta"]["vosship"]:
                return Remark(
                    "bad",
                    f"another index template goes before {name} for {pattern}: the next new index would not be vosship's",
                    hint=f"GET _index_template shows it; give it other patterns or a priority below {body['priority']}",
                )
        return None

    def _templates(self, able: bool) -> Iterable[tuple[str, dict[str, Any]]]:
        lifecycle = able and self._engine == "elasticsearch"
        return templates(self._schema, self._options, engine=self._engine, lifecycle=lifecycle).items()

    def _lacks(self, answer: Answer) -> str:
        feature = "index lifecycle management (ILM)" if self._engine == "elasticsearch" else "index state management (ISM)"
        if answer.status == 403:
            return f"the user may not use {feature}: what somebody else has set up there stays"
        return f"the server has no {feature}: days are kept until somebody deletes them"

    @staticmethod
    def _remark(what: str, found: list[str]) -> Remark:
        if not found:
            return Remark("good", f"{what} is current")
        return Remark("bad", f"{what} on the server differs: {'; '.join(found[:5])}", hint="run `vosship setup`")

    def _template(self, name: str) -> Mapping[str, Any] | None:
        answer = self._client.call("GET", f"/_index_template/{name}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refuse(answer, f"looking for the template {name}")
        try:
            found: Mapping[str, Any] = answer.json()["index_templates"][0]["index_template"]
        except (KeyError, IndexError, TypeError) as error:
            raise answer.strange() from error
        return found

    def _install_template(self, name: str, body: dict[str, Any], *, overwrite: bool, closed: bool) -> Step:
        what = f"index template {name}"
        present = self._template(name)
        if present is not None:
            body = _with_lifecycle_of(present, body) if closed else body
            found = differences(_normal(body), _normal(present))
            if not found:
                return Step(what, "unchanged")
            if not overwrite:
                return Step(what, "left alone", "; ".join(found[:5]))
        answer = self._client.call("PUT", f"/_index_template/{name}", msgspec.json.encode(body))
        if answer.status != 200:
            raise _refused(answer, f"installing the template {name}")
        return Step(what, "installed" if present is None else "brought up to date")

    def _policy_differences(self, answer: Answer) -> list[str]:
        found = answer.json()
        theirs = found.get(POLICY, found).get("policy", {})
        ours = lifecycle(self._engine, self._options)["policy"]
        return differences(ours, _alike(theirs, ours), below="policy")

    def _install_policy(self, answer: Answer, *, overwrite: bool) -> Step:
        what = f"lifecycle policy {POLICY}"
        path = self._policy_path
        if answer.status == 200:
            found = self._policy_differences(answer)
            if not found:
                return Step(what, "unchanged")
            if not overwrite:
                return Step(what, "left alone", "; ".join(found[:5]))
            if self._engine == "opensearch":  # its policies are versioned documents: an update names the version it saw
                seen = answer.json()
                path += f"?if_seq_no={seen['_seq_no']}&if_primary_term={seen['_primary_term']}"
        put = self._client.call("PUT", path, msgspec.json.encode(lifecycle(self._engine, self._options)))
        if put.status not in (200, 201):
            raise _refused(put, f"installing the lifecycle policy {POLICY}")
        return Step(what, "brought up to date" if answer.status == 200 else "installed")


def _with_lifecycle_of(present: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The template for a user who may not look at lifecycles: the policy that it names there is not ours to remove."""
    named = present.get("template", {}).get("settings", {}).get("index", {}).get("lifecycle")
    if not named:
        return body
    template = body["template"]
    settings = {"index": {**template["settings"]["index"], "lifecycle": named}}
    return {**body, "template": {**template, "settings": settings}}


def _has_lifecycle(answer: Answer) -> bool:
    """A server with the feature knows the policy (200) or misses it (404); one without has no handler, and says so.

    A user without the rights to look (403) may still send: for that user the feature is not there.
    """
    if answer.status in (200, 400, 403, 404, 405):
        return answer.status in (200, 404) and "no handler" not in said(answer)
    raise refuse(answer, "looking for the lifecycle policy")


def _refused(answer: Answer, where: str) -> Exception:
    if answer.status == 400:
        return HaltedError(
            f"{answer.where}, {where}: the server refuses it: {said(answer)}", hint="`vosship setup --print` shows the body"
        )
    return refuse(answer, where)


def differences(ours: Any, theirs: Any, below: str = "") -> list[str]:
    """Where two bodies differ, each as a short phrase."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        found = []
        for key in sorted({*ours, *theirs}):
            path = f"{below}.{key}" if below else str(key)
            if key not in theirs:
                found.append(f"{path} is missing")
            elif key not in ours:
                found.append(f"{path} is not ours")
            else:
                found += differences(ours[key], theirs[key], path)
        return found
    return [] if ours == theirs else [f"{below} is {_short(theirs)}, ours {_short(ours)}"]


def _short(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:80]


def _normal(body: Mapping[str, Any]) -> dict[str, Any]:
    """A template as the servers give it back: settings are nested strings, mapping flags may come back as words."""
    template = body.get("template", {})
    return {
        "index_patterns": sorted(body.get("index_patterns", ())),
        "priority": body.get("priority"),
        "settings": _words(template.get("settings", {})),
        "mappings": _words(template.get("mappings", {})),
    }


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        nested: dict[str, Any] = {}
        for key, item in value.items():
            nested[key] = _words(item)
        return nested
    if isinstance(value, list):
        return [_words(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _alike(theirs: Any, ours: Any) -> Any:
    """Their body without what servers add to a policy (versions, times, retry defaults), so that only changes remain."""
    added = {"retry", "policy_id", "last_updated_time", "schema_version", "error_notification", "delete_searchable_snapshot"}
    if isinstance(theirs, Mapping):
        mine = ours if isinstance(ours, Mapping) else {}
        return {key: _alike(item, mine.get(key)) for key, item in theirs.items() if key in mine or key not in added}
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [_alike(item, mine) for item, mine in zip(theirs, ours, strict=True)]
    return theirs
