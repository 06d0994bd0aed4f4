"""Mapping, index templates and lifecycle policies as plain data, made from the joined schema.

It speaks to no server: `installation` puts these bodies there, `guard` compares indices with them, `generate` prints them.

Only types that both engines have in every distribution are used. `dynamic: strict` everywhere but below `labels`: a field that
the mapping does not know is refused instead of guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from vosship.errors import ConfigError, HaltedError
from vosship.events import Field
from vosship.schema import VERSION, Schema
from vosship_bulk import packing
from vosship_bulk.client import Engine
from vosship_bulk.options import SOURCES, Options, Source

POLICY = "vos3000"
"""Name of the lifecycle policy, the same on both engines."""

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "vos3000-calls": ("vos3000-cdr-*", "vos3000-fwd-*"),
    "vos3000-findings": ("vos3000-findings-*", "vos3000-reconcile-*"),
}
"""Index patterns by template: days, whose names carry their date, and months."""

PRIORITY = 500
"""Chosen: above the built-in templates of both engines (up to 200) and of most users."""

KEYWORD_CHARACTERS = 8191
"""A longer keyword is kept but not indexed: Lucene refuses terms over 32,766 bytes, and a character takes up to four."""

_LABELS = Field(name="labels", type="object", description="Whatever an operator's own tables add; its names are free.")
"""The one place below which new fields are taken."""

ORDERED = frozenset({"extra"})
"""Arrays whose order tells something: columns by position. A source derived from doc values would sort them and leave out repeats,
so they are kept as stored values then, searchable and without aggregations."""

RANGED = frozenset({"holdTime", "billingMode", "end.code"})
"""Whole numbers that vosship's own questions filter by: these have points. All others are found through their doc values, which
takes 11.8 of 318 bytes a call off the index (measured 2026-11-20, docs/decisions.md) and needs OpenSearch 2.14."""

UNRANGED = frozenset({"stopTime", "event.ingested"})
"""Dates without points where the source is derived (4.1 bytes a call, measured likewise): the first equals `@timestamp`, which has
them, and no question is about the second. A stored form keeps them, as OpenSearch before 2.14 cannot ask a date otherwise."""

_PLAIN = {"keyword", "ip", "date", "long", "integer", "double", "boolean", "geo_point"}


def mapping(schema: Schema, *, engine: Engine = "opensearch", source: Source = "stored") -> dict[str, Any]:
    """The mapping of every index, with `_meta.vosship` telling it from any other, and one form of it from the other.

    OpenSearch derives a source only where no field is an alias and no keyword has `ignore_above`: both are left out then.
    """
    derived = source == "derived"
    form = _Form(derived=derived, bare=derived and engine == "opensearch", packed=source == "packed")
    properties: dict[str, Any] = {}
    for field in schema:
        if not (form.bare and field.type == "alias"):
            _place(properties, field, form)
    _place(properties, _LABELS, form)
    label = form.keyword(indexed=True)
    body: dict[str, Any] = {
        "dynamic": "strict",
        "date_detection": False,
        "numeric_detection": False,
        "dynamic_templates": [{"labels": {"path_match": "labels.*", "mapping": label}}],
        "properties": properties,
    }
    mark = {"schema": VERSION, "digest": _digest(body), **({"source": source} if source != "stored" else {})}
    return {"_meta": {"vosship": mark}, **body}


def source_of(mapped: Mapping[str, Any]) -> Source:
    """Which form a mapping of ours has, by its mark."""
    found = mapped.get("_meta", {}).get("vosship", {}).get("source")
    return next((source for source in SOURCES if source == found), "stored")


class _Form(msgspec.Struct, frozen=True):
    """How fields are mapped. `derived`: everything can be read back without `_source`; `bare`: nothing OpenSearch refuses then;
    `packed`: no terms or points that `packing` does without."""

    derived: bool
    bare: bool
    packed: bool

    def keyword(self, *, indexed: bool) -> dict[str, Any]:
        limited = indexed and not self.bare
        return {"type": "keyword", **({"ignore_above": KEYWORD_CHARACTERS} if limited else {})}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="sorted"), digest_size=8).hexdigest()


def _place(properties: dict[str, Any], field: Field, form: _Form) -> None:
    *parents, leaf = field.name.split(".")
    for parent in parents:
        inner = properties.setdefault(parent, {"properties": {}})
        if inner.get("type", "object") != "object":
            raise ConfigError(f"the field {field.name!r} lies below {parent!r}, which is a field itself")
        properties = inner.setdefault("properties", {})
    body = _typed(field, form)
    if "properties" in properties.get(leaf, ()):
        if field.type != "object":
            raise ConfigError(f"the field {field.name!r} has fields below it", hint="rename one of the two")
        body = {**body, **properties[leaf]}
    properties[leaf] = body


def _typed(field: Field, form: _Form) -> dict[str, Any]:
    if field.type == "alias":
        return {"type": "alias", "path": field.path}
    if field.type == "object":
        return {"type": "object", "dynamic": True}
    if field.type not in _PLAIN:
        raise ConfigError(f"the field {field.name!r} has the type {field.type!r}, which not every engine has")
    body: dict[str, Any] = {"type": field.type}
    if field.type == "keyword":
        body = form.keyword(indexed=field.indexed)
    if field.type == "date":
        body["format"] = "strict_date_optional_time||epoch_millis"
    scanned = field.type in ("long", "integer") and field.name not in RANGED
    scanned |= (form.derived and field.name in UNRANGED) or (form.packed and field.name in packing.UNINDEXED)
    if not field.indexed or (scanned and field.doc_values):
        body["index"] = False
    if not field.doc_values or (form.derived and field.name in ORDERED):
        body["doc_values"] = False
        if form.derived:
            body["store"] = True
    return body


def settings(options: Options, template: str, *, engine: Engine, lifecycle: bool, neighbours: Sequence[str] = ()) -> dict[str, Any]:
    """Index settings. `lifecycle`: name Elasticsearch's policy, which a server without the feature refuses. `neighbours`: what
    calls are sorted by before their time.

    What each is worth is in docs/decisions.md, "Index size".
    """
    index: dict[str, Any] = {
        "number_of_shards": options.shards,
        "codec": options.codec,
        "refresh_interval": f"{round(options.refresh_interval_s * 1000)}ms",
        # STORED must mean durable: fsync before the answer, whatever the cluster's default.
        "translog": {"durability": "request"},
        # Newest first is how calls are looked at and exported: neighbours in time then lie in one compressed block.
        "sort": {"field": [*neighbours, "@timestamp"], "order": [*("asc" for _ in neighbours), "desc"]},
    }
    if options.replicas is None:
        index["auto_expand_replicas"] = "0-1"
    else:
        index["number_of_replicas"] = options.replicas
    if options.source == "derived":
        index |= _DERIVED[engine]
    if lifecycle:
        # A day's age counts from the date in its name, so that a backfill does not outlive its retention.
        index["lifecycle"] = {"name": POLICY, **({"parse_origination_date": True} if template == "vos3000-calls" else {})}
    return {"index": index}


_DERIVED: Mapping[Engine, dict[str, Any]] = {
    "opensearch": {"derived_source": {"enabled": True}},
    "elasticsearch": {"mapping": {"source": {"mode": "synthetic"}, "synthetic_source_keep": "arrays"}},
}
"""What makes an engine put a document together from its columns (tried with OpenSearch 3.8.0 and Elasticsearch 8.17.4; an
Elasticsearch without the licence for it keeps the source nevertheless, says its manual of synthetic `_source`)."""


def templates(schema: Schema, options: Options, *, engine: Engine, lifecycle: bool) -> dict[str, dict[str, Any]]:
    """Composable index templates by name."""
    body = mapping(schema, engine=engine, source=options.source)
    declared = {field.name for field in schema}
    neighbours = [name for name in packing.NEIGHBOURS if name in declared] if options.source == "packed" else []
    made = {
        name: settings(options, name, engine=engine, lifecycle=lifecycle, neighbours=neighbours if name == "vos3000-calls" else ())
        for name in PATTERNS
    }
    return {
        name: {
            "index_patterns": list(patterns),
            "priority": PRIORITY,
            "template": {"settings": made[name], "mappings": body},
            "_meta": {"vosship": body["_meta"]["vosship"]},
        }
        for name, patterns in PATTERNS.items()
    }


def template_of(index: str) -> str:
    """The template an index belongs to. Raises HaltedError for a name that none covers."""
    for name, patterns in PATTERNS.items():
        if any(index.startswith(pattern[:-1]) for pattern in patterns):
            return name
    series = ", ".join(pattern[:-2] for patterns in PATTERNS.values() for pattern in patterns)
    raise HaltedError(f"no template covers the index {index!r}", hint=f"an input's `series` must be one of {series}")


def lifecycle(engine: Engine, options: Options) -> dict[str, Any]:
    """The policy's body: ILM for Elasticsearch, ISM for OpenSearch. Without `retention_days` nothing is ever deleted."""
    return _ilm(options) if engine == "elasticsearch" else _ism(options)


