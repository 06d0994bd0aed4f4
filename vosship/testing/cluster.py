"""A small search cluster in this process, with faults on demand: enough of both engines' HTTP to test an output against.

It keeps templates, indices with their mappings, and documents created by `_bulk`; it refuses what real servers refuse (unknown
fields under `dynamic: strict`, blocked and closed indices, too many shards, too large requests, wrong credentials), in their
words. It does not search, map values to types, or remember anything beyond its own life. What matters is tested on real nodes
too; this one is for what they cannot be made to do.

    with Cluster("opensearch") as cluster:
        cluster.inject(Fault.SILENT_AFTER_STORING, Fault.HALF_ANSWER)   # the next two bulk requests
        ...                                                             # send to cluster.url
        assert cluster.count("vos3000-cdr-*") == 3

Faults of `inject` hit one bulk request each, in order. Conditions (attributes) hold until they are changed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from vosship.testing.routes import Json, refusal, route

Engine = Literal["opensearch", "elasticsearch"]

HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
"""What a proxy says in a cluster's place."""


class Fault(Enum):
    """What can go wrong with one bulk request."""

    RESET = "the connection breaks before anything is stored"
    RESET_AFTER_STORING = "everything is stored, then the connection breaks without an answer"
    SILENT_AFTER_STORING = "everything is stored, then no answer comes while the client waits"
    HALF_ANSWER = "everything is stored, the answer breaks off in its middle"
    TRUNCATED_JSON = "everything is stored, the answer is complete as HTTP and cut as JSON"
    ITEM_MISSING = "everything is stored, the answer has one item too few"
    EVERY_OTHER_BUSY = "every other document is stored, the rest gets 429"
    ALL_BUSY = "no document is stored, each gets 429"
    ITEM_ERROR = "the first document gets 503, the rest is stored"
    HTML = "a proxy answers 200 with a page"
    BAD_GATEWAY = "a proxy answers 502 with a page"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TOO_LARGE = "413"
    BUSY = "429 for the whole request"
    BROKEN = "500"
    UNAVAILABLE = "503"
    REDIRECT = "302 to elsewhere"


