"""The receiver over real sockets: what it takes, what it answers, whom it refuses."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.forward_parts import WAIT_S, Counts, context, converse, datagram, gather, lines, pipe, port, receiving, tags
from vosship.events import Block, Position, Record
from vosship_forward import Forward, scan
from vosship_forward.forward import Reply
from vosship_forward.shelf import segments


def udp_to(to: int) -> socket.socket:
    """A connected UDP socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.connect(("127.0.0.1", to))
    return made


async def heard(made: socket.socket) -> bytes:
    """The next datagram."""
    async with asyncio.timeout(WAIT_S):
        return await asyncio.get_running_loop().sock_recv(made, 65_535)


def test_many_records_a_connection_are_answered_in_order(tmp_path: Path) -> None:
    """Each record gets its own answer, and all of them are in the spool, byte for byte, at the offset they say."""

    async def run() -> tuple[list[bytes], Block]:
        async with receiving(tmp_path, reply=Reply(text="OK")) as forward:
            sent = [pipe(n) for n in range(50)] + [b"not a record at all \xff\x00"]
            assert await converse(port(forward, "tcp"), b"\n".join(sent) + b"\n") == b"OK\n" * 51
            items = await gather(forward)
            assert lines(items) == sent
            (block,) = [item for item in items if isinstance(item, Block)]
            assert block.offsets is not None
            assert block.each is not None
            assert {each["forward.peer"] for each in block.each} == {"127.0.0.1"}
            return sent, block

    sent, block = asyncio.run(run())
    raw = Path(block.stream.path).read_bytes()
    assert [raw[at : at + len(line)] for at, line in zip(block.offsets or (), sent, strict=True)] == sent


def test_one_record_a_connection_may_end_with_the_connection(tmp_path: Path) -> None:
    """A sender that never ends a record with a newline is taken at its word."""

    async def run() -> None:
        async with receiving(tmp_path, reply=Reply(text="OK")) as forward:
            for number in range(3):
                assert await converse(port(forward, "tcp"), pipe(number)) == b"OK\n"
            items = await gather(forward)
            assert lines(items) == [pipe(0), pipe(1), pipe(2)]
            assert tags(items) == [[], [], []]

    asyncio.run(run())


def test_half_a_record_of_a_sender_that_uses_newlines_is_marked(tmp_path: Path) -> None:
    """What stands after the last newline is kept, and tagged, for it may be cut."""

    async def run() -> None:
        async with receiving(tmp_path) as forward:
            await converse(port(forward, "tcp"), pipe(1) + b"\n" + pipe(2)[:40])
            await converse(port(forward, "tcp"), pipe(3)[:50])
            items = await gather(forward)
            assert lines(items) == [pipe(1), pipe(2)[:40], pipe(3)[:50]]
            assert tags(items) == [[], ["unterminated"], ["unterminated"]]

    asyncio.run(run())


def test_udp_is_answered_with_flowno_at_its_own_address(tmp_path: Path) -> None:
    """Large datagrams and several records a datagram; each sender hears only its own answers."""

    async def run() -> None:
        async with receiving(tmp_path, reply=Reply(field=37)) as forward:
            one, two = udp_to(port(forward, "udp")), udp_to(port(forward, "udp"))
            one.send(datagram("1001", name="x" * 3000))
            two.send(datagram("2001") + b"\n" + datagram("2002") + b"\n")
            assert await heard(one) == b"1001"
            assert {await heard(two), await heard(two)} == {b"2001", b"2002"}
            assert sorted(lines(await gather(forward))) == sorted(
                [datagram("1001", name="x" * 3000), datagram("2001"), datagram("2002")]
            )
            one.close()
            two.close()

    asyncio.run(run())


