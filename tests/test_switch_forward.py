"""The simulated real-time report, against real receivers on loopback."""

import csv
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vosship.errors import ConfigError
from vosship_switch import account as accounts
from vosship_switch.account import Account, Copies
from vosship_switch.forward import Forward, Report, Target, target
from vosship_switch.forward_faults import FAULTS
from vosship_switch.simulation import ForwardSettings, Settings, Simulation

START_MS = 1_777_140_000_000
FLOWNO = 36
"""The flow number's place in a datagram of 46 columns."""


@contextmanager
def receiving(kind: str, deaf: Callable[[int], bool] = lambda number: False) -> Iterator[tuple[Target, list[bytes]]]:
    """A receiver that keeps every record, and over UDP answers with the flow number, unless it is `deaf` to that arrival."""
    got: list[bytes] = []
    udp = kind == "udp"
    place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    place.bind(("127.0.0.1", 0))

    def take_datagrams() -> None:
        number = 0
        while (received := place.recvfrom(65_535))[0] != b"end":
            number += 1
            if not deaf(number):
                got.append(received[0])
                place.sendto(next(csv.reader([received[0].decode()]))[FLOWNO].encode(), received[1])

    def take_connections() -> None:
        while True:
            connection, _ = place.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    if line == b"end\n":
                        return
                    got.append(line.rstrip(b"\n"))

    if not udp:
        place.listen()
    thread = threading.Thread(target=take_datagrams if udp else take_connections)
    thread.start()
    port = place.getsockname()[1]
    try:
        yield Target("127.0.0.1", port, "udp" if udp else "tcp"), got
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as last:
            last.connect(("127.0.0.1", port))
            last.sendall(b"end" if udp else b"end\n")
        thread.join(10)
        place.close()


def run(path: Path, to: Target, **settings: Any) -> Simulation:
    forward = {"to": to, "layout": "datagram-46" if to.transport == "udp" else "pipe", **settings.pop("forward", {})}
    whole = {"directory": path / "cdr", "start_ms": START_MS, "seed": 3, "calls": 4_000, "account": path / "account.ndjson"}
    simulation = Simulation(Settings(**{**whole, **settings}, forward=ForwardSettings(**forward)))
    simulation.run()
    return simulation


