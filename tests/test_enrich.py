"""What `gateways` and `prefixes` promise beyond their golden cases: countries, reloading, counting, memory."""

from __future__ import annotations

import gc
import logging
import random
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vosship.events import Block, Record, Stream
from vosship.plugin import Checks, Context, make
from vosship.schema import Schema
from vosship.telemetry import Telemetry
from vosship_enrich.countries import Countries
from vosship_enrich.deck import ALWAYS, Builder, DuplicateError
from vosship_enrich.numbers import NO_RULES, Between, digits, parse_rules, reduce

GATEWAYS = "id,name,customer\nCS1,Dhaka,Bengal Talk\n"
DECK = "prefix,destination,country\n880,Bangladesh,BD\n"
COUNTRIES = Countries()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1_777_183_200.0

    def __call__(self) -> float:
        return self.at


def context(base: Path, clock: Callable[[], float] = lambda: 0.0, schema: Schema | None = None) -> Context:
    """What a processor is told, with tables in `base`."""
    return Context(
        name="enrich", switch="dhaka-1", timezone="Asia/Dhaka", schema=schema or Schema(()),
        log=logging.getLogger("vosship.enrich"),
        metrics=Telemetry(), data_dir=base / "data", base_dir=base, now=clock,
    )  # fmt: skip


def processor(kind: str, base: Path, clock: Callable[[], float] = lambda: 0.0, **options: Any) -> Any:
    """A configured processor, loaded."""
    made = make("processor", kind, options, context(base, clock), "")
    made.load()
    return made


def record(at: int = 1_777_183_201, **fields: Any) -> Record:
    """A record as `cdr` leaves it."""
    return Record(b"", 0, Block(Stream("f", "f", "f"), 0, 1, b"", b"", {}), fields, at=at)


def table(path: Path, text: str | bytes) -> Path:
    """Put a table in place as an operator's editor would: written beside it, then renamed."""
    partial = path.with_suffix(".new")
    partial.write_bytes(text.encode() if isinstance(text, str) else text)
    partial.replace(path)
    return path


def test_every_country_has_the_library_own_answer_for_its_example_numbers() -> None:
    """For each country and kind of number the shipped table says what libphonenumber says of its example number."""
    countries = Countries()
    wrong = {}
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in phonenumbers.PhoneNumberType.values():
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None and (number.country_code, len(str(number.national_number))) != (1, 7):
                text = f"{number.country_code}{phonenumbers.national_significant_number(number)}"
                if countries.of(text) != phonenumbers.region_code_for_number(number):
                    wrong[text] = region
    assert wrong == {"212528812345": "EH"}, "the library gives Western Sahara's own example to Morocco"


def test_shared_calling_codes_are_split_as_the_library_splits_them() -> None:
    """Random numbers below every shared calling code get the country the library gives them, Western Sahara's apart."""
    countries, chance = Countries(), random.Random(7)
    asked = 0
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for _ in range(1500 if len(regions) > 1 else 0):
            length = 10 if code == 1 else chance.choice((7, 8, 9, 10))
            national = chance.randrange(10 ** (length - 1), 10**length)
            want = phonenumbers.region_code_for_number(phonenumbers.PhoneNumber(code, national))
            if want and not f"{code}{national}".startswith(("2125288", "2125289")):
                assert countries.of(f"{code}{national}") == want
                asked += 1
    assert asked > 3000


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("12425551234", "BS"), ("14165551234", "CA"), ("12125551234", "US"), ("77011234567", "KZ"), ("79121234567", "RU"),
        ("441534123456", "JE"), ("447781123456", "GG"), ("212528812345", "EH"), ("212528912345", "EH"), ("262269123456", "YT"),
        ("61891621234", "CC"), ("4779123456", "SJ"), ("590590271234", "BL"), ("1", ""), ("88", ""), ("", ""), ("999123", ""),
        ("880", "BD"), ("44", ""), ("8801", "BD"), ("20", "EG"),
    ],
)  # fmt: skip
def test_a_number_has_its_country(number: str, country: str) -> None:
    """Shared codes resolve to the right country, codes of one country at any length, unknown ones to none."""
    assert Countries().of(number) == country


