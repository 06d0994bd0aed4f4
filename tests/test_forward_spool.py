"""The spool: nothing is told safe before it is, damage costs only what is damaged, and its bounds hold."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from tests.forward_parts import WAIT_S, pipe
from tests.spool_parts import Clock, everything, frame, keep, kept, run, spool
from vosship.events import Block, Gone, Position
from vosship_forward.disk import Disk
from vosship_forward.reader import Still, read
from vosship_forward.shelf import look, segments
from vosship_forward.spool import Spool, Ticket


class WatchedDisk(Disk):
    """A real disk that notes the order of its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, fd: int, data: bytes) -> None:
        """Note, and do."""
        super().write(fd, data)
        self.calls.append("write")

    def sync(self, fd: int) -> None:
        """Note, and do."""
        super().sync(fd)
        self.calls.append("sync")

    def sync_directory(self, directory: Path) -> None:
        """Note, and do."""
        super().sync_directory(directory)
        self.calls.append("sync_directory")


def test_nothing_is_told_safe_before_the_sync(tmp_path: Path) -> None:
    """A new segment's name and every record are synced before whoever waits for them hears of it."""

    async def steps() -> list[str]:
        disk = WatchedDisk()
        one = spool(tmp_path, disk=disk)
        one.open()
        landed = asyncio.Event()

        def note() -> None:
            disk.calls.append("landed")
            landed.set()

        one.append(Ticket([frame(pipe(1))], note))
        await landed.wait()
        await one.close()
        return disk.calls

    calls = run(steps())
    assert calls[:5] == ["write", "sync", "sync_directory", "write", "sync"]
    place = calls.index("landed")
    assert calls[place - 2 : place] == ["write", "sync"]


def test_records_that_come_together_share_one_sync(tmp_path: Path) -> None:
    """A thousand records handed over within the window cost a handful of syncs, not a thousand."""

    async def steps() -> int:
        disk = WatchedDisk()
        one = spool(tmp_path, disk=disk, gather_s=0.02, segment_bytes=1 << 20, max_bytes=16 << 20)
        one.open()
        landed: list[int] = []
        for number in range(1000):
            one.append(Ticket([frame(pipe(number))], functools.partial(landed.append, number)))
        await keep(one, b"last")
        assert landed == list(range(1000))
        await one.close()
        return disk.calls.count("sync")

    assert run(steps()) < 20
    assert kept(tmp_path) == [*(pipe(number) for number in range(1000)), b"last"]


