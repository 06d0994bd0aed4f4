"""The quick way of a regular line gives the documents that the processors give, member for member, and nothing else."""

import json
import random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import mmdb_writer
from vosship import config
from vosship.application import Application
from vosship.documents import Renderer
from vosship.events import Block, Stream
from vosship.pipeline import Pipeline
from vosship_switch.simulation import Settings, Simulation
from vosship_switch.traffic import Traffic

NAME = "2026042612.txt"
REGULAR = (
    "8801711000000|4420700000|2026-04-26 12:00:00|2026-04-26 12:01:05|{hold}|200|0|IN|OUT|10.0.0.1|10.0.0.2|"
    "+8801711000000|222#4420700000|8801711000000|004420700000|0|1|5000|900"
)
SETTLING = [REGULAR.format(hold=hold).encode() for hold in (0, 60_000, 50_000, 40_000, 30_000) * 14]
"""Enough lines to settle a stream's layout and the unit of its holdTime."""


def pipeline(processors="[cdr, codes]", **entry):
    """A pipeline of those processors, as the daemon builds it."""
    text = f"{{switch: s, timezone: Asia/Dhaka, inputs: {{cdr: {{type: files, paths: ['x/*.txt']}}}}, processors: {processors}}}"
    application = Application(config.parse(text))
    source = application.inputs["cdr"]
    renderer = Renderer(switch="s", host="h", channel="file", series="vos3000-cdr")
    return Pipeline(
        "cdr>out",
        source=source.plugin,
        processors=application.processors(source),
        renderer=renderer,
        now=lambda: 1_777_200_000.0,
        **entry,
    )


def block(lines, offset=0, name=NAME, *, unterminated=False):
    data = b"\n".join(lines) + (b"" if unterminated else b"\n")
    return Block(Stream(f"/cdr/{name}", name, f"/cdr/{name}"), offset, offset + len(data), data, b"", {}, unterminated=unterminated)


def documents(prepared):
    return [(document.id, document.index, json.loads(document.body)) for document in prepared.documents]


def both(blocks, processors="[cdr, codes]"):
    """What the quick way and the long way give, and how many records the quick way took."""
    quick, slow = pipeline(processors), pipeline(processors)
    taken = 0
    encode = quick._encoder.encode

    def counting(records):
        nonlocal taken
        left = encode(records)
        taken += len(records) - len(left)
        return left

    quick._encoder.encode = counting
    slow._encoder = None
    results = []
    for way in (quick, slow):
        prepared = [way.prepare(each) for each in blocks]
        results.append(
            [
                (documents(each), [(dead.offset, dead.reason) for dead in each.dead], each.filtered, each.last_at)
                for each in prepared
            ]
        )
    return results[0], results[1], taken


def test_a_switchs_traffic_is_the_same_both_ways(tmp_path):
    """20,000 simulated calls, with Chinese gateways, empty columns and technical prefixes; most take the quick way."""
    Simulation(Settings(directory=tmp_path, calls=20_000, start_ms=1_777_183_200_000, seed=3), told=None).run()
    quick, slow, taken = both(blocks_of(tmp_path))
    assert quick == slow
    assert taken > 18_000


def tables(place, of_the_deck=""):
    """Processors with tables: gateways with rules and labels that differ, a deck whose countries partly disagree."""
    traffic = Traffic(3)
    rows = [f"{each.name},N {each.name},{each.account},,{each.tech_prefix},a" for each in traffic.customers[1:]]
    rows += [f'{each.name},"N ""{each.name}",,V,{each.prefix},b' for each in traffic.vendors[1:]]
    (place / "g.csv").write_text("\n".join(["id,name,customer,vendor,strip_callee,region", *rows, "IN,In,,,222#,a"]) + "\n")
    (place / "d.csv").write_text("prefix,destination,country,region\n880,Bangladesh,BD,z\n44,UK,FR,\n88017,GP,,y\n")
    return f"{{type: gateways, table: '{place}/g.csv'}}, {{type: prefixes, table: '{place}/d.csv'{of_the_deck}}}"


def enriching(place, chain):
    """A chain with them: alone they write JSON themselves; with a label in common, or before geoip, they set fields."""
    asn = mmdb_writer.write(place / "asn.mmdb", "GeoLite2-ASN", {"8.8.8.0/24": {"autonomous_system_number": 15169}})
    chains = {
        "with tables": tables(place, ", labels: []"),
        "with tables and a label in common": tables(place),
        "with tables and geoip": f"{tables(place)}, {{type: geoip, asn: '{asn}'}}",
    }
    return f"[cdr, codes, {chains[chain]}]"


def blocks_of(folder):
    """The directory's files in blocks of 700 lines."""
    found = []
    for file in sorted(folder.iterdir()):
        lines, offset = file.read_bytes().split(b"\n")[:-1], 0
        for start in range(0, len(lines), 700):
            found.append(block(lines[start : start + 700], offset, file.name))
            offset = found[-1].end
    return found


