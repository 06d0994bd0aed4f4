"""The relay against real receivers that close, die, hang, and come back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.forward_parts import WAIT_S, context, free_port, gather, lines, pipe, port, receiving, start_peer, wait_for, wait_for_end
from vosship.errors import ConfigError, UnavailableError
from vosship.events import Block, Stream
from vosship_relay import Relay
from vosship_relay.overlap import Overlap

STREAM = Stream("2026042612.txt", "2026042612.txt", "2026042612.txt")


def block(*sent: bytes, cut: bool = False, unterminated: bool = False) -> Block:
    """A block of those lines."""
    data = b"\n".join(sent) + (b"" if unterminated else b"\n")
    return Block(STREAM, 0, len(data), data, b"", {}, cut=cut, unterminated=unterminated)


@asynccontextmanager
async def relaying(place: Path, target: str, now: Callable[[], float] = time.time, **options: Any) -> AsyncIterator[Relay]:
    """A relay that is closed at the end."""
    relay = Relay(Relay.Options(target=target, **options), context(place, now=now))
    try:
        yield relay
    finally:
        await relay.close()


class Sink:
    """A receiver that keeps the bytes of each connection and can be closed and opened again at its port."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: list[bytearray] = []
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close every connection."""
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def until(self, want: bytes) -> None:
        """Return once the newest connection brought exactly that."""
        while not self.connections or bytes(self.connections[-1]) != want:
            self._changed.clear()
            await self._changed.wait()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        held = bytearray()
        self.connections.append(held)
        while data := await reader.read(65_536):
            writer.write(b"OK\n" * data.count(b"\n"))  # answers that the relay has to read and forget
            held += data
            self._changed.set()
        writer.close()


def run(steps: Any) -> Any:
    """Run with a limit."""
    return asyncio.run(asyncio.wait_for(steps, WAIT_S))


def test_lines_go_out_byte_for_byte(tmp_path: Path) -> None:
    """Unparsable, empty and CR-ended lines too; the last line of a finished file gets its newline."""

    async def steps() -> None:
        sink = Sink()
        await sink.open()
        async with relaying(tmp_path, f"tcp://127.0.0.1:{sink.port}") as relay:
            await relay.send_blocks([block(b"\x00\xff|not a call", b"", b"with cr\r"), block(b"last", unterminated=True)])
            await sink.until(b"\x00\xff|not a call\n\nwith cr\r\nlast\n")
        await sink.close()

    run(steps())


def test_a_cut_line_is_not_passed_on_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its end is not there: passing on its beginning would make a wrong record of it."""

    async def steps() -> None:
        sink = Sink()
        await sink.open()
        async with relaying(tmp_path, f"tcp://127.0.0.1:{sink.port}") as relay:
            await relay.send_blocks([block(b"a|b"), block(b"the beginning of", cut=True, unterminated=True), block(b"c|d")])
            await sink.until(b"a|b\nc|d\n")
        await sink.close()

    run(steps())
    assert [entry.message for entry in caplog.records if entry.levelname == "WARNING"] == [
        "line longer than the input's limit, not passed on"
    ]


def test_what_was_sent_lately_is_repeated_after_a_reconnect(tmp_path: Path) -> None:
    """Not what is older than the overlap; and not only when there is something new to send."""
    at = [1000.0]

    async def steps() -> None:
        sink = Sink()
        await sink.open()
        target = f"tcp://127.0.0.1:{sink.port}"
        async with relaying(tmp_path, target, now=lambda: at[0], overlap_s=10.0) as relay:
            for number in range(5):
                await relay.send_blocks([block(b"line %d" % number)])
                at[0] += 6
            await sink.until(b"".join(b"line %d\n" % number for number in range(5)))
            await sink.close()
            await sink.open()
            await sink.until(b"line 3\nline 4\n")
        async with relaying(tmp_path, target, now=lambda: at[0], overlap_s=10.0) as relay:
            await relay.send_blocks([block(b"after a restart of the agent")])
            await sink.until(b"line 3\nline 4\nafter a restart of the agent\n")
        await sink.close()

    run(steps())


def test_a_closed_peer_is_noticed_before_sending(tmp_path: Path) -> None:
    """Nothing counts as sent that was given to a connection the peer had already closed."""

    async def steps() -> None:
        sink = Sink()
        await sink.open()
        async with relaying(tmp_path, f"tcp://127.0.0.1:{sink.port}", overlap_s=0.0) as relay:
            await relay.send_blocks([block(b"one")])
            await sink.until(b"one\n")
            await sink.close()
            with pytest.raises(UnavailableError, match="cannot be reached"):
                await send_until_noticed(relay, block(b"two"))
            await sink.open()
            await relay.send_blocks([block(b"two")])
            await sink.until(b"two\n")
        await sink.close()

    run(steps())


async def send_until_noticed(relay: Relay, one: Block) -> None:
    """Send until the relay says that nobody takes it: a close or refusal needs a moment to travel."""
    while True:
        await asyncio.sleep(0)
        await relay.send_blocks([one])


