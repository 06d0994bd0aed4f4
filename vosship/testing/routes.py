"""What the fake cluster answers to everything but `_bulk`: the small part of both engines' APIs that an output needs.

It keeps nothing: all state is the cluster's.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vosship.testing.cluster import Cluster

Json = dict[str, Any]
Reply = tuple[int, Json | list[Any]]


def refusal(kind: str, reason: str) -> Json:
    """The body of an error, as both engines write it."""
    return {"error": {"type": kind, "reason": reason}}


def route(cluster: Cluster, method: str, path: str, body: Json) -> Reply:
    """The reply to one request. Called with the cluster's lock held."""
    parts = [part for part in path.split("/") if part]
    policies = ["_ilm", "policy"] if cluster.engine == "elasticsearch" else ["_plugins", "_ism", "policies"]
    if not parts:
        return _greeting(cluster)
    if parts[:2] == ["_cluster", "health"]:
        return 200, {"cluster_name": "fake", "status": "green", "number_of_data_nodes": 1}
    if parts[:2] == ["_cat", "allocation"]:
        return 200, [{"node": "fake", "disk.percent": "12"}]
    if parts[0] == "_index_template" and len(parts) == 2:
        return _template(cluster, method, parts[1], body)
    if parts[:-1] == policies and cluster.lifecycle == "closed":
        return 403, refusal("security_exception", "action [cluster:admin/ilm/get] is unauthorized for user [ship]")
    if parts[:-1] == policies and cluster.lifecycle:
        return _policy(cluster, method, parts[-1], body)
    if parts[0].startswith("_"):
        return 400, {"error": f"no handler found for uri [{path}] and method [{method}]"}
    return _index(cluster, method, parts[0], "/".join(parts[1:]), body)


def _greeting(cluster: Cluster) -> Reply:
    version: Json = {"number": cluster.version}
    if cluster.engine == "opensearch":
        version["distribution"] = "opensearch"
    return 200, {"name": "fake", "cluster_name": "fake", "version": version}


def _template(cluster: Cluster, method: str, name: str, body: Json) -> Reply:
    if method == "PUT":
        cluster.templates[name] = body
        return 200, {"acknowledged": True}
    found = [key for key in cluster.templates if fnmatch.fnmatch(key, name)]
    if not found:
        return 404, refusal("resource_not_found_exception", f"index template matching [{name}] not found")
    if method == "DELETE":
        for key in found:
            del cluster.templates[key]
        return 200, {"acknowledged": True}
    return 200, {"index_templates": [{"name": key, "index_template": cluster.templates[key]} for key in found]}


def _policy(cluster: Cluster, method: str, name: str, body: Json) -> Reply:
    """ILM overwrites; ISM keeps versions and refuses an update that does not name the one it saw (not imitated: the query)."""
    present = cluster.policies.get(name)
    if method == "PUT":
        cluster.policies[name] = {"version": present["version"] + 1 if present else 1, "policy": body["policy"]}
        return (200 if present or cluster.engine == "elasticsearch" else 201), {"acknowledged": True}
    if present is None:
        return 404, refusal("resource_not_found_exception", f"Lifecycle policy not found: {name}")
    if cluster.engine == "elasticsearch":
        return 200, {name: {**present, "modified_date": "2026-04-26T00:00:00.000Z"}}
    version: int = present["version"]
    return 200, {"_id": name, "_version": version, "_seq_no": version, "_primary_term": 1, "policy": present["policy"]}


def _index(cluster: Cluster, method: str, pattern: str, below: str, body: Json) -> Reply:
    if method == "PUT" and not below:
        return _create(cluster, pattern)
    names = [name for name in cluster.indices if any(fnmatch.fnmatch(name, part) for part in pattern.split(","))]
    if not names and "*" not in pattern:
        return 404, {**refusal("index_not_found_exception", f"no such index [{pattern}]"), "status": 404}
    if below == "_count":
        return 200, {"count": sum(len(cluster.indices[name].documents) for name in names)}
    if below == "_mapping" and method == "GET":
        return 200, {name: {"mappings": cluster.indices[name].mappings} for name in names}
    if method == "DELETE" and not below:
        for name in names:
            del cluster.indices[name]
    for name in names:
        if refused := _change(cluster, name, below, body):
            return refused
    return 200, {"acknowledged": True}


def _create(cluster: Cluster, name: str) -> Reply:
    if name in cluster.indices:
        return 400, refusal("resource_already_exists_exception", f"index [{name}] already exists")
    made = cluster.create(name)
    return made if isinstance(made, tuple) else (200, {"acknowledged": True, "index": name})


def _change(cluster: Cluster, name: str, below: str, body: Json) -> Reply | None:
    """Carry out `_mapping`, `_settings`, `_close`, `_open` on one index; the refusal, if any."""
    index = cluster.indices.get(name)
    if index is None:
        return None
    if below == "_mapping":
        added = index.mappings | body
        added["properties"] = merged(index.mappings.get("properties", {}), body.get("properties", {}))
        index.mappings = added
    elif below == "_settings":
        index.block = "FORBIDDEN/8/index write (api)" if body.get("index.blocks.write") else ""
    elif below in ("_close", "_open"):
        index.closed = below == "_close"
    elif below not in ("", "_refresh"):
        return 400, {"error": f"no handler found for uri [/{name}/{below}]"}
    return None


def merged(old: Json, new: Json) -> Json:
    """Properties of a mapping with further ones added, at every depth."""
    both = dict(old)
    for key, value in new.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both