def test_a_record_without_the_answering_field_is_kept_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No answer can be made of it, yet it is not lost."""

    async def run() -> None:
        async with receiving(tmp_path, reply=Reply(field=37)) as forward:
            assert await converse(port(forward, "tcp"), b"short,record\n" + datagram("5") + b"\n") == b"5\n"
            assert lines(await gather(forward)) == [b"short,record", datagram("5")]

    asyncio.run(run())
    assert [entry.message for entry in caplog.records] == ["record lacks the field to answer with, kept without an answer"]


def test_a_resend_is_kept_and_tagged_also_across_a_restart(tmp_path: Path) -> None:
    """The mark is decided at receipt, from what the spool holds, and every later reader sees the same."""

    async def run() -> None:
        async with receiving(tmp_path) as forward:
            await converse(port(forward, "tcp"), datagram("1") + b"\n" + datagram("2") + b"\n" + datagram("1", name="b") + b"\n")
        async with receiving(tmp_path) as forward:
            await converse(port(forward, "tcp"), datagram("2") + b"\n" + pipe(1) + b"\n" + pipe(1) + b"\n")
            assert tags(await gather(forward)) == [[], [], ["resend"], ["resend"], [], ["resend"]]
        assert [arrival.resend for arrival in scan(tmp_path)] == [False, False, True, True, False, True]

    asyncio.run(run())


def test_a_foreign_sender_is_refused_and_counted(tmp_path: Path) -> None:
    """Neither its connection nor its datagrams reach the spool."""

    async def run() -> None:
        counts = Counts()
        async with receiving(tmp_path, metrics=counts, allow=["10.0.0.0/8"], reply=Reply(text="OK")) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))
            assert await reader.read() == b""
            writer.close()
            made = udp_to(port(forward, "udp"))
            made.send(pipe(2))
            await counts.until_refused("foreign", 2)
            assert await gather(forward) == []
            made.close()

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_too_many_connections_do_not_harm_those_there_are(tmp_path: Path) -> None:
    """The one over the limit is turned away; the others go on."""

    async def run() -> None:
        counts = Counts()
        async with receiving(tmp_path, metrics=counts, max_connections=2, reply=Reply(text="OK")) as forward:
            first, second = [await asyncio.open_connection("127.0.0.1", port(forward, "tcp")) for _ in range(2)]
            for reader, writer in (first, second):
                writer.write(pipe(1) + b"\n")
                assert await reader.readline() == b"OK\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))
            assert await reader.read() == b""
            writer.close()
            assert counts.refused("too_many_connections") == 1
            second[1].write(pipe(2) + b"\n")
            assert await second[0].readline() == b"OK\n"
            for _, one in (first, second):
                one.close()

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_a_slow_sender_is_ended_and_what_it_began_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that stays unfinished is cut off after `record_s`, however the bytes dribble."""

    async def run() -> None:
        async with receiving(tmp_path, record_s=0.3, reply=Reply(text="OK")) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))

            async def dribble() -> None:
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.02)

            slow = asyncio.create_task(dribble())
            assert await converse(port(forward, "tcp"), pipe(1) + b"\n") == b"OK\n"
            assert await reader.readline() == b"OK\n"
            assert await reader.read() == b""
            slow.cancel()
            kept = lines(await gather(forward))
            assert kept[0] == pipe(1)
            assert set(kept[1]) == {ord("x")}

    asyncio.run(asyncio.wait_for(run(), WAIT_S))
    assert any("in the middle of a record" in entry.message for entry in caplog.records)


