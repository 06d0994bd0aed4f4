"""The processor `cdr`: what it makes of streams, dirty lines and contradictions (single layouts: see tests/cases/cdr)."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vosship.config import convert
from vosship.errors import ConfigError, FatalError
from vosship.events import Block, Record, Stream
from vosship.pipeline import dead_line, records_of, revived
from vosship.plugin import Context
from vosship.schema import Schema
from vosship.telemetry import Telemetry
from vosship_cdr import Cdr, pipe
from vosship_cdr.layout import PIPE
from vosship_cdr.lines import UnreadableError, Values, build
from vosship_cdr.options import CdrOptions
from vosship_cdr.rounding import RoundingRule, rounder
from vosship_cdr.values import Clock, UnfitError

REGULAR = (
    b"8801711000001|00441632960001|2026-04-26 11:59:20|2026-04-26 12:00:01|21049|200|0|CS1|GW1|203.0.113.7|198.51.100.9|"
    b"8801711000001|00441632960001|8801711000001|00441632960001|0|1|8120|1730"
)
ZONE = "Asia/Dhaka"
CASES = Path(__file__).parent / "cases" / "cdr"


def context(timezone: str = ZONE) -> Context:
    """What a processor is told in these tests."""
    return Context(
        name="cdr",
        switch="dhaka-1",
        timezone=timezone,
        schema=Schema(()),
        log=logging.getLogger("vosship.cdr"),
        metrics=Telemetry(),
        data_dir=Path(),
        base_dir=Path(),
        now=lambda: 1777183200.0,
    )


def cdr(**options: Any) -> Cdr:
    """A processor with these options."""
    return Cdr(convert(options, CdrOptions, ""), context())


def block(*lines: bytes, offset: int = 0, name: str = "2026042612.txt", unterminated: bool = False) -> Block:
    """A block of these lines."""
    data = b"\n".join(lines) + (b"" if unterminated else b"\n")
    return Block(Stream(name=name, base=name, path=name), offset, offset + len(data), data, b"", {}, unterminated=unterminated)


def read(processor: Cdr, given_block: Block) -> list[Record]:
    """The records of one block after the processor."""
    records = records_of(given_block)
    processor.process(records)
    return records


def call(hold: int, ring_s: int = 12, talk_s: int = 60, stop: datetime = datetime(2026, 4, 26, 12, 30)) -> bytes:
    """A pipe line of an answered call that rang and talked so long; `hold` is what stands in its holdTime."""
    start = stop - timedelta(seconds=ring_s + talk_s)
    return REGULAR.replace(b"2026-04-26 11:59:20|2026-04-26 12:00:01|21049", f"{start}|{stop}|{hold}".encode())


def changed(column: int, text: bytes, line: bytes = REGULAR) -> bytes:
    """The line with another text in one column, counted from 1 as the vendor does."""
    parts = line.split(b"|")
    parts[column - 1] = text
    return b"|".join(parts)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode), st.lists(st.binary(max_size=20)).map(b"|".join)))
def test_no_line_whatever_its_bytes_harms_its_neighbours(line: bytes) -> None:
    """Any bytes end as fields, dead or filtered, and the calls around them are read as ever."""
    line = line.replace(b"\n", b"")
    records = read(cdr(), block(REGULAR, line, REGULAR, REGULAR))
    alone = read(cdr(), block(REGULAR))[0]
    assert [records[0].fields, records[2].fields, records[3].fields] == [alone.fields] * 3
    assert records[1].fate in ("dead", "filtered") or (records[1].day and records[1].fields["@timestamp"])
    assert bool(records[1].reason) == bool(records[1].fate)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.sampled_from([b'"', b'""', b",", b"|", b"a", b"1", b"\x81", b"\\"])).map(b"".join))
def test_no_line_harms_its_neighbours_in_a_csv_file(line: bytes) -> None:
    """Quotes that open and never close end with their own line: the calls around are read as ever."""
    call_line = next((CASES / "csv-52").glob("input.*")).read_bytes().split(b"\n")[0]
    records = read(cdr(), block(call_line, line.replace(b"\n", b""), call_line, name="cdr_20260426_120000.csv"))
    assert records[0].fields == records[2].fields
    assert records[0].fields["flowNo"] == "4455667788"
    assert records[1].fate in ("dead", "filtered")


_WORDS = (
    *("0", "1", "2", "-1", "3", "+5", "007", "1_0", "\u0663", "21049", "99999999999999999999", "abc", "", " ", "\r"),
    *("203.0.113.7", "::1", "300.1.1.1", "2026-04-26 12:00:01", "2026-04-26 11:59:20", "2026-02-30 12:00:00"),
    *("2026-04-26 12:00:60", "1777183201", "1777183201250"),
)
_TEXTS = st.sampled_from(_WORDS) | st.text(st.characters(exclude_characters="|\n", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=500, deadline=None)
@given(st.integers(17, 21), st.dictionaries(st.integers(1, 21), _TEXTS, max_size=5), st.sampled_from(["received", "connected"]))
def test_the_short_path_gives_what_the_long_one_gives(count: int, texts: dict[int, str], start_time: str) -> None:
    """A line the short path takes has exactly the fields, day and time that the general path gives it."""
    parts = [*REGULAR.split(b"|"), b"lrn", b"x"][:count]
    for column, text in texts.items():
        if column <= count:
            parts[column - 1] = text.encode()
    line = b"|".join(parts)
    options = convert(
        {"start_time": start_time, "extra_fields": ["lrn"], "rounding": {"rule": "up", "value_ms": 1000}}, CdrOptions, ""
    )
    values = Values(Clock(context_zone(), "auto"), options)
    records = records_of(block(line))
    if pipe.read(records, count, "ms", values, 0, 1 << 40):
        return
    tags: list[str] = []
    fields, stop = build(line.decode().rstrip("\r").split("|"), PIPE, "ms", values, tags)
    assert (records[0].fields, records[0].day, records[0].at) == (fields, stop[1], stop[2])
    assert not tags


def context_zone() -> Any:
    """The zone of these tests."""
    from zoneinfo import ZoneInfo

    return ZoneInfo(ZONE)


def test_the_short_path_takes_the_regular_line_whatever_its_width() -> None:
    """Lines of 17 to 20 columns need no general path."""
    for count in (17, 18, 19, 20):
        line = b"|".join([*REGULAR.split(b"|"), b"lrn"][:count])
        values = Values(Clock(context_zone(), "auto"), CdrOptions())
        assert pipe.read(records_of(block(line)), count, "ms", values, 0, 1 << 40) == []


@pytest.mark.parametrize("ring_s", [0, 3, 30, 60])
@pytest.mark.parametrize("talk_ms", [1000, 2500, 9000, 61_000, 1_800_000])
def test_true_milliseconds_raise_no_alarm(ring_s: int, talk_ms: int) -> None:
    """Short and long calls, rung for up to a minute, in their layout's own unit pass."""
    records = read(cdr(), block(*[call(talk_ms + n, ring_s, talk_ms // 1000) for n in range(60)]))
    assert {record.fate for record in records} == {""}


def test_a_few_calls_of_hundredths_of_a_second_raise_no_alarm() -> None:
    """Calls that end at once after the answer look like seconds one by one; among others they decide nothing."""
    lines = [call(30, 20, 0) if n % 3 else call(45_000, 20, 45) for n in range(300)]
    assert {record.fate for record in read(cdr(), block(*lines))} == {""}


def test_seconds_in_the_pipe_file_halt_with_the_option_that_settles_it() -> None:
    """holdTime in seconds where the layout has milliseconds is a thousandfold bill: file, evidence and option are named."""
    lines = [call(talk, 8, talk) for talk in range(5, 45)]
    with pytest.raises(FatalError) as caught:
        read(cdr(), block(*lines))
    assert "2026042612.txt" in str(caught.value)
    assert "40 fit seconds" in caught.value.message
    assert "`hold_unit: s`" in caught.value.hint
    assert read(cdr(hold_unit="s"), block(*lines))[0].fields["holdTime"] == 5000


def test_seconds_are_noticed_across_small_blocks_and_beside_a_clock_that_was_set() -> None:
    """The count goes on from block to block, and one call in ten with senseless times does not hide it."""
    processor = cdr()

    def follow() -> None:
        for number in range(40):
            line = call(4000, 3, 4) if number % 10 == 2 else call(30, 8, 30)
            read(processor, block(line, offset=number * 1000))

    with pytest.raises(FatalError):
        follow()


def test_milliseconds_in_a_csv_file_halt_too() -> None:
    """holdTime in milliseconds where the layout has seconds is the same contradiction the other way round."""
    line = next((CASES / "csv-52").glob("input.*")).read_bytes().split(b"\n")[0]
    assert b",1730,21," in line
    lines = [line.replace(b",1730,21,", b",1730,%d," % (21000 + n)) for n in range(25)]
    with pytest.raises(FatalError, match="`hold_unit: ms`"):
        read(cdr(), block(*lines, name="cdr_20260426_120000.csv"))
    assert read(cdr(hold_unit="ms"), block(*lines, name="cdr_20260426_120000.csv"))[3].fields["holdTime"] == 21003


@pytest.mark.parametrize(
    ("rule", "hold_ms", "billed_s"),
    [
        ({"rule": "threshold", "value_ms": 50}, 21_049, 21),
        ({"rule": "threshold", "value_ms": 50}, 21_050, 22),
        ({"rule": "threshold", "value_ms": 1}, 21_000, 21),
        ({"rule": "nearest", "value_ms": 1000}, 21_499, 21),
        ({"rule": "nearest", "value_ms": 1000}, 21_500, 22),
        ({"rule": "nearest", "value_ms": 6000}, 20_999, 18),
        ({"rule": "nearest", "value_ms": 6000}, 21_000, 24),
        ({"rule": "up", "value_ms": 1000}, 21_001, 22),
        ({"rule": "up", "value_ms": 60_000}, 60_000, 60),
        ({"rule": "up", "value_ms": 60_000}, 60_001, 120),
        ({"rule": "up", "value_ms": 1000, "minimum_s": 30, "increment_s": 6}, 12_000, 30),
        ({"rule": "up", "value_ms": 1000, "minimum_s": 30, "increment_s": 6}, 30_001, 36),
        ({"rule": "nearest", "value_ms": 1000, "minimum_s": 30}, 0, 0),
    ],
)
def test_rounding_follows_the_named_rule(rule: dict[str, Any], hold_ms: int, billed_s: int) -> None:
    """Billed seconds by threshold, nearest and up, with minimum and increment; an unanswered call bills nothing."""
    assert rounder(convert(rule, RoundingRule, ""))(hold_ms) == billed_s


@pytest.mark.parametrize("rule", [{"rule": "threshold", "value_ms": 1000}, {"rule": "nearest", "value_ms": 1500}])
def test_a_rounding_value_that_cannot_give_seconds_stops_the_start(rule: dict[str, Any]) -> None:
    """A value that does not fit its rule is a configuration error with its place."""
    with pytest.raises(ConfigError) as caught:
        cdr(rounding=rule)
    assert caught.value.path == "rounding.value_ms"


def test_a_stray_delimiter_stays_dead_when_tried_again_alone() -> None:
    """The file's column count is remembered, so a dead line tried again by itself is not taken for a wider layout."""
    stray = REGULAR.replace(b"|8801711000001|00441632960001|0|1|", b"|8801711000001|0044|0|0|1|")
    assert stray.count(b"|") == REGULAR.count(b"|") + 1
    processor = cdr()
    first = read(processor, block(REGULAR, stray, REGULAR))
    assert [record.reason for record in first] == ["", "stray_delimiter", ""]
    for _ in range(5):
        assert read(processor, revived(dead_line(first[1])))[0].reason == "stray_delimiter"
    assert read(cdr(), revived(dead_line(first[1])))[0].reason == "stray_delimiter"


def test_a_switch_upgraded_within_a_file_is_followed() -> None:
    """Where a whole block has another width than the lines before, the width is judged anew instead of losing the hour."""
    processor = cdr()
    narrow = b"|".join(REGULAR.split(b"|")[:17])
    before = block(*[narrow] * 60)
    assert {record.fate for record in read(processor, before)} == {""}
    after = read(processor, block(*[REGULAR] * 40, offset=before.end))
    assert {(record.fate, record.fields["calleePdd"]) for record in after} == {("", 1730)}


def test_two_streams_of_different_width_and_layout_do_not_disturb_each_other() -> None:
    """What is remembered belongs to one stream: a CSV file between two pipe files of 17 and 19 columns."""
    processor = cdr()
    csv = next((CASES / "csv-52").glob("input.*")).read_bytes().split(b"\n")[0]
    narrow = b"|".join(REGULAR.split(b"|")[:17])
    for _ in range(2):
        assert read(processor, block(narrow, name="2026042611.txt"))[0].fields["layout"] == "pipe"
        assert read(processor, block(csv, name="cdr_20260426_120000.csv"))[0].fields["layout"] == "csv-52"
        assert read(processor, block(REGULAR, name="2026042612.txt"))[0].fields["calleePdd"] == 1730


def test_a_wide_file_met_in_its_middle_is_believed_after_a_few_lines() -> None:
    """After a restart single lines of 20 columns are no proof of a further column; three of them are, and the dead ones heal."""
    processor = cdr()
    wide = REGULAR + b"|447700900123"
    found = [read(processor, block(wide, offset=5000 + number * 300))[0] for number in range(4)]
    assert [record.fate for record in found] == ["dead", "dead", "", ""]
    assert read(processor, revived(dead_line(found[0])))[0].fields["extra"] == ["447700900123"]


def test_a_title_alone_is_filtered_in_either_family() -> None:
    """A file that holds only its title yet has no call, and nothing dead."""
    for delimiter in ("|", ","):
        title = delimiter.join(f'"{column.name}"' if delimiter == "," else column.name for column in PIPE.columns)
        assert read(cdr(), block(title.encode()))[0].reason == "title"


def test_a_name_that_recurs_with_other_content_is_judged_anew() -> None:
    """A second generation of a file, after the clock went back, may be of another width than the first."""
    processor = cdr()
    read(processor, block(*[REGULAR] * 60))
    again = block(b"|".join(REGULAR.split(b"|")[:17]), REGULAR)
    again.stream = msgspec.structs.replace(again.stream, generation=2)
    narrow, stray = read(processor, again)
    assert "tags" not in narrow.fields
    assert stray.reason == "stray_delimiter"


def test_lines_of_two_layouts_in_one_stream_are_both_read() -> None:
    """A spool segment may hold pipe lines and quoted datagrams; each is read by the layout all of whose anchors hold."""
    csv = next((CASES / "datagram-46").glob("input.*")).read_bytes().split(b"\n")[0]
    records = read(cdr(), block(REGULAR, REGULAR, csv, REGULAR, name="spool-1"))
    assert [record.fields["layout"] for record in records] == ["pipe", "pipe", "datagram-46", "pipe"]
    narrow = b"|".join(REGULAR.split(b"|")[:17])
    records = read(cdr(), block(csv, csv, csv, narrow, name="spool-2"))
    assert [record.fields["layout"] for record in records] == ["datagram-46"] * 3 + ["pipe"]


def test_the_reason_for_a_layout_is_logged_once_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    """`layout: auto` says what it chose and why, and not again with every block."""
    processor = cdr()
    with caplog.at_level(logging.INFO, "vosship.cdr"):
        first = block(*[REGULAR] * 60)
        read(processor, first)
        read(processor, block(*[REGULAR] * 60, offset=first.end))
    assert [record.getMessage() for record in caplog.records] == ["layout recognised"]
    assert caplog.records[0].__dict__["reason"] == "60 of 60 lines fit pipe with 19 columns"


def test_fields_an_input_gave_stay_and_tags_join() -> None:
    """What the forward knows of a line (its peer, that it is a resend) is kept beside what the line says."""
    given_block = block(REGULAR, changed(4, b"2026-04-26 11:00:00"))
    given_block.each = [{"forward.peer": "10.0.0.1", "tags": ["resend"]}] * 2
    first, second = read(cdr(), given_block)
    assert (first.fields["forward.peer"], first.fields["tags"], first.fields["holdTime"]) == ("10.0.0.1", ["resend"], 21049)
    assert second.fields["tags"] == ["resend", "stop_before_start"]


def test_a_value_that_does_not_fit_its_column_leaves_the_call_whole() -> None:
    """An address or number the mapping would refuse is kept as text in `extra`, tagged, and the call goes on."""
    (record,) = read(cdr(), block(changed(10, b"999.1.1.1", changed(18, b"soon"))))
    assert record.fields["extra"] == ["callerIp=999.1.1.1", "callerPdd=soon"]
    assert record.fields["tags"] == ["bad_ip", "bad_number"]
    assert "callerIp" not in record.fields


def test_setup_needs_a_start_that_is_the_reception() -> None:
    """With `start_time: connected` there is no set-up time, and the answer stays stop less hold."""
    (received,) = read(cdr(), block(REGULAR))
    (connected,) = read(cdr(start_time="connected"), block(REGULAR))
    assert received.fields["call.setup_ms"] == 19_951
    assert "call.setup_ms" not in connected.fields
    assert received.fields["call.answered_at"] == connected.fields["call.answered_at"] == "2026-04-26T05:59:39.951Z"


def test_a_last_line_without_newline_alone_is_taken_only_at_full_width() -> None:
    """Where nothing else tells the file's width, a cut line of 17 columns could be one of 19: it is not taken."""
    whole = read(cdr(), block(REGULAR, unterminated=True))
    assert (whole[0].fate, whole[0].fields["tags"]) == ("", ["unterminated"])
    assert read(cdr(), block(b"|".join(REGULAR.split(b"|")[:17]), unterminated=True))[0].reason == "unterminated"


@pytest.mark.parametrize(
    "text",
    ["", "0", "12345", "2026-04-26", "2026-13-01 00:00:00", "1969-12-31 23:59:59", "24:00:00", "2026-04-26 24:00:00", "9" * 14],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Impossible dates, lone dates and numbers of senseless length are no time."""
    with pytest.raises(UnfitError):
        Clock(context_zone()).convert(text)


def test_a_day_is_the_switchs_not_utc() -> None:
    """The day index follows the stop in the switch's zone: 02:00 in Dhaka is the evening before in UTC."""
    (record,) = read(cdr(), block(changed(4, b"2026-04-26 02:00:00", changed(3, b"2026-04-26 01:59:00"))))
    assert (record.day, record.fields["@timestamp"]) == ("2026.04.26", "2026-04-25T20:00:00.000Z")


def test_clock_skew_can_be_switched_off() -> None:
    """A stop far from the file's date is dead, or kept with `max_skew_days: 0`."""
    late = changed(4, b"2026-05-26 02:00:00")
    assert read(cdr(), block(late))[0].reason == "clock_skew"
    assert read(cdr(max_skew_days=0), block(late))[0].day == "2026.05.26"


def test_an_unreadable_line_carries_its_reason() -> None:
    """The internal error names the word the line is counted by."""
    values = Values(Clock(context_zone()), CdrOptions())
    with pytest.raises(UnreadableError) as caught:
        build(["x"] * 19, PIPE, "ms", values, [])
    assert caught.value.reason == "bad_time"
    assert msgspec.json.encode(str(caught.value))


def test_what_is_said_of_a_bad_time_names_it_as_written() -> None:
    """The detail of a dead line is what the operator searches the file for, not the beginning of its minute."""
    cells = REGULAR.split(b"|")
    cells[3] = b"2026-99-26 12:00:07"
    (record,) = read(cdr(), block(b"|".join(cells)))
    assert (record.reason, record.detail[:22]) == ("bad_time", "'2026-99-26 12:00:07' ")