@pytest.mark.parametrize(
    ("named", "writing"),
    [
        ("[cdr, codes, prefixes]", True),
        ("[cdr, prefixes]", True),
        ("with tables", True),
        ("with tables and a label in common", False),
        ("with tables and geoip", False),
    ],
)
def test_enriched_traffic_is_the_same_both_ways(tmp_path, named, writing):
    """The same with names, labels, destinations and countries, whoever writes them."""
    chain = enriching(tmp_path, named) if "tables" in named else named
    assert bool(pipeline(chain)._encoder._writing) is writing
    Simulation(Settings(directory=tmp_path / "cdr", calls=20_000, start_ms=1_777_183_200_000, seed=3), told=None).run()
    public = [line.replace(b"10.0.0.2", b"8.8.8.8") for line in SETTLING]
    settled = block(SETTLING, name="2026042700.txt")
    blocks = [*blocks_of(tmp_path / "cdr"), settled, block(public, settled.end, "2026042700.txt")]
    quick, slow, taken = both(blocks, chain)
    assert quick == slow
    assert taken > 18_000
    bodies = [body for prepared in quick for _, _, body in prepared[0]]
    assert any("callee.country" in body for body in bodies)
    if "tables" in named:
        assert any("country_mismatch" in body.get("tags", ()) for body in bodies)
        assert any("labels.region" in body for body in bodies)
    if "geoip" in named:
        assert any("callee.as.number" in body for body in bodies)


COLUMNS = st.one_of(
    st.sampled_from(
        ["", "0", "00", "007", "1", "-1", "9" * 19, "0x1", "٣", "200", "-8", "-99", "3.5", "2026-04-26 12:00:30", "10.0.0.300"]
    ),
    st.text(max_size=12),
)


@pytest.mark.parametrize("chain", ["[cdr, codes]", "[cdr, codes, prefixes]"])
@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 18), COLUMNS), max_size=3),
    end=st.sampled_from([b"", b"\r", b"|", b"|x", b"\xff", b"\x00"]),
    unterminated=st.booleans(),
)
def test_any_line_is_the_same_both_ways(chain, changes, end, unterminated):
    """Whatever stands in a column or behind the line, the quick way gives what the processors give, or leaves it to them."""
    columns = REGULAR.format(hold=21_049).split("|")
    for place, text in changes:
        columns[place] = text
    line = "|".join(columns).encode("utf-8", "surrogatepass").replace(b"\n", b" ") + end
    settled = block(SETTLING)
    quick, slow, taken = both([settled, block([SETTLING[0], line, SETTLING[1]], settled.end, unterminated=unterminated)], chain)
    assert quick == slow
    assert taken or changes or end


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    """A chain that writes for itself, with rules on either side and a deck that disagrees with a country of its own."""
    place = tmp_path_factory.mktemp("ruled")
    rows = ["IN,In,C,,222#|9=88,8", "OUT,Out,,V,S00|S007|0011|4,", "PLAIN,,C,,,"]
    (place / "g.csv").write_text("\n".join(["id,name,customer,vendor,strip_callee,strip_caller", *rows]) + "\n")
    (place / "d.csv").write_text("prefix,destination,country\n880,Bangladesh,BD\n91,India,PK\n4420,London,\n971,Emirates,AE\n")
    tables = f"{{type: gateways, table: '{place}/g.csv'}}, {{type: prefixes, table: '{place}/d.csv'}}"
    return f"[cdr, codes, {tables}]"


NUMBERS = st.sampled_from(["8801711000001", "4420700000", "919812345678", "971501234567", "12", "1", "", "anonymous", "+", "0171"])
LEADS = st.sampled_from(["", "S00", "0011", "222#", "00", "+", "9", "4", "77"])
SENT = st.tuples(LEADS, NUMBERS).map("".join)
CALLS = st.fixed_dictionaries(
    {
        0: NUMBERS, 1: NUMBERS, 7: st.sampled_from(["IN", "PLAIN", "", "X"]), 8: st.sampled_from(["OUT", "PLAIN", "", "X"]),
        11: NUMBERS, 12: NUMBERS, 13: SENT, 14: SENT,
    },
)  # fmt: skip


def call(callee, sent):
    """A call to that number, sent out as that by a gateway with rules."""
    return {0: "971", 1: callee, 7: "PLAIN", 8: "OUT", 11: "971", 12: callee, 13: "971", 14: sent}, True