def test_a_quiet_connection_between_records_is_left_alone(tmp_path: Path) -> None:
    """Closing it would lose the switch's next record, which it sends into a socket that is no longer read."""

    async def run() -> None:
        async with receiving(tmp_path, record_s=0.05, reply=Reply(text="OK")) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))
            for number in range(3):
                writer.write(pipe(number) + b"\n")
                assert await reader.readline() == b"OK\n"
                await asyncio.sleep(0.15)
            writer.close()

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_idle_and_overlong_senders_are_dropped_with_a_reason(tmp_path: Path) -> None:
    """`idle_s` ends a silent connection; a record over `max_line_bytes` is refused, counted, and its neighbours are kept."""

    async def run() -> None:
        counts = Counts()
        async with receiving(tmp_path, metrics=counts, idle_s=0.2, max_line_bytes=300, reply=Reply(text="OK")) as forward:
            reader, _ = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))
            assert await reader.read() == b""
            answer = await converse(port(forward, "tcp"), pipe(1) + b"\n" + b"z" * 1_000_000 + b"\n" + pipe(2) + b"\n")
            assert answer == b"OK\nOK\n"
            assert lines(await gather(forward)) == [pipe(1), pipe(2)]
            assert counts.refused("line_too_long") == 1
            assert counts.totals["vosship_forward_received_total"] == 2

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_two_hundred_senders_at_once_lose_nothing(tmp_path: Path) -> None:
    """Every sender gets an answer for each of its records while one of them floods."""

    async def run() -> None:
        async with receiving(tmp_path, reply=Reply(text="OK")) as forward:
            to = port(forward, "tcp")
            flood = b"".join(pipe(n) + b"\n" for n in range(10_000, 20_000))
            answers = await asyncio.gather(
                converse(to, flood), *(converse(to, b"".join(pipe(n * 10 + k) + b"\n" for k in range(10))) for n in range(200))
            )
            assert answers[0] == b"OK\n" * 10_000
            assert answers[1:] == [b"OK\n" * 10] * 200
            assert len(set(lines(await gather(forward)))) == 12_000

    asyncio.run(run())


def test_a_sender_that_does_not_read_its_answers_is_not_read_either(tmp_path: Path) -> None:
    """Its answers do not pile up in memory; once it reads, it gets all of them."""

    async def run() -> None:
        counts = Counts()
        text = "answer " * 140
        async with receiving(tmp_path, metrics=counts, reply=Reply(text=text)) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"), limit=2048)
            total = 60_000
            writer.write(b"".join(b"%06d|x\n" % number for number in range(total)))
            taken = -1
            while taken != counts.totals["vosship_forward_received_total"]:  # until it stands still
                taken = counts.totals["vosship_forward_received_total"]
                await asyncio.sleep(0.3)
            assert 0 < taken < total
            for _ in range(total):
                assert len(await reader.readline()) == len(text) + 1
            assert counts.totals["vosship_forward_received_total"] == total
            writer.close()

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_closing_takes_what_has_already_arrived(tmp_path: Path) -> None:
    """What lies in the kernel when the agent stops is kept and answered, also the record that was never finished."""

    async def run() -> None:
        async with receiving(tmp_path, reply=Reply(text="OK")) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"))
            writer.write(pipe(1) + b"\n")
            assert await reader.readline() == b"OK\n"
            made = udp_to(port(forward, "udp"))
            made.send(pipe(2))
            writer.write(pipe(3) + b"\n" + pipe(4)[:30])
            await forward.close()
            assert await reader.read() == b"OK\nOK\n"
            assert await heard(made) == b"OK"
            made.close()
        assert sorted(arrival.line for arrival in scan(tmp_path)) == sorted([pipe(1), pipe(2), pipe(3), pipe(4)[:30]])

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_a_sender_that_never_ends_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """It floods and reads no answer; the receiver stops all the same, and keeps what it took."""

    async def run() -> float:
        async with receiving(tmp_path, reply=Reply(text="x" * 1000)) as forward:
            _, writer = await asyncio.open_connection("127.0.0.1", port(forward, "tcp"), limit=1024)
            writer.write(b"a|b|c\n" * 200_000)
            await asyncio.sleep(0.3)
            began = asyncio.get_running_loop().time()
            await forward.close()
            writer.transport.abort()
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(asyncio.wait_for(run(), WAIT_S)) < 10
    assert sum(1 for _ in scan(tmp_path)) > 0


