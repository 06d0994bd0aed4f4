"""What an operator is told of a listener before and beside its work: addresses, silence, refusals."""

from __future__ import annotations

import asyncio
import resource
import socket
from pathlib import Path

import pytest

from tests.forward_parts import Counts, context, pipe, receiving
from vosship.errors import ConfigError
from vosship_forward import Forward
from vosship_forward.forward import Reply
from vosship_forward.frames import MAGIC, Kind, encode
from vosship_forward.shelf import interval_payload, segment_name


def test_an_address_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    """A port in use, an address of another machine, a word that is none: refused by name, and nothing stays bound."""

    async def opening(listen: list[str]) -> str:
        forward = Forward(Forward.Options(listen=listen), context(tmp_path))
        with pytest.raises(ConfigError) as caught:
            await forward.open()
        assert caught.value.path.startswith("inputs.forward.listen[")
        return str(caught.value)

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert "another process holds this port" in asyncio.run(opening(["udp://127.0.0.1:0", f"tcp://127.0.0.1:{taken}"]))
    assert "no such address" in asyncio.run(opening(["tcp://192.0.2.7:7060"]))
    assert "not known" in asyncio.run(opening(["tcp://no.such.host.invalid:7060"]))
    for bad in ("7060", "http://x:1", "tcp://:1", "tcp://h:70000", "tcp://h:x"):
        with pytest.raises(ConfigError, match="is no address"):
            Forward(Forward.Options(listen=[bad]), context(tmp_path))
    with pytest.raises(ConfigError, match="is no network"):
        Forward(Forward.Options(allow=["10.0.0.300"]), context(tmp_path))
    with pytest.raises(ConfigError, match="either a text or a field"):
        Forward(Forward.Options(reply=Reply()), context(tmp_path))


def test_check_names_what_could_keep_a_listener_silent(tmp_path: Path) -> None:
    """Nothing ever arrived: each thing to look at, numbered in order, with the switch's own parameter names."""
    forward = Forward(Forward.Options(listen=["tcp://127.0.0.1:0"], max_connections=5), context(tmp_path / "spool"))
    said, *steps = [remark for remark in forward.check() if remark.level != "good"]
    assert (said.level, said.text) == ("warn", "no record has ever arrived, and no agent has listened yet")
    assert [step.text[:3] for step in steps] == [f"{number}. " for number in range(1, len(steps) + 1)]
    assert "EXTERNAL_SEND_CDR" in steps[0].text
    assert "SERVER_CDR_REAL_TIME_REPORT_SERVER" in steps[1].text
    assert any("firewall" in step.text for step in steps)
    assert not (tmp_path / "spool").exists()
    greedy = Forward(Forward.Options(listen=["tcp://127.0.0.1:0"], max_connections=60_000), context(tmp_path / "spool"))
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 4096), most))
    try:
        assert "LimitNOFILE" in next(remark.hint for remark in greedy.check())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))


def test_silence_is_a_fault_once_somebody_listened_to_it(tmp_path: Path) -> None:
    """An hour after the last record `check` says so, however many signs of life of our own the spool holds since."""
    begun_us = 1_777_183_200_000_000
    heartbeats = [(Kind.HEARTBEAT, minute, interval_payload(60.0)) for minute in range(1, 61)]
    written = [(Kind.START, 0, interval_payload(60.0)), (Kind.DATA, 0, pipe(1)), *heartbeats]
    (tmp_path / f"{segment_name(1, begun_us)}.seg").write_bytes(
        MAGIC + b"".join(encode(kind, begun_us + minute * 60_000_000, payload) for kind, minute, payload in written)
    )

    def said(later_s: float) -> tuple[str, str]:
        now = begun_us / 1e6 + later_s
        forward = Forward(Forward.Options(listen=["tcp://127.0.0.1:0"]), context(tmp_path, now=lambda: now))
        return next((remark.level, remark.text) for remark in forward.check() if "record" in remark.text)

    assert said(3540) == ("good", "the last record arrived 3540 s ago")
    assert said(7200) == ("bad", "no record for 2 h")


def test_every_reason_for_refusing_is_counted_from_the_start(tmp_path: Path) -> None:
    """A counter that appears with its first event has no increase to alert on."""
    counts = Counts()

    async def run() -> None:
        async with receiving(tmp_path, metrics=counts):
            pass

    asyncio.run(run())
    assert {name.partition(":")[2] for name in counts.totals if name.startswith("vosship_forward_refused_total")} == {
        "foreign", "too_many_connections", "line_too_long", "busy", "kernel_buffer_full",
    }  # fmt: skip
