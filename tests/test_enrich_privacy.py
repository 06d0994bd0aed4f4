"""What `geoip` and `privacy` promise beyond their golden cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import maxminddb
import pytest

from tests import mmdb_writer
from tests.test_enrich import Clock, context, processor, record
from vosship.errors import ConfigError
from vosship.events import Field
from vosship.plugin import Conceals, make
from vosship.schema import Schema

LONDON = {"country": {"iso_code": "GB"}, "city": {"names": {"en": "London"}}, "location": {"latitude": 51.5, "longitude": -0.1}}
KEY = "0123456789abcdef0123456789abcdef"
LINE = b"8801711000001|441632960001|2026-04-26 11:59:20|2026-04-26 12:00:01|21049|200|0|CS10|GW|203.0.113.7|2001:db8::7|+88017110|"
SCHEMA = Schema(
    [
        (
            "cdr",
            [
                Field(name="callerE164", type="keyword", description="."),
                Field(name="calleeE164", type="keyword", description="."),
                Field(name="callerIp", type="ip", description="."),
                Field(name="holdTime", type="long", description="."),
                Field(name="source.ip", type="alias", path="callerIp", description="."),
            ],
        )
    ]
)


def privacy(base: Path, **options: Any) -> Any:
    """The processor `privacy` where a small `cdr` has declared its fields."""
    return make("processor", "privacy", options, context(base, schema=SCHEMA), "processors[2]")


def test_the_written_database_is_one_the_official_reader_takes(tmp_path: Path) -> None:
    """What the tests write is a valid database with IPv4 and IPv6 networks."""
    path = mmdb_writer.write(tmp_path / "c.mmdb", "GeoLite2-City", {"81.2.69.0/24": LONDON, "2a02:d500::/29": {"a": 1}})
    with maxminddb.open_database(path) as reader:
        assert (reader.get("81.2.69.1"), reader.get("2a02:d500::1"), reader.get("81.2.70.1")) == (LONDON, {"a": 1}, None)
        assert reader.metadata().database_type == "GeoLite2-City"


def test_a_new_database_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """After the file was replaced the same address gets the new answer; a broken file leaves the last good one."""
    clock, path = Clock(), tmp_path / "c.mmdb"
    mmdb_writer.write(path, "GeoLite2-City", {"81.2.69.0/24": LONDON})
    geoip = processor("geoip", tmp_path, clock, city="c.mmdb")

    def country() -> object:
        geoip.process([record()])
        geoip._city.wait()
        one = record(callerIp="81.2.69.1")
        geoip.process([one])
        return one.fields.get("caller.geo.country")

    assert country() == "GB"
    mmdb_writer.write(tmp_path / "new", "GeoLite2-City", {"81.2.69.0/24": {"country": {"iso_code": "IE"}}}).replace(path)
    clock.at += 61
    assert country() == "IE"
    (tmp_path / "new").write_bytes(b"half a download")
    (tmp_path / "new").replace(path)
    clock.at += 61
    assert country() == "IE"
    assert next(geoip.check()).level == "bad"


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.0.1", "127.0.0.1", "169.254.1.1", "fe80::1", "::1", "100.64.0.9", "not an address"]
)
def test_addresses_of_no_place_get_nothing(tmp_path: Path, address: str) -> None:
    """Private, local and reserved addresses are not looked up, even where a database would answer."""
    mmdb_writer.write(tmp_path / "c.mmdb", "GeoLite2-City", {"0.0.0.0/1": LONDON, "128.0.0.0/1": LONDON, "8000::/1": LONDON})
    geoip = processor("geoip", tmp_path, city="c.mmdb")
    known, one = record(callerIp="81.2.69.1"), record(callerIp=address)
    geoip.process([known, one])
    assert known.fields["caller.geo.city"] == "London"
    assert one.fields == {"callerIp": address}


def test_a_bad_database_stops_the_start(tmp_path: Path) -> None:
    """No database, a missing one and one that is none are refused at their option."""
    (tmp_path / "c.mmdb").write_text("no database")
    for options, place in (({}, ""), ({"asn": "gone.mmdb"}, "asn"), ({"city": "c.mmdb"}, "city")):
        with pytest.raises(ConfigError) as caught:
            processor("geoip", tmp_path, **options)
        assert caught.value.path == place


def test_databases_in_each_others_place_are_refused(tmp_path: Path) -> None:
    """Neither would say anything of any address, silently; one whose type tells nothing is taken."""
    mmdb_writer.write(tmp_path / "c.mmdb", "GeoLite2-City", {"81.2.69.0/24": LONDON})
    mmdb_writer.write(tmp_path / "a.mmdb", "DBIP-ASN-Lite (compat=GeoLite2-ASN)", {"81.2.69.0/24": {"a": 1}})
    mmdb_writer.write(tmp_path / "own.mmdb", "our own", {"81.2.69.0/24": LONDON})
    for option, name, other in (("city", "a.mmdb", "asn"), ("asn", "c.mmdb", "city")):
        with pytest.raises(ConfigError) as caught:
            processor("geoip", tmp_path, **{option: name})
        assert (caught.value.path, f"it belongs to `{other}`" in str(caught.value)) == (option, True)
    processor("geoip", tmp_path, city="own.mmdb", asn="a.mmdb")


def test_a_database_laid_out_otherwise_costs_no_line(tmp_path: Path) -> None:
    """What stands elsewhere, or is of another type, is not found; it was a bug that set every line aside."""
    flat = {"country": "GB", "city": "London", "location": {"latitude": "51", "longitude": 0}, "autonomous_system_number": "AS1"}
    mmdb_writer.write(tmp_path / "x.mmdb", "ipinfo standard", {"81.2.69.0/24": flat})
    geoip = processor("geoip", tmp_path, city="x.mmdb", asn="x.mmdb")
    one = record(callerIp="81.2.69.1")
    geoip.process([one])
    assert one.fields == {"callerIp": "81.2.69.1"}


def test_a_hash_depends_on_number_and_key_alone(tmp_path: Path) -> None:
    """Equal numbers hash alike in every instance with the key, differently with another, and show nothing of themselves."""
    made = []
    (tmp_path / "key").write_text(KEY + "\n")
    for options in ({"key": KEY}, {"key_file": "key"}, {"key": KEY[::-1]}):
        step = privacy(tmp_path, fields={"callerE164": {"rule": "hash"}}, **options)
        one, other = record(callerE164="8801711000001"), record(callerE164="8801711000002")
        step.process([one, other])
        assert one.fields["callerE164"] != other.fields["callerE164"]
        made.append(one.fields["callerE164"])
    assert made[0] == made[1] != made[2]
    assert len(made[0]) == 16


@pytest.mark.parametrize(
    ("value", "keep", "masked"),
    [("8801711000001", (6, 2), "880171*****01"), ("12345678", (6, 2), "********"), ("44", (0, 0), "**"), ("441", (1, 0), "4**")],
)
def test_a_mask_hides_the_middle_or_all(tmp_path: Path, value: str, keep: tuple[int, int], masked: str) -> None:
    """A mask keeps what it may at both ends; a value no longer than that is hidden whole."""
    step = privacy(tmp_path, fields={"callerE164": {"rule": "mask", "keep_first": keep[0], "keep_last": keep[1]}})
    one = record(callerE164=value)
    step.process([one])
    assert one.fields == {"callerE164": masked}


def test_a_raw_line_is_concealed(tmp_path: Path) -> None:
    """No number is left in a line that leaves the machine; dates, codes and gateways are; addresses by their own rule."""
    numbers = privacy(tmp_path, numbers={"rule": "drop"})
    assert isinstance(numbers, Conceals)
    assert numbers.conceal(LINE) == (
        b"xxxxxxxxxxxxx|xxxxxxxxxxxx|2026-04-26 11:59:20|2026-04-26 12:00:01|xxxxx|200|0|CS10|GW|203.0.113.7|2001:db8::7|+xxxxxxxx|"
    )
    addresses = privacy(tmp_path, fields={"callerIp": {"rule": "drop"}})
    assert addresses.conceal(LINE) == LINE.replace(b"203.0.113.7", b"xxx.x.xxx.x").replace(b"2001:db8::7", b"xxxx:xxx::x")


@pytest.mark.parametrize(
    ("rule", "text", "left"),
    [
        ("calleeE164", b"+880 1711-12 34|(880)17/11.12|88017-1|880-17", b"+xxx xxxx-xx xx|(xxx)xx/xx.xx|xxxxx-x|xxx-xx"),
        ("calleeE164", b"2026-04-26 06:00:00|2026-04-26T06:00:00.000Z|10.0.0.1|1.25|486", None),
        ("calleeE164", b"8802026-04-26", b"xxxxxxx-xx-xx"),
        ("callerIp", b"fe80::1|::1|[2001::5]:5060|12:00:00", b"xxxx::x|::x|[xxxx::x]:5060|12:00:00"),
        ("callerIp", b"::ffff:10.1.2.3|10.0.0.1.|1.25", b"::xxxx:xx.x.x.x|xx.x.x.x.|1.25"),
        ("holdTime", "中文|Ann|12|2026-04-26 06:00:00|10.0.0.1".encode(), b"xxxxxx|xxx|xx|xxxx-xx-xx xx:xx:xx|xx.x.x.x"),
    ],
)
def test_what_is_concealed_of_a_raw_line(tmp_path: Path, rule: str, text: bytes, left: bytes | None) -> None:
    """Numbers with what stands between their digits, addresses in every form; all of it where a rule concerns another column."""
    assert privacy(tmp_path, fields={rule: {"rule": "drop"}}).conceal(text) == (text if left is None else left)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "no rule is given"),
        ({"fields": {"calerE164": {"rule": "drop"}}}, "no processor declares the field 'calerE164' (did you mean 'callerE164'?)"),
        ({"fields": {"tags": {"rule": "drop"}}}, "'tags' cannot have a rule"),
        ({"fields": {"callerE164": {"rule": "hash"}}}, "`hash` needs one secret"),
        ({"fields": {"callerE164": {"rule": "hash"}}, "key": "short"}, "the secret has 5 bytes"),
        ({"fields": {"callerE164": {"rule": "hash"}}, "key_file": "gone"}, "cannot read"),
        ({"fields": {"callerIp": {"rule": "hash"}}, "key": KEY}, "'callerIp' is an address"),
        ({"fields": {"holdTime": {"rule": "mask"}}}, "'holdTime' is of type long, which cannot be masked"),
        ({"fields": {"callerE164": {"rule": "blur"}}}, "'blur' is not known here"),
        ({"fields": {"host": {"rule": "drop"}}}, "'host' cannot have a rule"),
        ({"fields": {"source.ip": {"rule": "drop"}}}, "'source.ip' is another name of 'callerIp' (a rule for callerIp)"),
    ],
)
def test_a_rule_that_cannot_work_stops_the_start(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    """Unknown fields, fields the core needs, missing keys and impossible changes are refused with a sentence."""
    with pytest.raises(ConfigError) as caught:
        privacy(tmp_path, **options).load()
    assert sentence in str(caught.value)
    assert KEY not in str(caught.value)


def test_check_names_numbers_that_stay_readable(tmp_path: Path) -> None:
    """A rule for one number field while another holds the same number is pointed out."""
    remarks = list(privacy(tmp_path, fields={"callerE164": {"rule": "drop"}}).check())
    assert [(remark.level, "calleeE164" in remark.text) for remark in remarks] == [("warn", True), ("good", False)]
    assert [remark.level for remark in privacy(tmp_path, numbers={"rule": "drop"}).check()] == ["good"]


def test_check_names_what_gives_a_gateway_away(tmp_path: Path) -> None:
    """A gateway's name is its id where the table has none, so a rule for the id alone hides nothing."""
    names = ("callerGatewayId", "caller.gateway.name")
    schema = Schema([("cdr", [Field(name=name, type="keyword", description=".") for name in names])])

    def warnings(*ruled: str) -> list[str]:
        rules = {"fields": {name: {"rule": "drop"} for name in ruled}}
        remarks = make("processor", "privacy", rules, context(tmp_path, schema=schema), "processors[2]").check()
        return [remark.text for remark in remarks if remark.level == "warn"]

    assert warnings(names[0]) == ["caller.gateway.name tells the gateway in callerGatewayId"]
    assert warnings(*names) == []