def filed(path: Path) -> list[bytes]:
    return [line for file in sorted((path / "cdr").iterdir()) for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_clean_feed_brings_every_call_once(tmp_path: Path, kind: str) -> None:
    """Without faults the receiver has what the files have."""
    with receiving(kind) as (to, got):
        simulation = run(tmp_path, to)
    assert simulation.classes == {"matched": 4_000, "mismatched": 0, "left_only": 0, "right_only": 0, "duplicate_right": 0}
    if kind == "tcp":
        assert Counter(got) == Counter(filed(tmp_path))
    else:
        assert len({next(csv.reader([one.decode()]))[FLOWNO] for one in got}) == len(got) == 4_000


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_classes_are_what_the_receiver_and_the_files_show(tmp_path: Path, kind: str) -> None:
    """Counted from what arrived and what was filed, by the flow numbers or the lines themselves, not from the account."""
    with receiving(kind) as (to, got):
        simulation = run(tmp_path, to, layout="csv-52" if kind == "udp" else "pipe", faults=frozenset(FAULTS))
    left, right = filed(tmp_path), got
    if kind == "udp":
        file_keys = [row[41] for row in csv.reader(line.decode() for line in left)]
        wire = [(row[FLOWNO], row[21], row[42]) for row in csv.reader(line.decode() for line in right)]
        content = {row[41]: (row[41], row[23], row[48]) for row in csv.reader(line.decode() for line in left)}
        copies = Counter(key for key, _, _ in wire)
        equal = {row[0] for row in wire if content.get(row[0]) == row}
        expected = {
            "matched": len(equal),
            "mismatched": len(copies.keys() & set(file_keys) - equal),
            "left_only": len(set(file_keys) - copies.keys()),
            "right_only": len(copies.keys() - set(file_keys)),
            "duplicate_right": copies.total() - len(copies),
        }
        assert simulation.classes == expected
    else:
        both = Counter(left) & Counter(right)
        assert simulation.classes["matched"] == both.total()
        assert len(left) - both.total() == simulation.classes["left_only"] + simulation.classes["mismatched"]
    assert all(simulation.classes.values())


def test_reordered_records_arrive_out_of_order_but_all(tmp_path: Path) -> None:
    """Some records come behind later ones."""
    with receiving("tcp") as (to, got):
        run(tmp_path, to, faults=frozenset({"reorder"}))
    assert Counter(got) == Counter(filed(tmp_path))
    assert got != filed(tmp_path)


def test_an_unanswered_datagram_is_sent_until_answered(tmp_path: Path) -> None:
    """A receiver that misses every third arrival has everything in the end, once."""
    with receiving("udp", deaf=lambda number: number % 3 == 0) as (to, got):
        simulation = run(tmp_path, to, calls=600, forward={"resend_s": 0.05})
    flows = Counter(next(csv.reader([one.decode()]))[FLOWNO] for one in got)
    assert len(flows) == 600
    assert simulation.classes["matched"] == 600
    assert simulation.classes["duplicate_right"] == flows.total() - 600
    assert sum(row["event"] == "resent" for row in accounts.rows(tmp_path / "account.ndjson")) >= 200


def test_the_queue_drops_its_oldest_while_nobody_listens() -> None:
    """Of 50 records for an absent receiver a queue of 20 keeps the last 20, and they arrive when it is back."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    account, copies = Account(), Copies(0)
    forward = Forward(
        Target("127.0.0.1", port, "tcp"), account, copies, answered=False, pending=20, resend_s=1, drain_s=10, patient=False
    )
    for number in range(1, 51):
        copies.enter(number, filed=True)
        forward.submit(Report(number, b"", b"record-%d" % number))
    with socket.create_server(("127.0.0.1", port)) as server:
        ending = threading.Thread(target=forward.close)
        ending.start()
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            got = lines.read().split()
        ending.join()
    assert got == [b"record-%d" % number for number in range(31, 51)]
    assert account.totals["dropped"] == 30
    assert copies.classes() == {"matched": 20, "mismatched": 0, "left_only": 30, "right_only": 0, "duplicate_right": 0}


def test_a_broken_connection_is_made_again() -> None:
    """After the receiver hangs up, later records come over a new connection."""
    account, copies = Account(), Copies(0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = Target("127.0.0.1", server.getsockname()[1], "tcp")
        forward = Forward(to, account, copies, answered=False, pending=100, resend_s=1, drain_s=10, patient=False)
        copies.enter(1, filed=True)
        forward.submit(Report(1, b"", b"first"))
        connection, _ = server.accept()
        assert connection.recv(100) == b"first\n"
        connection.close()
        connection, _ = server.accept()  # made again as soon as the end is noticed
        copies.enter(2, filed=True)
        forward.submit(Report(2, b"", b"second"))
        assert connection.recv(100) == b"second\n"
        connection.close()
        forward.close()
    assert account.totals["broken"] >= 1


def test_nobody_there_ends_the_run_all_the_same(tmp_path: Path) -> None:
    """With no receiver the files are written, everything forwarded counts as dropped, and the run ends."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    simulation = run(tmp_path, Target("127.0.0.1", port, "tcp"), calls=300, forward={"pending": 100, "drain_s": 0.3})
    assert len(filed(tmp_path)) == 300
    assert simulation.classes["left_only"] == 300
    dropped = Counter(row["why"] for row in accounts.rows(tmp_path / "account.ndjson") if row["event"] == "dropped")
    assert dropped == {"pending": 200, "end": 100}


def test_a_receiver_is_named_by_host_port_and_transport() -> None:
    """TCP unless said otherwise; anything else is a sentence, not a traceback."""
    assert target("10.0.0.5:7060") == Target("10.0.0.5", 7060, "tcp")
    assert target("[::1]:7060/udp") == Target("::1", 7060, "udp")
    for wrong in ("7060", "host", "host:0x10", "host:7060/sctp", ""):
        with pytest.raises(ConfigError, match="names no receiver"):
            target(wrong)