@pytest.mark.crash
def test_a_killed_receiver_misses_nothing_once_it_is_back(tmp_path: Path) -> None:
    """Killed with thousands of records unread in its buffer: all arrive, in order but for the repeat of the overlap."""
    file = tmp_path / "received"
    to = free_port()
    sent = [pipe(number) for number in range(12_000)]

    async def insist(relay: Relay, blocks: list[Block]) -> None:
        while True:
            try:
                return await relay.send_blocks(blocks)
            except UnavailableError:
                await asyncio.sleep(0.05)

    async def steps() -> None:
        peer = start_peer(to, file, 0.02)
        async with relaying(tmp_path / "relay", f"tcp://127.0.0.1:{to}", overlap_s=30.0) as relay:
            for begin in range(0, 4000, 100):
                await insist(relay, [block(*sent[begin : begin + 100])])
            await asyncio.to_thread(wait_for, lambda: file.stat().st_size > 0, "the peer has read something")
            peer.kill()
            peer.wait()
            assert len(file.read_bytes().splitlines()) < 3900, "the peer must die with records unread"
            sending = asyncio.create_task(insist(relay, [block(*sent[4000:8000])]))
            await asyncio.sleep(0.2)
            assert not sending.done()
            peer = start_peer(to, file, 0.0)
            await sending
            await insist(relay, [block(*sent[8000:])])
            await asyncio.to_thread(wait_for_end, file, sent[-1] + b"\n")
        peer.kill()
        peer.wait()

    asyncio.run(steps())
    got = file.read_bytes().splitlines()
    first_run = next(place for place in range(1, len(got)) if got[place] == sent[0])
    assert got[:first_run] == sent[:first_run]
    assert got[first_run:] == sent


def test_sorting_within_a_batch_leaves_unparsable_lines_in_their_place(tmp_path: Path) -> None:
    """By stop time, across pipe and CSV; a line without a time stays behind the one it followed."""
    late = pipe(1, stop="2026-04-26 12:00:09")
    early = pipe(2, stop="2026-04-26 12:00:01")
    csv = [f'"{number}"' for number in range(46)]
    csv[18] = "1777183205000"  # 2026-04-26 12:00:05 in Dhaka
    middle = ",".join(csv).encode()

    async def steps() -> None:
        sink = Sink()
        await sink.open()
        async with relaying(tmp_path, f"tcp://127.0.0.1:{sink.port}", sort_by="stop") as relay:
            await relay.send_blocks([block(late, b"belongs to late", middle), block(early)])
            await sink.until(b"\n".join([early, middle, late, b"belongs to late", b""]))
        await sink.close()

    run(steps())


def test_a_datagram_for_each_line_and_a_refusal_is_noticed(tmp_path: Path) -> None:
    """A UDP receiver gets every line as a datagram; when its port is closed, the next batch is not called sent."""

    async def steps() -> None:
        async with receiving(tmp_path / "spool", resend_window_s=60) as forward:
            to = port(forward, "udp")
            async with relaying(tmp_path / "relay", f"udp://127.0.0.1:{to}") as relay:
                sent = [pipe(number) for number in range(100)]
                await relay.send_blocks([block(*sent)])
                await forward.close()
                with pytest.raises(UnavailableError, match="refuses"):
                    await send_until_noticed(relay, block(pipe(1000)))
            assert lines(await gather(forward)) == sent

    run(steps())


def test_a_peer_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Refused, unknown and silent peers are waited for by the core, with the target's name."""

    async def attempt(target: str) -> str:
        async with relaying(tmp_path, target, connect_timeout_s=0.3) as relay:
            with pytest.raises(UnavailableError) as caught:
                await relay.send_blocks([block(b"x")])
            return str(caught.value)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        to = probe.getsockname()[1]
        assert f"127.0.0.1:{to} cannot be reached" in run(attempt(f"tcp://127.0.0.1:{to}"))
    assert "no.such.host.invalid" in run(attempt("tcp://no.such.host.invalid:7060"))
    for bad in ("x:1", "tcp://h", "tcp://h:0", "ftp://h:1"):
        with pytest.raises(ConfigError, match="is no address"):
            Relay(Relay.Options(target=bad), context(tmp_path))


def test_the_overlap_outlives_a_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A torn last entry is dropped, what was noted before it is repeated, and noting goes on behind it."""
    overlap = Overlap(tmp_path, 10.0, 1 << 20)
    overlap.add(b"one", 100.0)
    overlap.add(b"two", 101.0)
    file = tmp_path / "sent.new"
    file.write_bytes(file.read_bytes()[:-1])
    again = Overlap(tmp_path, 10.0, 1 << 20)
    assert again.recall() == [b"one"]
    again.add(b"three", 102.0)
    assert Overlap(tmp_path, 10.0, 1 << 20).recall() == [b"one", b"three"]


def test_the_overlap_is_bounded(tmp_path: Path) -> None:
    """However much is sent, the files stay within the bound, and the newest is there."""
    overlap = Overlap(tmp_path, 1000.0, 100_000)
    for number in range(1000):
        overlap.add(b"%06d" % number * 100, 5.0)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 100_000
    assert overlap.recall()[-1] == b"000999" * 100
    assert len(overlap.recall()) >= 80
