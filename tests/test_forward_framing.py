"""How bytes become records, and records frames, however they were cut on their way."""

from __future__ import annotations

import csv
import io
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.forward_parts import datagram, pipe
from vosship_forward.columns import Reading, split
from vosship_forward.frames import HEADER_BYTES, DamagedError, Kind, decode, encode, pack_address, unpack_address
from vosship_forward.lines import Splitter
from vosship_forward.resends import GENERATION_RECORDS, Window

LIMIT = 20


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream of bytes, rich in newlines and overlong records, and the same in pieces."""
    stream = b"".join(draw(st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"|", b"\x00\xff", b"x" * 7, b"y" * 21]), max_size=40)))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return stream, [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(cut_streams())
def test_records_do_not_depend_on_how_a_stream_was_cut(cut: tuple[bytes, list[bytes]]) -> None:
    """Any split of a stream gives the records that its newlines say, without the blank and the overlong ones."""
    stream, pieces = cut
    splitter = Splitter(LIMIT)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    *ended, rest = stream.split(b"\n")
    assert found == [line for line in ended if line not in (b"", b"\r") and len(line) <= LIMIT]
    assert splitter.too_long == sum(len(line) > LIMIT for line in [*ended, rest])
    assert splitter.rest() == (b"" if len(rest) > LIMIT or rest == b"\r" else rest)


def test_a_record_of_a_megabyte_holds_no_memory() -> None:
    """A record beyond the limit is skipped to its newline, counted once, and its neighbours are whole."""
    splitter = Splitter(1000)
    assert splitter.feed(b"before\n") == [b"before"]
    for _ in range(1000):
        assert splitter.feed(b"z" * 1000) == []
        assert splitter.held_bytes <= 1000
    assert splitter.feed(b"\nafter\n") == [b"after"]
    assert splitter.too_long == 1


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(0, 400))
def test_frames_come_back_as_they_were_written(payloads: list[bytes], cut: int) -> None:
    """A cut buffer gives its whole frames and leaves the rest."""
    written = [
        encode(Kind.DATA, 1_776_000_000_000_000 + n, payload, key=n + 1, port=7, peer=pack_address("10.1.2.3"))
        for n, payload in enumerate(payloads)
    ]
    buffer = b"".join(written)[:cut]
    frames, used = decode(buffer, 1000)
    assert [frame.payload for frame in frames] == payloads[: len(frames)]
    assert used == sum(map(len, written[: len(frames)]))
    assert len(frames) == len(written) or used + len(written[len(frames)]) > len(buffer)
    assert all(unpack_address(frame.peer) == "10.1.2.3" and frame.port == 7 for frame in frames)
    assert [frame.offset for frame in frames] == [1000 + sum(map(len, written[:n])) for n in range(len(frames))]


@given(st.integers(0, HEADER_BYTES + 9), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    """No flipped bit in a frame goes unseen: it is damage, or the frame waits for bytes that never come."""
    good = bytearray(encode(Kind.DATA, 5, b"0123456789", key=9))
    good[place] ^= change
    try:
        frames, _ = decode(bytes(good), 0)
    except DamagedError:
        return
    assert frames == []


def test_flowno_is_the_key_and_the_answer_of_a_csv_record() -> None:
    """Column 37 is found behind quoted commas; two copies that differ elsewhere have one key."""
    reading = Reading(37)
    key, answer = reading.examine(datagram("775544"))
    assert answer == b"775544"
    assert reading.examine(datagram("775544", name="Other"))[0] == key
    assert reading.examine(datagram("775545"))[0] != key


@given(
    st.lists(st.text(st.sampled_from('ab",|é '), max_size=6), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_csv_fields_come_apart_as_they_were_joined(fields: list[str], quoting: Literal[0, 1]) -> None:
    """Quotes, commas and pipes within values, fully quoted or only where needed."""
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator="").writerow(fields)
    line = out.getvalue().encode("latin-1")
    if line.startswith(b'"') or b"|" not in line:
        assert split(line) == [field.encode("latin-1") for field in fields]


def test_a_pipe_record_is_known_by_its_bytes() -> None:
    """Pipe lines hold no flowno: equal bytes, equal key."""
    reading = Reading(0)
    assert reading.examine(pipe(1)) == reading.examine(pipe(1))
    assert reading.examine(pipe(1))[0] != reading.examine(pipe(2))[0]


@pytest.mark.parametrize("line", [b"\x00\xff\xfe", b'"never closed,1,2', b"|", b",", b'"', b"a" * 200_000, b'"' + b"a" * 200_000])
def test_garbage_has_a_key_and_no_answer(line: bytes) -> None:
    """Nothing that arrives can stop the receiver from looking at it."""
    key, answer = Reading(37).examine(line)
    assert key > 0
    assert answer == b""


def test_a_resend_is_known_within_the_window_only() -> None:
    """The same key counts again from its last arrival; beyond the window it is new."""
    window = Window(60)
    assert [window.arrived(7, at) for at in (1000, 1060, 1121, 1122)] == [False, True, False, True]


def test_many_records_shorten_the_window_but_not_below_its_bound() -> None:
    """However many arrive, the last GENERATION_RECORDS are known."""
    window = Window(3600)
    for key in range(1, GENERATION_RECORDS + 1000):
        assert not window.arrived(key * 2_654_435_761, 1000)
    assert window.arrived(1000 * 2_654_435_761, 1001)
