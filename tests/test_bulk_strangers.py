"""What answers is no cluster of the configured kind (another service, the other engine, a wrong path), or not for this user."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.bulk_parts import document, output, send
from vosship.errors import HaltedError, UnavailableError
from vosship.query import Query, StatsQuery
from vosship.testing.cluster import Cluster

Serve = Callable[[int, Any], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a service that answers every request with that status and JSON, under Elasticsearch's header; gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, answer: Any) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("x-elastic-product", "Elasticsearch")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  the names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Nothing: a test's output is its own."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


WINDOW: dict[str, Any] = {"from_ms": 0, "to_ms": 1 << 42}


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch"])
@pytest.mark.parametrize("answer", [[], [1], "ok", None, {"ok": True}, {"version": "1.0"}])
def test_another_service_is_waited_for_and_never_believed(serve: Serve, tmp_path: Path, engine: str, answer: Any) -> None:
    """Whatever JSON it speaks: no document is taken for stored, no search for empty, nothing is a bug, and `check` says so."""
    plugin = output(engine, serve(200, answer), tmp_path)
    for ask in (
        lambda: send(plugin, [document(1)]),
        lambda: list(plugin.setup()),
        lambda: list(plugin.search(Query(**WINDOW))),
        lambda: plugin.stats(StatsQuery(calls=Query(**WINDOW), by=("hour",))),
    ):
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert "is not a cluster's" in str(caught.value)
    assert [remark.level for remark in plugin.check()] == ["bad"]


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch"])
def test_a_path_that_is_not_there_is_no_empty_answer(serve: Serve, tmp_path: Path, engine: str) -> None:
    """A gateway's own 404 does not mean that there are no calls."""
    plugin = output(engine, serve(404, {"message": "no Route matched with those values"}), tmp_path)
    for ask in (
        lambda: list(plugin.search(Query(**WINDOW))),
        lambda: plugin.stats(StatsQuery(calls=Query(**WINDOW), by=("hour",))),
    ):
        with pytest.raises(UnavailableError, match="refused with 404"):
            ask()


def test_nothing_is_installed_on_the_other_engine(tmp_path: Path) -> None:
    """`setup` and a run refuse an Elasticsearch under `type: opensearch`; an OpenSearch that hides its version is taken."""
    with Cluster("elasticsearch") as cluster:
        plugin = output("opensearch", cluster.url, tmp_path)
        for ask in (lambda: list(plugin.setup()), lambda: send(plugin, [document(1)])):
            with pytest.raises(HaltedError, match="this is elasticsearch"):
                ask()
        assert not cluster.templates
        cluster.version = "7.10.2"
        list(plugin.setup())
        assert cluster.templates


def test_who_may_not_look_at_lifecycles_leaves_them_as_they_are(tmp_path: Path) -> None:
    """What an administrator set up is current for the agent's own user, stays through its `setup`, and is not called absent."""
    with Cluster("elasticsearch") as cluster:
        list(output("elasticsearch", cluster.url, tmp_path, retention_days=90).setup())
        before = json.loads(json.dumps(cluster.templates))
        assert before["vos3000-calls"]["template"]["settings"]["index"]["lifecycle"]["name"] == "vos3000"
        cluster.lifecycle = "closed"
        plugin = output("elasticsearch", cluster.url, tmp_path, retention_days=90)
        remarks = list(plugin.check())
        assert not [remark for remark in remarks if remark.level == "bad"], remarks
        assert "what somebody else has set up there stays" in " ".join(remark.text for remark in remarks)
        assert [line for line in plugin.setup() if line.endswith("unchanged")] == [
            "index template vos3000-calls: unchanged",
            "index template vos3000-findings: unchanged",
        ]
        list(output("elasticsearch", cluster.url, tmp_path, shards=2).setup())
        after = cluster.templates["vos3000-calls"]["template"]["settings"]["index"]
        assert (after["number_of_shards"], after["lifecycle"]) == (
            2,
            before["vos3000-calls"]["template"]["settings"]["index"]["lifecycle"],
        )