def test_a_prefix_tells_the_country_of_every_number_below_it_or_of_none() -> None:
    """What a row of the deck remembers of its prefix is what each number beginning with it would be told."""
    assert [COUNTRIES.of(each) for each in ("880", "8801711", "20", "44", "447", "1", "1202", "999")] == [
        "BD", "BD", "EG", "", "", "", "US", "",
    ]  # fmt: skip
    rows = (files("vosship_enrich") / "countries.txt").read_text(encoding="ascii").splitlines()
    for country, *prefixes in (row.split() for row in rows if not row.startswith("#")):
        for prefix in prefixes:
            for length in range(1, len(prefix) + 1):
                assert COUNTRIES.of(prefix[:length]) in ("", country), f"{prefix[:length]} begins {prefix} of {country}"


def test_the_country_table_is_fresh() -> None:
    """The generator finds the shipped table as it would write it."""
    assert subprocess.run([sys.executable, "-m", "vosship_enrich.generate_countries", "--check"], check=False).returncode == 0


def test_the_longest_prefix_wins_as_in_a_plain_search() -> None:
    """Over random decks with dates the deck finds what trying every length from long to short finds."""
    chance = random.Random(11)
    for _ in range(30):
        builder, plain = Builder(1), {}
        for line in range(300):
            prefix = "".join(chance.choice("0123") for _ in range(chance.randrange(1, 8)))
            since = chance.choice((ALWAYS, 100, 200))
            if (prefix, since) not in plain:
                plain[prefix, since] = f"d{line}"
                builder.add(line, prefix, since, ("", f"d{line}"), [str(since)])
        deck = builder.build(lambda prefix, row, further: (prefix, row[1], further[0]), None)
        for _ in range(400):
            number = "".join(chance.choice("0123") for _ in range(chance.randrange(1, 10)))
            at = chance.choice((50, 100, 150, 250))
            want: tuple[str, str] = ("", "")
            for length in range(len(number), 0, -1):
                times = [since for since in (200, 100, ALWAYS) if since <= at and (number[:length], since) in plain]
                if times:
                    want = number[:length], plain[number[:length], times[0]]
                    break
            found = deck.match(number, at)
            assert (found[:2] if found else ("", "")) == want


def test_a_deck_remembers_no_more_than_it_may() -> None:
    """A number of every row, twice: what is found stays right, and what is kept of it does not grow."""
    builder = Builder()
    for line in range(20_000):
        builder.add(line, f"{line + 10_000}", ALWAYS, ("", f"d{line}"))
    deck = builder.build(lambda prefix, row, further: [prefix, row[1]], None)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(2):
        assert all(deck.match(f"{line + 10_000}55", 0) == [f"{line + 10_000}", f"d{line}"] for line in range(20_000))
    gc.collect()
    assert len(gc.get_objects()) - before < 10_000


def test_a_prefix_twice_from_the_same_time_names_both_lines() -> None:
    """Equal prefixes with equal starts are refused with their lines; with different starts they are versions."""
    builder = Builder()
    builder.add(2, "44", 5, ("", "a"))
    builder.add(9, "44", 6, ("", "b"))
    assert len(builder.build(lambda *found: found, None)) == 2
    builder.add(17, "44", 5, ("", "c"))
    with pytest.raises(DuplicateError) as caught:
        builder.build(lambda *found: found, None)
    assert (caught.value.prefix, caught.value.first, caught.value.second) == ("44", 2, 17)


@pytest.mark.parametrize(
    ("text", "rules", "number"),
    [
        ("8801711000001", "", "8801711000001"), ("+880 1711-000001", "", "8801711000001"), ("008801711", "", "8801711"),
        ("00999441632", "009|00999", "441632"), ("S0099966123456", "S00999", "66123456"), ("01711000001", "0=880", "8801711000001"),
        ("222#0044163", "222#", "44163"), ("QIANHAO", "Q", ""), ("", "", ""), ("00999", "00999", "999"),
        ("12#3", "", ""), ("+", "", ""),
        ("٠١٢", "", ""), ("00", "", ""),
    ],
)  # fmt: skip
def test_a_number_is_reduced_to_digits(text: str, rules: str, number: str) -> None:
    """The longest fitting technical prefix goes, then `+`, separators and 00; words are no numbers."""
    assert digits(text, parse_rules(rules)) == number


