"""A `_bulk` server that takes everything and keeps nothing, so that a shipper's own cost is what is measured.

Run as `python -m benchmarks.null_server PORT COUNT_FILE`. It answers template and mapping requests as an engine would (what
was put is there), counts documents, and writes the count to COUNT_FILE after each request. Peers send plain NDJSON, vosship
gzip: both are counted by lines, in this process, whose CPU is nobody's figure.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from isal import igzip

PRODUCT = "X-Elastic-Product: Elasticsearch\r\n"
VERSION = {"version": {"number": "8.17.4", "distribution": "null", "build_flavor": "default"}, "tagline": "You Know, for Search"}


class NullServer(asyncio.Protocol):
    """One connection; `shared` holds what was put and the count of documents."""

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in the buffer."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
            if headers.get("expect"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            size = int(headers.get("content-length", 0))
            if len(self._buffer) < end + 4 + size:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + size])
            del self._buffer[: end + 4 + size]
            method, target, _ = first.split(" ", 2)
            self._answer(method, target, headers, body)

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path = target.split("?")[0]
        if path.endswith("/_bulk"):
            status, answer = 200, self._bulk(target, headers, body)
        else:
            status, found = self._other(method, path, body)
            answer = json.dumps(found).encode()
        head = f"HTTP/1.1 {status} -\r\n{PRODUCT}Content-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self._transport.write(head.encode() + (b"" if method == "HEAD" else answer))

    def _bulk(self, target: str, headers: dict[str, str], body: bytes) -> bytes:
        if headers.get("content-encoding") == "gzip":
            body = igzip.decompress(body)  # type: ignore[no-untyped-call]  # isal carries no types
        documents = body.count(b"\n") // 2
        self._shared["count"] += documents
        Path(self._shared["file"]).write_text(str(self._shared["count"]))
        item = b'{"create":{"status":201}}'
        items = b",".join([item] * documents)
        return b'{"items":[' + items + b"]}" if "filter_path" in target else b'{"took":1,"errors":false,"items":[' + items + b"]}"

    def _other(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        put = self._shared["put"]
        if path == "/":
            return 200, VERSION
        if method == "PUT":
            put[path] = json.loads(body or b"{}")
            return 200, {"acknowledged": True}
        if path.startswith("/_index_template/") and path in put:
            return 200, {"index_templates": [{"name": path.rsplit("/", 1)[1], "index_template": put[path]}]}
        if path.endswith("/_mapping") and path.removesuffix("/_mapping") in put:
            template = next(value for key, value in put.items() if key.startswith("/_index_template/"))
            return 200, {path.strip("/").split("/")[0]: {"mappings": template["template"]["mappings"]}}
        return 404, {"error": {"type": "resource_not_found_exception", "reason": path}, "status": 404}


async def serve(port: int, file: str) -> None:
    """Listen on loopback until killed."""
    shared: dict[str, Any] = {"count": 0, "file": file, "put": {}}
    server = await asyncio.get_running_loop().create_server(lambda: NullServer(shared), "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