@pytest.mark.parametrize("harm", ["cut", "flip", "rubbish", "zeros"])
def test_damage_at_the_end_costs_only_what_is_damaged(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    """A torn last record is cut off aloud, with its bytes; all before it stays, and writing goes on behind it."""

    async def write(*lines: bytes) -> None:
        one = spool(tmp_path, segment_bytes=1 << 20, max_bytes=16 << 20)
        one.open()
        await keep(one, *lines)
        await one.close()

    run(write(b"one", b"two"))
    (segment,) = segments(tmp_path)
    good = segment.path.read_bytes()
    torn = frame(b"torn")
    tail = {"cut": torn[:-1], "flip": torn[:-1] + b"?", "rubbish": os.urandom(500), "zeros": bytes(4096)}[harm]
    segment.path.write_bytes(good + tail)
    assert kept(tmp_path) == [b"one", b"two"]
    with caplog.at_level(logging.WARNING, "vosship.forward"):
        run(write(b"three"))
    (warning,) = [entry for entry in caplog.records if "damaged at its end" in entry.message]
    assert warning.__dict__["bytes"] == len(tail)
    assert kept(tmp_path) == [b"one", b"two", b"three"]


class FailingDisk(Disk):
    """A disk that takes half of a write, or loses a sync, until it is mended."""

    def __init__(self, step: str, error: int) -> None:
        self.step, self.error, self.broken = step, error, False
        self.failures = 0
        self.refused_often = threading.Event()

    def write(self, fd: int, data: bytes) -> None:
        """Take half of it where broken."""
        if self.broken and self.step == "write":
            super().write(fd, data[: len(data) // 2])
            self._fail()
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        """Fail where broken."""
        if self.broken and self.step == "sync":
            self._fail()
        super().sync(fd)

    def _fail(self) -> None:
        self.failures += 1
        if self.failures == 3:
            self.refused_often.set()
        raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize(("step", "error"), [("write", errno.ENOSPC), ("sync", errno.EIO)])
def test_a_disk_that_refuses_is_waited_for_and_loses_nothing(
    tmp_path: Path, step: str, error: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is told safe while the disk refuses; it is said once; when there is room, everything is kept once."""
    monkeypatch.setattr("vosship_forward.spool.RETRY_S", 0.01)

    async def steps() -> None:
        disk = FailingDisk(step, error)
        one = spool(tmp_path, disk=disk)
        one.open()
        await keep(one, b"before")
        disk.broken = True
        waiting = asyncio.create_task(keep(one, b"during"))
        await asyncio.to_thread(disk.refused_often.wait, WAIT_S)
        assert not waiting.done()
        disk.broken = False
        await waiting
        await keep(one, b"after")
        assert [line for item in await everything(one) if isinstance(item, Block) for line in item.data.split()] == [
            b"before",
            b"during",
            b"after",
        ]
        await one.close()

    with caplog.at_level(logging.WARNING, "vosship.forward"):
        run(steps())
    assert [entry.message for entry in caplog.records] == [
        "spool cannot be written, nothing is answered until it can",
        "spool can be written again",
    ]
    assert kept(tmp_path) == [b"before", b"during", b"after"]
    run(_reopened(tmp_path))
    assert kept(tmp_path) == [b"before", b"during", b"after"]


async def _reopened(place: Path) -> None:
    one = spool(place)
    one.open()
    await one.close()


def test_a_full_spool_costs_the_pipeline_that_is_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest segments go, the reader that needed them is told the bytes, also after a restart; the other has all."""

    async def steps() -> tuple[list[bytes], list[Gone]]:
        one = spool(tmp_path, max_bytes=40_000)
        one.open()
        one.progress.settled("forward>fast", {}, one.shelf)
        one.progress.settled("forward>dead", {}, one.shelf)
        fast: list[bytes] = []
        known: dict[str, Position] = {}
        for number in range(400):
            await keep(one, pipe(number))
            if number % 10 == 9:
                for item in await everything(one, known):
                    if isinstance(item, Block):
                        fast += item.data.split(b"\n")[:-1]
                        known[item.stream.name] = Position(item.stream, item.end)
                    else:
                        known[item.stream.name] = Position(item.stream, item.offset, gone=True)
                one.progress.settled("forward>fast", {name: place.offset for name, place in known.items()}, one.shelf)
        assert one.size < 40_000 + 8192
        await one.close()
        again = spool(tmp_path, max_bytes=40_000)
        again.open()
        items = await everything(again)
        await again.close()
        lost = [item for item in items if isinstance(item, Gone) and item.lost_bytes]
        left = [line for item in items if isinstance(item, Block) for line in item.data.split(b"\n")[:-1]]
        assert left == [pipe(number) for number in range(400 - len(left), 400)]
        return fast, lost

    with caplog.at_level(logging.ERROR, "vosship.forward"):
        fast, lost = run(steps())
    assert fast == [pipe(number) for number in range(400)]
    assert [gone.reason for gone in lost] == ["spool full"] * len(lost)
    said = [entry.__dict__ for entry in caplog.records if "deleted unread" in entry.message]
    assert [entry["bytes"] for entry in said] == [gone.lost_bytes for gone in lost]
    assert {entry["pipelines"] for entry in said} == {"forward>dead"}


def test_segments_stay_until_all_have_passed_and_their_time_is_over(tmp_path: Path) -> None:
    """Not before the slowest pipeline, not before `keep_h` after it; and then they go."""

    async def steps() -> None:
        clock = Clock(time.time())
        one = spool(tmp_path, now=clock, keep_s=100.0)
        one.open()
        for name in ("a", "b"):
            one.progress.settled(name, {}, one.shelf)
        await keep(one, *(pipe(number) for number in range(40)))
        await keep(one, b"second segment")
        first, second = one.shelf
        clock.at += 1000
        one.progress.settled("a", {second.name: second.data_end}, one.shelf)
        await _rotate(one)
        assert first in one.shelf
        one.progress.settled("b", {first.name: first.data_end}, one.shelf)
        clock.at = time.time() + 50  # the time of passing is the file's, which only the real clock can set
        await _rotate(one)
        assert first in one.shelf
        clock.at += 100
        await _rotate(one)
        assert first not in one.shelf
        assert not first.path.exists()
        assert second in one.shelf
        await one.close()

    run(steps())


async def _rotate(one: Spool) -> None:
    count = one.shelf[-1].number
    while one.shelf[-1].number == count:
        await keep(one, *(pipe(number) for number in range(20)))


def test_a_reader_takes_up_at_any_block_and_misses_nothing(tmp_path: Path) -> None:
    """Blocks tile every segment; from each of them on exactly the rest comes; a closed segment ends with a Gone."""

    async def steps() -> None:
        one = spool(tmp_path)
        one.open()
        sent = [pipe(number) for number in range(100)]
        for number in range(0, 100, 5):
            await keep(one, *sent[number : number + 5])
        known: dict[str, Position] = {}
        seen: list[bytes] = []
        for item in await everything(one):
            before = known.get(item.stream.name)
            assert item.offset == (before.offset if before else 0)
            if isinstance(item, Block):
                seen += item.data.split(b"\n")[:-1]
                known[item.stream.name] = Position(item.stream, item.end)
            else:
                assert item.lost_bytes == 0
                known[item.stream.name] = Position(item.stream, item.offset, gone=True)
            rest = [line for one_more in await everything(one, known) if isinstance(one_more, Block) for line in _lines(one_more)]
            assert seen + rest == sent
        assert [place.gone for _, place in sorted(known.items())] == [True] * (len(known) - 1) + [False]
        assert len(known) > 3
        await one.close()
        still = await everything(Still(tmp_path))
        assert [line for item in still if isinstance(item, Block) for line in _lines(item)] == sent

    run(steps())


def _lines(block: Block) -> list[bytes]:
    return block.data.split(b"\n")[:-1]


def test_a_live_reader_is_woken_by_what_lands(tmp_path: Path) -> None:
    """Records arrive at a waiting reader, over the end of a segment too, each once and in order."""

    async def steps() -> None:
        one = spool(tmp_path)
        one.open()
        got: list[bytes] = []
        done = asyncio.Event()

        async def follow() -> None:
            async for item in read(one, {}, "forever"):
                if isinstance(item, Block):
                    got.extend(_lines(item))
                    if len(got) == 60:
                        done.set()

        follower = asyncio.create_task(follow())
        for number in range(60):
            await keep(one, pipe(number))
        await done.wait()
        follower.cancel()
        assert got == [pipe(number) for number in range(60)]
        assert len(one.shelf) > 2
        await one.close()

    run(steps())


def test_damage_within_a_segment_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    """A record that rots on disk costs the rest of its segment, entered as lost; the segments after it come."""

    async def steps() -> None:
        one = spool(tmp_path)
        one.open()
        for number in range(40):
            await keep(one, pipe(number))
        await one.close()

    run(steps())
    first = look(tmp_path)[0]
    bad = bytearray(first.path.read_bytes())
    bad[first.data_end // 2] ^= 1
    first.path.write_bytes(bad)
    items = run(everything(Still(tmp_path)))
    (gone,) = [item for item in items if isinstance(item, Gone) and item.lost_bytes]
    assert gone.reason == "damaged"
    assert gone.offset + gone.lost_bytes == first.data_end
    got = [line for item in items if isinstance(item, Block) for line in _lines(item)]
    missing = [number for number in range(40) if pipe(number) not in got]
    assert missing == list(range(missing[0], first.records))