@pytest.mark.parametrize(
    ("billed", "sent", "rules", "number_sent"),
    [
        ("8801", "S008801", "S", ""),
        ("8801", "+8801", "", ""),
        ("8801", "S8801", "", ""),
        ("82", "S82", "S|S8", "2"),
        ("12", "12", "1", "2"),
        ("000012", "S0012", "S", "12"),
        ("8801", "008801", "0=88", "8808801"),
    ],
)
def test_a_number_as_sent_is_left_out_where_it_is_the_same(billed: str, sent: str, rules: str, number_sent: str) -> None:
    """A prefix that simply goes leaves the same number; one that a longer rule begins with, or that is replaced, does not."""
    own = (NO_RULES, parse_rules(rules))
    between = Between(own, own)
    for _ in range(2):  # the second time what stands before the number is known
        assert reduce(billed, sent, billed, sent, between) == (digits(billed), number_sent, digits(billed), number_sent)


def test_what_one_number_told_of_a_lead_holds_for_the_next_one_only_where_it_must() -> None:
    """A longer rule that the next number completes, and a lead without a number behind it, are looked at anew."""
    between = Between((NO_RULES, NO_RULES), (NO_RULES, parse_rules("S|S8|0011")))
    calls = [("12", "S12", ""), ("82", "S82", "2"), ("12", "001112", ""), ("12", "0011", "11"), ("12", "X12", ""), ("12", "X", "")]
    for callee, sent, number_sent in calls:
        assert reduce("", "", callee, sent, between)[2:] == (callee, number_sent)


NUMBERS = st.one_of(st.text("0128", min_size=2, max_size=5), st.text("012+S# -", max_size=5))
RULES = st.dictionaries(st.sampled_from(["1", "2", "12", "0", "00", "S", "S1", "S0", "+"]), st.sampled_from(["", "=1"]), max_size=3)


@given(drawn=st.data(), rules=st.tuples(RULES, RULES))
@settings(max_examples=1000, deadline=None)
def test_a_number_as_sent_is_told_where_it_differs(drawn: Any, rules: Any) -> None:
    """Whatever the rules and the calls before: both are what `digits` makes of them, the one as sent only where it differs."""
    incoming, outgoing = (parse_rules("|".join(word + rest for word, rest in each.items())) for each in rules)
    between = Between((incoming, outgoing), (incoming, outgoing))
    for _ in range(drawn.draw(st.integers(1, 4))):
        billed = drawn.draw(NUMBERS)
        lead = drawn.draw(st.sampled_from(["", *rules[1], "9"])) + drawn.draw(st.sampled_from(["", "+", "00", "0"]))
        sent = lead + drawn.draw(st.one_of(st.just(billed), st.just(digits(billed, incoming)), NUMBERS))
        number, as_sent = digits(billed, incoming), digits(sent, outgoing)
        want = (number, "" if as_sent == number else as_sent)
        assert reduce(billed, sent, billed, sent, between) == want * 2


def test_a_changed_table_is_taken_up_and_a_bad_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new table is used after `reload_s`; a bad one leaves the old in place, says so once, and `check` answers no."""
    clock = Clock()
    path = table(tmp_path / "g.csv", GATEWAYS)
    gateways = processor("gateways", tmp_path, clock, table="g.csv", reload_s=30)

    def name_now() -> str:
        gateways.process([record()])
        gateways._table.wait()
        one = record(callerGatewayId="CS1")
        gateways.process([one])
        return str(one.fields.get("caller.gateway.name"))

    assert name_now() == "Dhaka"
    table(path, "id,name\nCS1,Chittagong\n")
    assert name_now() == "Dhaka", "not before it is time to look"
    clock.at += 31
    assert name_now() == "Chittagong"
    table(path, "id,name\nCS1,Khulna\nCS1,Sylhet\n")
    caplog.clear()
    for _ in range(3):
        clock.at += 31
        assert name_now() == "Chittagong"
    assert [line.message for line in caplog.records if line.levelno == logging.ERROR] == ["table not reloaded, the old one stays"]
    assert next(remark.level for remark in gateways.check()) == "bad"
    table(path, "id,name\nCS1,Rajshahi\n")
    clock.at += 31
    assert name_now() == "Rajshahi"
    assert "bad" not in [remark.level for remark in gateways.check()]
    path.unlink()
    clock.at += 31
    assert name_now() == "Rajshahi", "a table that was deleted stays in force"


def test_a_changed_deck_is_taken_up(tmp_path: Path) -> None:
    """What a number was matched to is not remembered across a new deck."""
    clock = Clock()
    table(tmp_path / "d.csv", DECK)
    prefixes = processor("prefixes", tmp_path, clock, table="d.csv")
    found = []
    for text in (DECK, "prefix,destination,country\n88017,GP,BD\n"):
        table(tmp_path / "d.csv", text)
        clock.at += 31
        prefixes.process([record()])
        prefixes._deck.wait()
        one = record(calleeE164="8801711000001")
        prefixes.process([one])
        found.append(one.fields["callee.destination"])
    assert found == ["Bangladesh", "GP"]


def test_gateways_without_a_row_are_counted_and_listed(tmp_path: Path) -> None:
    """Ids without a row are counted, and another process's `check` lists them until they have one."""
    clock = Clock()
    path = table(tmp_path / "g.csv", GATEWAYS)
    gateways = processor("gateways", tmp_path, clock, table="g.csv")
    assert isinstance(gateways, Checks)
    unknown = record(calleeGatewayId="V8")
    gateways.process([record(callerGatewayId="CS1", calleeGatewayId="V9"), record(calleeGatewayId="V9"), unknown])
    assert gateways.unmatched() == {"V9": 2, "V8": 1}
    assert not (tmp_path / "data").exists(), "only the agent's records count, and it says when"
    gateways.keep()
    assert not any(name.startswith(("caller.gateway", "callee.gateway")) for name in unknown.fields)
    texts = [remark.text for remark in processor("gateways", tmp_path, clock, table="g.csv").check()]
    assert "gateways without a row: V9 (2), V8 (1)" in texts
    table(path, GATEWAYS + "V9,,\nV8,,\n")
    texts = [remark.text for remark in processor("gateways", tmp_path, clock, table="g.csv").check()]
    assert texts == [f"{path}: 3 gateways"]


