"""What the guard notices as time goes by."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bulk_parts import DAY, FIELDS, NEXT_DAY, documents, output, send
from vosship.errors import HaltedError
from vosship.schema import Schema
from vosship.testing.cluster import Cluster
from vosship_bulk.client import connect
from vosship_bulk.guard import BLOCKED_S, RECHECK_S, Guard
from vosship_bulk.options import Options, access
from vosship_bulk.templates import mapping


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that is set up and holds one day."""
    with Cluster("opensearch") as running:
        send(output("opensearch", running.url, tmp_path), documents(1))
        yield running


def guard(cluster: Cluster, clock: Clock, tmp_path: Path) -> Guard:
    """A guard of its own."""
    client = connect("opensearch", access(Options(hosts=[cluster.url]), tmp_path))
    return Guard(client, mapping(Schema([("test", FIELDS)])), logging.getLogger("vosship.test"), clock)


def test_a_day_that_was_looked_at_costs_no_request(cluster: Cluster, tmp_path: Path) -> None:
    """Once a minute the index is looked at, not once a batch."""
    clock = Clock()
    mine = guard(cluster, clock, tmp_path)
    assert mine.blocked([DAY]) == {}
    before = len(cluster.requests)
    clock.now += RECHECK_S / 2
    assert mine.blocked([DAY]) == {}
    assert len(cluster.requests) == before
    clock.now += RECHECK_S
    assert mine.blocked([DAY]) == {}
    assert len(cluster.requests) == before + 1


def test_a_guessed_mapping_is_noticed_within_a_minute(cluster: Cluster, tmp_path: Path) -> None:
    """Index and template deleted while calls arrive: the server guesses, and the guard halts at its next look."""
    clock = Clock()
    mine = guard(cluster, clock, tmp_path)
    mine.blocked([DAY])
    cluster.templates.clear()
    del cluster.indices[DAY]
    assert not isinstance(cluster.create(DAY), tuple)
    clock.now += RECHECK_S
    with pytest.raises(HaltedError, match="does not carry vosship's mapping"):
        mine.blocked([DAY])


def test_a_forgotten_day_is_looked_at_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """After the server said that an index is not there, it is made again from the template before the next document."""
    mine = guard(cluster, Clock(), tmp_path)
    mine.blocked([DAY])
    del cluster.indices[DAY]
    mine.forget(DAY)
    assert mine.blocked([DAY]) == {}
    assert cluster.indices[DAY].mappings["dynamic"] == "strict"


def test_a_day_that_was_refused_is_tried_again_now_and_then(cluster: Cluster, tmp_path: Path) -> None:
    """The shard limit is believed for a while, also after a second refusal, and the day goes on when it is lifted."""
    clock = Clock()
    mine = guard(cluster, clock, tmp_path)
    cluster.max_indices = 1
    for _ in range(2):
        assert mine.blocked([NEXT_DAY])[NEXT_DAY].reason == "index_blocked"
        before = len(cluster.requests)
        assert mine.blocked([NEXT_DAY])[NEXT_DAY].reason == "index_blocked"
        assert len(cluster.requests) == before
        clock.now += BLOCKED_S
    cluster.max_indices = 10
    assert mine.blocked([NEXT_DAY]) == {}
    assert NEXT_DAY in cluster.indices


def test_a_client_that_goes_away_is_not_reported(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The fake cluster prints no traceback of its own among a plugin author's: that client's end was meant."""
    cluster.delay_s = 0.2
    host, _, port = cluster.url.removeprefix("http://").partition(":")
    answered, others = len(cluster.requests), set(threading.enumerate())
    with socket.create_connection((host, int(port))) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end resets the connection
        client.sendall(b"POST /_bulk HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")
    end = time.monotonic() + 10
    while len(cluster.requests) == answered or set(threading.enumerate()) - others:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert capsys.readouterr().err == ""
