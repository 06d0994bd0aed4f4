"""When nobody listened, as the spool tells it: stops, crashes, silence."""

from __future__ import annotations

import random
from pathlib import Path

from tests.forward_parts import pipe
from tests.spool_parts import Clock, keep, kept, run, spool
from vosship_forward import absences, span
from vosship_forward.shelf import SEAL_BYTES, look, measure, segments


def test_absence_is_known_from_stops_crashes_and_silence(tmp_path: Path) -> None:
    """A stop, a crash and a silence of several heartbeats are named to the millisecond; steady heartbeats are not."""
    clock = Clock(1_776_000_000.0)

    async def session(seconds: int, *, crash: bool) -> None:
        one = spool(tmp_path, now=clock, heartbeat_s=1.0)
        one.open()
        for _ in range(seconds):
            clock.at += 1.0
            await keep(one, b"call")
        if crash:
            (segment,) = segments(tmp_path)
            held = segment.path.read_bytes()
            await one.close()
            segment.path.write_bytes(held)  # as if the process had died before its STOP frame
        else:
            await one.close()

    run(session(3, crash=False))
    clock.at += 60.5
    run(session(2, crash=True))
    clock.at += 10
    run(session(2, crash=False))
    ms = 1_776_000_000_000
    assert absences(tmp_path) == [(ms + 3_000, ms + 63_500), (ms + 65_500, ms + 75_500)]
    assert span(tmp_path) == (ms, ms + 77_500)


def test_a_start_is_seen_after_a_crash_between_two_segments(tmp_path: Path) -> None:
    """Killed when a segment was sealed and the next not yet begun: even a short absence is known."""
    clock = Clock(1_776_000_000.0)

    async def session() -> None:
        one = spool(tmp_path, now=clock, heartbeat_s=600.0)
        one.open()
        clock.at += 1.0
        await keep(one, b"call")
        await one.close()

    run(session())
    (segment,) = look(tmp_path)
    held = segment.path.read_bytes()[: segment.data_end]
    segment.path.write_bytes(held)
    measure(segment)
    segment.path.write_bytes(held + segment.seal(int(clock.at * 1e6)))
    clock.at += 2.0
    run(session())
    ms = 1_776_000_000_000
    assert len(segments(tmp_path)) == 2
    assert absences(tmp_path) == [(ms + 1_000, ms + 3_000)]


def test_silence_while_running_is_an_absence(tmp_path: Path) -> None:
    """A process that was held up, or a disk that was full, kept nothing meanwhile: that time is named too."""
    clock = Clock(1_776_000_000.0)

    async def steps() -> None:
        one = spool(tmp_path, now=clock, heartbeat_s=600.0)
        one.open()
        clock.at += 1700
        await keep(one, b"late, but within three heartbeats")
        clock.at += 1801
        await keep(one, b"too late")
        await one.close()

    run(steps())
    ms = 1_776_000_000_000
    assert absences(tmp_path) == [(ms + 1_700_000, ms + 3_501_000)]


def test_seals_tell_of_absences_what_the_frames_tell(tmp_path: Path) -> None:
    """Found from the seals or frame by frame, the absences of a long history are the same."""
    clock = Clock(1_776_000_000.0)
    chance = random.Random(3)

    async def session() -> None:
        one = spool(tmp_path, now=clock, heartbeat_s=600.0, max_bytes=1 << 22)
        one.open()
        for _ in range(80):
            clock.at += chance.choice([1, 10, 500, 1500, 1790]) if chance.random() < 0.94 else 2500
            await keep(one, *(pipe(number) for number in range(10)))
        await one.close()

    for _ in range(3):
        run(session())
        clock.at += 100
    shelf = segments(tmp_path)
    assert sum(one.sealed and not one.starts and one.silence_us <= 1_800_000_000 for one in shelf) > 10
    by_seals = absences(tmp_path), span(tmp_path)
    assert len(by_seals[0]) > 5
    for one in shelf:
        if one.sealed:
            one.path.write_bytes(one.path.read_bytes()[:-SEAL_BYTES])
    assert (absences(tmp_path), span(tmp_path)) == by_seals


def test_a_spool_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    """No directory is no records, no absences, and no span."""
    assert (kept(tmp_path / "none"), absences(tmp_path / "none"), span(tmp_path / "none")) == ([], [], None)