def test_ids_without_a_row_do_not_grow_without_bound(tmp_path: Path) -> None:
    """Past a thousand distinct ids the rest are counted together."""
    table(tmp_path / "g.csv", GATEWAYS)
    gateways = processor("gateways", tmp_path, table="g.csv")
    gateways.process([record(callerGatewayId=f"X{number}") for number in range(1500)])
    assert len(gateways.unmatched()) == 1001
    assert gateways.unmatched()[""] == 500


def test_one_name_for_two_gateways_matches_by_id_only(tmp_path: Path) -> None:
    """A name that two rows share does not guess between them."""
    table(tmp_path / "g.csv", "id,name,customer\na,Same,A\nb,Same,B\nc,Own,C\n")
    gateways = processor("gateways", tmp_path, table="g.csv")
    records = [record(callerGatewayId=name) for name in ("a", "b", "Same", "Own")]
    gateways.process(records)
    assert [one.fields.get("caller.customer") for one in records] == ["A", "B", None, "C"]


def test_valid_from_may_be_written_otherwise_and_is_the_switch_own_clock(tmp_path: Path) -> None:
    """A date in the operator's format begins at midnight of the switch's zone."""
    table(tmp_path / "d.csv", "prefix,destination,valid_from\n44,old,\n44,new,26/04/2026\n")
    prefixes = processor("prefixes", tmp_path, table="d.csv", valid_from_format="%d/%m/%Y")
    midnight = 1_777_140_000  # 2026-04-26 00:00 in Dhaka is 18:00 UTC the day before
    records = [record(at=at, calleeE164="442079460000") for at in (midnight - 1, midnight)]
    prefixes.process(records)
    assert [one.fields["callee.destination"] for one in records] == ["old", "new"]


def test_a_deck_of_300_000_prefixes_is_small(tmp_path: Path) -> None:
    """Gateways, 300,000 prefixes and countries cost at most 60 MB of resident memory."""
    chance = random.Random(1)
    prefixes = sorted(
        {f"{chance.randrange(1, 10)}{chance.randrange(10**8):08}"[: chance.randrange(6, 10)] for _ in range(420_000)}
    )[:300_000]
    assert len(prefixes) == 300_000
    rows = (f"{prefix},Destination {number % 9000},{number % 5000 / 1e4:.4f}\n" for number, prefix in enumerate(prefixes))
    table(tmp_path / "d.csv", "prefix,destination,rate\n" + "".join(rows))
    table(tmp_path / "g.csv", GATEWAYS)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.'); from tests.test_enrich import processor\n"
        "import csv, vosship_enrich.gateways, vosship_enrich.prefixes\n"
        "rss = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "before = rss(); base = Path(sys.argv[1])\n"
        "kept = processor('gateways', base, table='g.csv'), processor('prefixes', base, table='d.csv')\n"
        "print(rss() - before)\n"
    )
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 60e6