@settings(max_examples=400, deadline=None)
@example([call("12345", "001112345"), call("12345", "0011")])
@example([call("12345", "S0012345"), call("71234", "S0071234")])
@given(st.lists(st.tuples(CALLS, st.booleans()), min_size=1, max_size=5))
def test_any_numbers_are_enriched_the_same_both_ways(ruled, calls):
    """Technical prefixes, words and empty columns, one call after the other: what was learned of one must hold for the next."""
    lines = []
    for changes, caller_as_billed in calls:
        columns = REGULAR.format(hold=21_049).split("|")
        for place, text in changes.items():
            columns[place] = text
        if caller_as_billed:  # as of most calls
            columns[13] = columns[0]
        lines.append("|".join(columns).encode())
    settled = block(SETTLING)
    quick, slow, taken = both([settled, block([SETTLING[0], *lines, SETTLING[1]], settled.end)], ruled)
    assert quick == slow
    assert taken == len(lines) + 2


def test_a_settled_streams_regular_lines_take_the_quick_way():
    """After the first block every line of a plain file is encoded straight; a chain or an option that needs the fields is not."""
    settled = block(SETTLING)
    assert both([settled, block(SETTLING, settled.end)])[2] == len(SETTLING)
    assert pipeline("[{type: cdr, rounding: {rule: threshold, value_ms: 50}}, codes]")._encoder is None
    assert pipeline("[cdr, codes, {type: privacy, numbers: {rule: drop}}]")._encoder is None
    assert pipeline("[cdr, codes, prefixes]")._encoder is not None
    assert pipeline(keep_original=True)._encoder is None
    assert pipeline("[cdr]")._encoder is not None


def test_the_quick_way_keeps_no_more_than_it_may():
    """A hostile switch that writes ever new codes does not grow the memory of encoded ones."""
    way = pipeline()
    offset = way.prepare(block(SETTLING)).block.end
    seen = random.Random(1)
    for _ in range(12):
        lines = [REGULAR.format(hold=0).replace("|200|", f"|{seen.randrange(10**9)}|").encode() for _ in range(600)]
        offset = way.prepare(block(lines, offset)).block.end
    assert len(way._encoder._ends) <= 5_000


@pytest.mark.parametrize(("gateway", "text"), [("网关".encode(), "网关"), ("网关".encode("gb18030"), "网关")])
def test_the_original_is_kept_as_text_where_it_is_text(gateway, text):
    """UTF-8 and GB18030 are read as such."""
    line = REGULAR.format(hold=0).encode().replace(b"IN", gateway)
    (document,) = pipeline("[cdr]", keep_original=True).prepare(block([line])).documents
    assert json.loads(document.body)["event.original"] == REGULAR.format(hold=0).replace("IN", text)


PECULIAR = {
    "zeros before a delay": {17: "0005000"},
    "zeros before a duration": {4: "0021049"},
    "answered before it was received": {2: "2026-04-26 12:01:04", 4: "21049"},
    "stopped before it started": {2: "2026-04-26 12:01:06", 4: "0"},
    "a reason in no table": {5: "-4711"},
    "a party in no table": {15: "7"},
    "stopped years from its file's name": {2: "2031-04-26 12:00:00", 3: "2031-04-26 12:01:05"},
    "longer than a year": {4: str(400 * 86_400_000)},
    "an address that is none": {9: "10.0.0.300"},
    "a quote in a number": {0: '880"171'},
    "a backslash in a gateway": {7: "IN\\"},
    "a tab in a number": {1: "44\t20"},
    "no outgoing gateway": {8: ""},
    "no caller": {0: ""},
    "no delay at the end": {18: ""},
    "digits of another script": {17: "٣٤"},
}


@pytest.mark.parametrize("changes", PECULIAR.values(), ids=PECULIAR)
def test_a_peculiar_line_is_the_same_both_ways(changes):
    """Each thing that the quick way must notice, alone among regular lines."""
    columns = REGULAR.format(hold=21_049).split("|")
    for place, text in changes.items():
        columns[place] = text
    settled = block(SETTLING)
    quick, slow, _ = both([settled, block([SETTLING[0], "|".join(columns).encode(), SETTLING[1]], settled.end)])
    assert quick == slow


def test_a_doubled_hour_is_the_same_both_ways():
    """Times that occur twice are tagged whichever way their line takes."""
    quick, slow = (pipeline() for _ in range(2))
    for way in (quick, slow):
        way._processors[0]._values.instants._convert.__self__._zone = ZoneInfo("Europe/London")
    slow._encoder = None
    name, settled = "2026102501.txt", [line.replace(b"2026-04-26", b"2026-10-25") for line in SETTLING]
    night = [line.replace(b" 12:0", b" 01:3") for line in settled[:3]]
    for way in (quick, slow):
        way.prepare(block(settled, 0, name))
    first, second = (documents(way.prepare(block(night, 100_000, name))) for way in (quick, slow))
    assert first == second
    assert all("time_ambiguous" in fields["tags"] for _, _, fields in first)