def test_segments_go_once_the_core_says_that_they_are_settled(tmp_path: Path) -> None:
    """With `keep_h: 0`, what every pipeline has settled leaves the disk; what one of two still needs does not."""

    async def run() -> None:
        async with receiving(tmp_path, keep_h=0.0, segment_bytes=4096, reply=Reply(text="OK")) as forward:
            settled: dict[str, Position] = {}
            for name in ("forward>store", "forward>relay"):
                forward.settled(name, {})
            await converse(port(forward, "tcp"), b"".join(pipe(number) + b"\n" for number in range(100)))
            await converse(port(forward, "tcp"), pipe(100) + b"\n")
            for item in await gather(forward):
                settled[item.stream.name] = Position(item.stream, item.end if isinstance(item, Block) else item.offset)
            before = segments(tmp_path)
            forward.settled("forward>store", settled)
            await converse(port(forward, "tcp"), b"".join(pipe(number) + b"\n" for number in range(200, 300)))
            assert before[0].name in {one.name for one in segments(tmp_path)}
            forward.settled("forward>relay", settled)
            await converse(port(forward, "tcp"), b"".join(pipe(number) + b"\n" for number in range(300, 400)))
            await converse(port(forward, "tcp"), pipe(400) + b"\n")
            assert before[0].name not in {one.name for one in segments(tmp_path)}

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_the_lag_runs_from_the_stop_to_the_arrival(tmp_path: Path) -> None:
    """Records with a known stop get `forward.lag_ms`; others do not."""
    forward = Forward(Forward.Options(), context(tmp_path))
    fields = {"forward.received_at": "2026-04-26T06:00:01.250Z", "forward.peer": "10.0.0.1"}
    block = Block(None, 0, 0, b"", b"", {})  # type: ignore[arg-type]  # its stream is not looked at
    known, unknown = Record(b"", 0, block, dict(fields), at=1_777_183_200), Record(b"", 0, block, dict(fields))
    forward.finish([known, unknown])
    assert known.fields["forward.lag_ms"] == 1250
    assert "forward.lag_ms" not in unknown.fields


def test_the_switchs_queue_is_estimated_from_the_absence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a receiver for longer than half of the queue lasts, the next start says so; without the parameter, nothing."""
    at = [1_776_000_000.0]
    counts = Counts()

    async def session(seconds: int, **parameters: int) -> None:
        options = Forward.Options(listen=["tcp://127.0.0.1:0"], reply=Reply(text="OK"), heartbeat_s=600.0)
        forward = Forward(options, context(tmp_path, metrics=counts, now=lambda: at[0], **parameters))
        await forward.open()
        for number in range(seconds):
            at[0] += 1
            assert await converse(port(forward, "tcp"), pipe(number) + b"\n") == b"OK\n"
        await forward.close()

    asyncio.run(session(10, EXTERNAL_MAX_CDR_PENDING_SIZE=100))
    at[0] += 60
    asyncio.run(session(0))
    assert not [entry for entry in caplog.records if "queue" in entry.message]
    (newest,) = tmp_path.glob("*.seg")
    newest.rename(newest.with_suffix(".away"))
    asyncio.run(session(10))
    at[0] += 60
    asyncio.run(session(0, EXTERNAL_MAX_CDR_PENDING_SIZE=100))
    (warning,) = [entry.__dict__ for entry in caplog.records if "queue" in entry.message]
    assert (warning["absent_s"], warning["queue"], warning["records_per_s"]) == (60, 100, 1.0)


def test_datagrams_the_kernel_dropped_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is held up too long loses datagrams before it sees them: that is shown, not silent."""
    monkeypatch.setattr("vosship_forward.forward.MEASURE_S", 0.01)

    async def run() -> None:
        counts = Counts()
        async with receiving(tmp_path, metrics=counts) as forward:
            made = udp_to(port(forward, "udp"))
            for _ in range(40_000):  # without giving the receiver a turn
                made.send(b"x|y")
            await counts.until_refused("kernel_buffer_full", 1)
            made.close()

    asyncio.run(asyncio.wait_for(run(), WAIT_S))