def _ilm(options: Options) -> dict[str, Any]:
    phases: dict[str, Any] = {"hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 100}}}}
    if options.warm_after_days:
        actions = {"set_priority": {"priority": 50}, "forcemerge": {"max_num_segments": 1}}
        phases["warm"] = {"min_age": f"{options.warm_after_days}d", "actions": actions}
    if options.retention_days:
        phases["delete"] = {"min_age": f"{options.retention_days}d", "actions": {"delete": {}}}
    return {"policy": {"_meta": {"managed_by": "vosship"}, "phases": phases}}


def _ism(options: Options) -> dict[str, Any]:
    states: list[dict[str, Any]] = [{"name": "hot", "actions": [], "transitions": []}]
    if options.warm_after_days:
        states.append({"name": "warm", "actions": [{"force_merge": {"max_num_segments": 1}}], "transitions": []})
        _transition(states, options.warm_after_days)
    if options.retention_days:
        states.append({"name": "delete", "actions": [{"delete": {}}], "transitions": []})
        _transition(states, options.retention_days)
    patterns = [pattern for patterns in PATTERNS.values() for pattern in patterns]
    return {
        "policy": {
            "description": "vosship: call detail records by day",
            "default_state": "hot",
            "states": states,
            "ism_template": [{"index_patterns": patterns, "priority": PRIORITY}],
        }
    }


def _transition(states: list[dict[str, Any]], days: int) -> None:
    states[-2]["transitions"].append({"state_name": states[-1]["name"], "conditions": {"min_index_age": f"{days}d"}})


def flat_fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every leaf of a mapping under its dotted name."""
    for name, body in properties.items():
        dotted = f"{prefix}{name}"
        if "properties" in body and body.get("type", "object") == "object":
            if body.get("dynamic") in (True, "true"):
                yield dotted, {"type": "object"}
            yield from flat_fields(body["properties"], dotted + ".")
        else:
            yield dotted, body


def only(properties: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """The part of a mapping's properties that holds the leaves of these dotted names."""
    part: dict[str, Any] = {}
    for name, body in properties.items():
        dotted = f"{prefix}{name}"
        if dotted in names:
            part[name] = body
        elif inner := only(body.get("properties", {}), names, dotted + "."):
            part[name] = {"properties": inner}
    return part