_STATUS = {
    Fault.UNAUTHORIZED: (401, "security_exception", "unable to authenticate"),
    Fault.FORBIDDEN: (403, "security_exception", "action is unauthorized"),
    Fault.NOT_FOUND: (404, "resource_not_found_exception", "no such resource"),
    Fault.BUSY: (429, "rejected_execution_exception", "rejected execution: queue is full"),
    Fault.BROKEN: (500, "null_pointer_exception", "null"),
    Fault.UNAVAILABLE: (503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"),
}
_STORES_FIRST = {
    Fault.RESET_AFTER_STORING, Fault.SILENT_AFTER_STORING, Fault.HALF_ANSWER, Fault.TRUNCATED_JSON, Fault.ITEM_MISSING
}  # fmt: skip


class Index:
    """One index: its mapping, its documents by id (bodies as sent), and what is wrong with it.

    `block` is the word in a cluster block (`FORBIDDEN/8/index write (api)`); `closed` refuses everything.
    """

    def __init__(self, mappings: Json) -> None:
        self.mappings = mappings
        self.documents: dict[str, bytes] = {}
        self.block = ""
        self.closed = False


class Cluster:
    """The server and what it holds. Start it with `with`; every attribute may be read and set while it runs.

    Conditions: `authorization` (the header it insists on), `max_bytes` (413 above, counted as sent), `max_indices` (the shard
    limit), `delay_s` (before each bulk answer), `product_header`, `lifecycle` (is ILM or ISM there, or "closed"), `poison` (gives
    the reason why a document cannot be parsed, or an empty string), `version`. `requests` lists method, path and status of
    each request in the order of their answers; `bulk_headers` the headers of each bulk request.
    """

    def __init__(self, engine: Engine = "opensearch", *, tls: ssl.SSLContext | None = None) -> None:
        self.engine = engine
        self.version = "3.8.0" if engine == "opensearch" else "8.17.4"
        self.authorization = ""
        self.max_bytes = 100 << 20
        self.max_indices = 1000
        self.delay_s = 0.0
        self.product_header = engine == "elasticsearch"
        self.lifecycle: bool | Literal["closed"] = True
        self.poison: Callable[[Json], str] = lambda _: ""
        self.indices: dict[str, Index] = {}
        self.templates: dict[str, Json] = {}
        self.policies: dict[str, Json] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.bulk_headers: list[dict[str, str]] = []
        self.lock = threading.RLock()
        self.released = threading.Event()
        self._faults: deque[Fault] = deque()
        self._tls = tls
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        """Where it listens; the same after `down` and `up`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen (again). What it held is still there."""
        self.released.clear()
        self._server = _Server(("127.0.0.1", self._port), self, self._tls)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="vosship-fake-cluster", daemon=True).start()

    def down(self) -> None:
        """Refuse connections and drop those there are."""
        server, self._server = self._server, None
        self.released.set()
        if server:
            server.shutdown()
            server.drop()
            server.server_close()

    def inject(self, *faults: Fault) -> None:
        """Let the coming bulk requests fail, one fault each, in this order."""
        self._faults.extend(faults)

    @property
    def pending_faults(self) -> int:
        """How many injected faults no request has met yet."""
        return len(self._faults)

    def next_fault(self) -> Fault | None:
        """Take the fault of this bulk request."""
        try:
            return self._faults.popleft()
        except IndexError:
            return None

    def count(self, pattern: str = "*") -> int:
        """How many documents the indices of that pattern hold."""
        with self.lock:
            return sum(len(index.documents) for name, index in self.indices.items() if fnmatch.fnmatch(name, pattern))

    def documents(self, pattern: str = "*") -> Iterator[tuple[str, str, Json]]:
        """Index, id and body of every document, as it is now."""
        with self.lock:
            found = [
                (name, key, body)
                for name, index in self.indices.items()
                if fnmatch.fnmatch(name, pattern)
                for key, body in index.documents.items()
            ]
        for name, key, body in found:
            yield name, key, json.loads(body)

    def create(self, name: str) -> Index | tuple[int, Json]:
        """Create an index from its template, or with a guessed mapping where there is none; or the refusal."""
        if len(self.indices) >= self.max_indices:
            limit = f"this action would add [2] shards, but this cluster currently has [{self.max_indices}]/[{self.max_indices}]"
            return 400, refusal("validation_exception", f"Validation Failed: 1: {limit} maximum normal shards open;")
        matching = [
            body for body in self.templates.values() if any(fnmatch.fnmatch(name, pattern) for pattern in body["index_patterns"])
        ]
        best = max(matching, key=lambda body: int(body.get("priority", 0)), default=None)
        self.indices[name] = Index(best.get("template", {}).get("mappings", {}) if best else {})
        return self.indices[name]

    def bulk(self, body: bytes, fault: Fault | None) -> list[Json]:
        """Carry out a bulk body; one item for each action, in order."""
        lines = body.split(b"\n")
        items = []
        with self.lock:
            for number in range(0, len(lines) - 1, 2):
                action = json.loads(lines[number])["create"]
                busy = fault is Fault.ALL_BUSY or (fault is Fault.EVERY_OTHER_BUSY and number // 2 % 2 == 1)
                if busy:
                    result: Json = {
                        "status": 429,
                        **refusal("rejected_execution_exception", "rejected execution of coordinating operation"),
                    }
                elif fault is Fault.ITEM_ERROR and number == 0:
                    result = {"status": 503, **refusal("unavailable_shards_exception", "primary shard is not active")}
                else:
                    result = self._store(action["_index"], action["_id"], lines[number + 1])
                items.append({"create": {"status": result["status"], **({"error": result["error"]} if "error" in result else {})}})
        return items

    def _store(self, name: str, key: str, body: bytes) -> Json:
        index = self.indices.get(name)
        if index is None:
            made = self.create(name)
            if not isinstance(made, Index):
                return {"status": made[0], **made[1]}
            index = made
        if index.closed:
            return {"status": 400, **refusal("index_closed_exception", "closed")}
        if index.block:
            status = 429 if index.block.startswith("TOO_MANY_REQUESTS") else 403
            return {"status": status, **refusal("cluster_block_exception", f"index [{name}] blocked by: [{index.block}];")}
        if key in index.documents:
            reason = f"[{key}]: version conflict, document already exists (current version [1])"
            return {"status": 409, **refusal("version_conflict_engine_exception", reason)}
        try:
            document = json.loads(body)
        except ValueError:
            return {"status": 400, **refusal(self._parsing, "failed to parse")}
        unknown = next(_unknown(index.mappings, document), "")
        if unknown:
            reason = f"mapping set to strict, dynamic introduction of [{unknown}] within [_doc] is not allowed"
            return {"status": 400, **refusal("strict_dynamic_mapping_exception", reason)}
        if reason := self.poison(document):
            return {"status": 400, **refusal(self._parsing, reason)}
        index.documents[key] = body
        return {"status": 201}

    @property
    def _parsing(self) -> str:
        return "mapper_parsing_exception" if self.engine == "opensearch" else "document_parsing_exception"


def _unknown(mappings: Json, document: Json) -> Iterator[str]:
    """Fields that a strict mapping does not know."""
    if mappings.get("dynamic") != "strict":
        return
    for name in document:
        below = mappings
        for part in name.split("."):
            if below.get("dynamic") is True:
                break
            known = below.get("properties", {})
            if part not in known:
                yield name
                break
            below = known[part]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], cluster: Cluster, tls: ssl.SSLContext | None) -> None:
        self.cluster = cluster
        self._open: set[Any] = set()
        super().__init__(address, _Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or a fault that was asked for: nothing to report."""

    def drop(self) -> None:
        """Break every connection there is."""
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(2)  # both ways


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write an answer
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class names it so
        """Quiet: `Cluster.requests` tells."""

    def do_GET(self) -> None:
        self._any()

    def do_HEAD(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def _any(self) -> None:
        cluster = self.server.cluster
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = unquote(urlsplit(self.path).path)
        if cluster.authorization and self.headers.get("authorization") != cluster.authorization:
            return self._answer(401, refusal("security_exception", "missing or wrong authentication credentials"))
        if len(raw) > cluster.max_bytes:
            return self._answer(413, b"", kind="text/plain")
        body = gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw
        if path == "/_bulk":
            return self._bulk(body)
        with cluster.lock:
            status, answer = route(cluster, self.command, path, json.loads(body) if body else {})
        return self._answer(status, answer)

    def _bulk(self, body: bytes) -> None:
        cluster = self.server.cluster
        cluster.bulk_headers.append({name.lower(): value for name, value in self.headers.items()})
        fault = cluster.next_fault()
        if cluster.delay_s:
            time.sleep(cluster.delay_s)
        if fault in _STATUS:
            status, kind, reason = _STATUS[fault]
            return self._answer(status, {**refusal(kind, reason), "status": status})
        if fault is Fault.HTML or fault is Fault.BAD_GATEWAY:
            return self._answer(200 if fault is Fault.HTML else 502, HTML, kind="text/html", product=False)
        if fault is Fault.TOO_LARGE:
            return self._answer(413, b"", kind="text/plain")
        if fault is Fault.REDIRECT:
            return self._answer(302, b"", kind="text/plain", location="http://elsewhere.invalid/")
        if fault is Fault.RESET:
            return self._break(fault)
        items = cluster.bulk(body, fault)
        if fault is Fault.SILENT_AFTER_STORING:
            cluster.released.wait()
        if fault in (Fault.RESET_AFTER_STORING, Fault.SILENT_AFTER_STORING):
            return self._break(fault)
        if fault is Fault.ITEM_MISSING:
            items = items[:-1]
        answer = json.dumps({"items": items}, separators=(",", ":")).encode()
        if fault is Fault.TRUNCATED_JSON:
            answer = answer[: len(answer) // 2]
        return self._answer(200, answer, cut=fault is Fault.HALF_ANSWER)

    def _break(self, fault: Fault) -> None:
        self.server.cluster.requests.append((self.command, f"{self.path} ({fault.name})", 0))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)  # both ways

    def _answer(
        self,
        status: int,
        body: Json | list[Any] | bytes,
        *,
        kind: str = "application/json",
        product: bool = True,
        cut: bool = False,
        location: str = "",
    ) -> None:
        cluster = self.server.cluster
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        cluster.requests.append((self.command, self.path, status))
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        if cluster.product_header and product:
            self.send_header("x-elastic-product", "Elasticsearch")
        if location:
            self.send_header("location", location)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self._break(Fault.HALF_ANSWER)
