"""The `_bulk` request and the judgement of its answer, item by item, by position.

It opens no connection and keeps no state: bytes in, bytes or outcomes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec
from isal import igzip

from vosship.errors import UnavailableError
from vosship.events import DUPLICATE, STORED, Document, Outcome, Verdict
from vosship_bulk.client import SAID_CHARACTERS, Answer, excerpt

Action = Literal["create", "index"]
"""What is asked for a document: `create` leaves one that is there as it is, `index` replaces it."""

PATH = "/_bulk?filter_path=items.*.status,items.*.error"
"""Status and error of each item. Never `error` alone: items that went well would vanish and positions shift."""

_LIFTS_BY_ITSELF = frozenset({"1", "2", "3", "6", "10", "12", "13"})
"""Ids of blocks that are not an old day made read-only (Elasticsearch and OpenSearch, `ClusterBlock` constants): the cluster
is starting (1, 2), read-only as a whole (6, 13), short of disk so that it creates nothing (10) or takes nothing (12)."""

_BLOCK_ID = re.compile(r"\[[A-Z_]+/(\d+)/")

_OF_THE_DOCUMENT = frozenset(
    {"mapper_parsing_exception", "document_parsing_exception", "strict_dynamic_mapping_exception", "parse_exception"}
)


class _Cause(msgspec.Struct, gc=False):
    type: str = ""
    reason: str | None = ""


class _Result(msgspec.Struct, gc=False):
    status: int
    error: _Cause | None = None


class _Item(msgspec.Struct, gc=False):
    create: _Result | None = None
    index: _Result | None = None
    delete: _Result | None = None


class _Items(msgspec.Struct, gc=False):
    items: list[_Item] = []


_decode = msgspec.json.Decoder(_Items).decode


@lru_cache(maxsize=256)
def _head(action: str, index: str) -> bytes:
    return b'\n{"' + action.encode() + b'":{"_index":' + msgspec.json.encode(index) + b',"_id":"'


def render(batch: Sequence[Document], action: Action = "create", shape: Callable[[bytes], bytes] = bytes) -> bytes:
    """The request body, uncompressed, each document as `shape` makes it. Ids are URL-safe base64 and need no escaping."""
    parts = [b'"}}\n'] * (4 * len(batch) + 1)
    parts[0::4] = [_head(action, document.index) for document in batch] + [b"\n"]
    parts[1::4] = [document.id.encode() for document in batch]
    parts[3::4] = [shape(document.body) for document in batch]
    parts[0] = parts[0][1:]
    return b"".join(parts)


def render_removal(places: Sequence[tuple[str, str]]) -> bytes:
    """The request body that removes documents by index and id."""
    return b"".join([_head("delete", index) + name.encode() + b'"}}' for index, name in places])[1:] + b"\n"


def encode(body: bytes, level: int) -> tuple[bytes, dict[str, str]]:
    """The body as sent, with its headers. Level -1 is plain."""
    headers = {"content-type": "application/x-ndjson", "accept": "application/json"}
    if level < 0:
        return body, headers
    headers["content-encoding"] = "gzip"
    return igzip.compress(body, level), headers


@lru_cache(maxsize=4)
def _all_created(count: int) -> bytes:
    return b'{"items":[' + b",".join([b'{"create":{"status":201}}'] * count) + b"]}"


def judge(answer: Answer, count: int) -> Sequence[Outcome]:
    """One outcome per document, by position. Raises UnavailableError when the answer cannot be read or counted."""
    if answer.body == _all_created(count):
        return [STORED] * count
    try:
        items = _decode(answer.body).items
    except msgspec.DecodeError as error:
        raise UnavailableError(
            f"{answer.where}: the answer cannot be read: {excerpt(answer.body)}", hint="is there a proxy in between?"
        ) from error
    if len(items) != count:
        raise UnavailableError(
            f"{answer.where}: the answer has {len(items)} items for {count} documents", hint="nothing is known of any of them"
        )
    results = [item.create or item.index or item.delete for item in items]
    if None in results:
        raise UnavailableError(
            f"{answer.where}: an item of the answer is of no action asked for", hint="is there a proxy in between?"
        )
    return [_judge(result) for result in results if result is not None]


def _judge(result: _Result) -> Outcome:
    status, error = result.status, result.error or _Cause()
    if status in (200, 201) and result.error is None:
        return STORED
    if status == 409 and error.type in ("version_conflict_engine_exception", ""):
        return DUPLICATE
    return verdict(status, error.type, error.reason or "")


def verdict(status: int, kind: str, reason: str) -> Outcome:
    """What a refusal means for the document, from its status and the server's type and reason.

    An index that is blocked, closed or not to be created concerns one day: REJECTED as `index_blocked`, so that the others go
    on. What lifts by itself (busy, disk watermark, a starting cluster) or is a matter of rights is RETRY.
    """
    detail = f"{kind}: {reason}"[:SAID_CHARACTERS]
    if kind == "cluster_block_exception":
        ids = set(_BLOCK_ID.findall(reason))
        if ids & _LIFTS_BY_ITSELF or not reason.startswith("index ["):
            return Outcome(Verdict.RETRY, "disk_full" if ids & {"10", "12"} else "cluster_blocked", detail)
        return Outcome(Verdict.REJECTED, "index_blocked", detail)
    if kind in ("index_closed_exception", "invalid_index_name_exception") or is_shard_limit(kind, reason):
        return Outcome(Verdict.REJECTED, "index_blocked", detail)
    if status == 429 or status >= 500:
        return Outcome(Verdict.RETRY, "busy" if status in (429, 503) else "server_error", detail)
    if status == 413:
        return Outcome(Verdict.REJECTED, "too_large", detail)
    if status == 400:
        return Outcome(Verdict.REJECTED, "mapping" if kind in _OF_THE_DOCUMENT else "refused", detail)
    if status in (401, 403):
        return Outcome(Verdict.RETRY, "forbidden", detail)
    return Outcome(Verdict.RETRY, {404: "index_missing", 409: "conflict"}.get(status, "unexpected"), detail)


def is_shard_limit(kind: str, reason: str) -> bool:
    """Whether the cluster refuses to hold another index (`cluster.max_shards_per_node`)."""
    return kind in ("validation_exception", "illegal_argument_exception") and "shards open" in reason
