"""The simulated traffic: repeatable, and shaped as a wholesale switch's is."""

import csv
import ipaddress
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from vosship_switch.clock import LocalClock
from vosship_switch.rendering import renderer
from vosship_switch.traffic import Call, Traffic, arrivals

DHAKA = ZoneInfo("Asia/Dhaka")
MIDNIGHT_MS = 1_777_140_000_000  # 2026-04-26T00:00 in Dhaka (UTC+6) is 2026-04-25T18:00Z


def calls(count: int, seed: int = 7, cps: float = 50.0) -> list[Call]:
    traffic = Traffic(seed)
    return [traffic.call(at) for at in islice(arrivals(seed, MIDNIGHT_MS, cps, DHAKA), count)]


def test_the_start_used_here_is_midnight_in_dhaka() -> None:
    """The constant of this module is what its comment says."""
    assert datetime(2026, 4, 25, 18, tzinfo=UTC).timestamp() * 1000 == MIDNIGHT_MS


def test_one_seed_gives_one_traffic() -> None:
    """The same seed draws the same calls, another seed others."""
    assert calls(500) == calls(500)
    assert calls(500) != calls(500, seed=8)


def test_failed_attempts_are_two_to_five_times_the_answered_calls() -> None:
    """Over all calls and for every customer of some size."""
    answered: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for call in calls(40_000):
        (answered if call.hold_ms else failed)[call.customer.name] += 1
    assert 2 <= sum(failed.values()) / sum(answered.values()) <= 5
    for name, count in answered.items():
        if count > 300:
            assert 1.9 <= failed[name] / count <= 5.3, name


def test_a_day_has_its_busy_hour_in_the_evening_and_a_quiet_night() -> None:
    """The rate follows the switch's own clock, and its mean is what was asked for."""
    moments = []
    for at in arrivals(3, MIDNIGHT_MS, 0.5, DHAKA):
        if at >= MIDNIGHT_MS + 86_400_000:
            break
        moments.append(at)
    by_hour = Counter((at - MIDNIGHT_MS) // 3_600_000 for at in moments)
    assert by_hour.most_common(1)[0][0] in (19, 20)
    assert by_hour[20] > 10 * by_hour[3]
    assert abs(len(moments) / 86_400 - 0.5) < 0.02


def test_times_of_a_call_fit_together() -> None:
    """Reception, set-up and conversation fit before the stop, in whole seconds too; stops ascend but for a little disorder."""
    latest = 0
    late = 0
    for call in calls(20_000):
        start_s, stop_s = call.start_ms // 1000, call.stop_ms // 1000
        assert start_s * 1000 + call.setup_ms + call.hold_ms <= stop_s * 1000
        assert stop_s * 1000 - (start_s * 1000 + call.setup_ms + call.hold_ms) < 1000
        assert call.vendor_pdd_ms <= call.setup_ms
        assert call.stop_ms > latest - 2_500
        late += call.stop_ms < latest
        latest = max(latest, call.stop_ms)
    assert 0 < late < 10_000


def test_the_mix_of_codes_gateways_and_numbers_is_a_wholesale_switch() -> None:
    """SIP codes and the vendor's own, illegal and unrated calls, no-route calls, a few dozen gateways, odd callers."""
    made = calls(40_000)
    reasons = Counter(call.reason for call in made)
    assert {"200", "486", "487", "480", "503", "404", "-7", "-8", "-9", "-69", "16"} <= reasons.keys()
    illegal = [call for call in made if call.mode == -1 and not call.hold_ms]
    assert 0.01 < len(illegal) / len(made) < 0.05
    assert {call.reason for call in illegal} == {"-9"}
    assert any(call.mode == -1 and call.hold_ms for call in made)
    gateways = {call.customer.name for call in made} | {call.vendor.name for call in made if call.vendor}
    assert 24 <= len(gateways) <= 60
    assert any(not name.isascii() for name in gateways)
    assert {call.reason for call in made if call.vendor is None} == {"-9", "-69"}
    ended = Counter(call.ended_by for call in made if call.hold_ms)
    total = sum(ended.values())
    assert 0.5 < ended[0] / total < 0.8
    assert 0.15 < ended[1] / total < 0.4
    assert 0.05 < ended[2] / total < 0.2
    assert len({call.country.iso for call in made}) >= 30
    assert {call.caller for call in made} >= {"", "anonymous", "QIANHAO"}
    assert any(call.callee_access != call.callee != call.callee_out for call in made)
    talk = sorted(call.hold_ms for call in made if call.hold_ms)
    assert 40_000 < talk[len(talk) // 2] < 120_000 < sum(talk) / len(talk)


def test_every_pipe_line_holds_its_anchors() -> None:
    """19 fields, dates, durations, who hung up, addresses and billing mode are where the format wants them."""
    render = renderer("pipe", DHAKA, 0)
    for call in calls(5_000):
        fields = render(call).split("|")
        assert len(fields) == 19
        assert datetime.strptime(fields[2], "%Y-%m-%d %H:%M:%S") <= datetime.strptime(fields[3], "%Y-%m-%d %H:%M:%S")
        assert int(fields[4]) >= 0
        assert fields[6] in ("0", "1", "2")
        ipaddress.ip_address(fields[9])
        if fields[10]:
            ipaddress.ip_address(fields[10])
        assert bool(fields[10]) == bool(fields[8])
        assert fields[16] in ("-1", "1")
    assert renderer("pipe", DHAKA, 0, fields=17)(calls(1)[0]).count("|") == 16


def test_csv_layouts_tell_the_same_call() -> None:
    """52 and 46 columns in the order seen on switches; both name the same flow number, times and outcome."""
    file, datagram = renderer("csv-52", DHAKA, 9_000), renderer("datagram-46", DHAKA, 9_000)
    for call in calls(2_000):
        (long,), (short,) = csv.reader([file(call)]), csv.reader([datagram(call)])
        assert (len(long), len(short)) == (52, 46)
        assert long[41] == short[36] == str(9_000 + call.number)
        assert (long[19:24]) == (short[17:22]) == [
            str(call.start_ms), str(call.stop_ms), str(call.setup_ms), str(call.vendor_pdd_ms), str(call.hold_ms // 1000),
        ]  # fmt: skip
        assert (long[47], long[48]) == (short[41], short[42]) == (str(call.ended_by), call.reason)
        assert (long[2], long[6], long[12]) == (short[2], short[5], short[10])


@pytest.mark.parametrize("zone", ["Asia/Dhaka", "Asia/Kathmandu", "Europe/Berlin", "America/St_Johns", "UTC"])
def test_the_clock_reads_what_the_zone_says(zone: str) -> None:
    """Quick conversions agree with the standard library's through a year with both clock changes."""
    there = ZoneInfo(zone)
    clock = LocalClock(there)
    for moment in range(1_767_225_600, 1_767_225_600 + 366 * 86_400, 3_571):
        assert clock.text(moment * 1000 + 999) == datetime.fromtimestamp(moment, there).strftime("%Y-%m-%d %H:%M:%S")
