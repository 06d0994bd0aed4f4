"""The generated dashboards: judged offline, asked of real servers, imported into a fake of either product."""

from __future__ import annotations

import base64
import email
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bulk_parts import FIELDS, output
from tests.dashboard_requests import Json, empty, panels, request
from tests.nodes import Node
from vosship.errors import ConfigError, HaltedError, UnavailableError
from vosship.query import Tally
from vosship_bulk.dashboards import problems

MAPPINGS = Path(__file__).parent.parent / "mappings"
NDJSON = (MAPPINGS / "dashboards.ndjson").read_bytes()
MAPPING = json.loads((MAPPINGS / "opensearch-template-vos3000-calls.json").read_text())["template"]["mappings"]

UNBILLED = "8801700000001|447700900001|2026-04-26 03:00:00|2026-04-26 03:01:00|50000|200|0|CS10031_ZX|GW_IN_CLI|10.1.1.1|" \
    "198.18.1.1|8801700000001|447700900001|8801700000001|447700900001|0|-1|9000|800\n"  # fmt: skip


def changed(change: Callable[[list[Json]], None]) -> list[str]:
    """What the validator says after a change to the saved objects."""
    items = [json.loads(line) for line in NDJSON.splitlines()]
    change(items)
    return problems("\n".join(map(json.dumps, items)).encode(), MAPPING)


def item(items: list[Json], kind: str, name: str) -> Json:
    """One saved object's attributes."""
    return next(each["attributes"] for each in items if each["type"] == kind and each["id"] == f"vosship-{name}")


def rewrite(attributes: Json, name: str, change: Callable[[Any], None]) -> None:
    """Change what stands as JSON inside a string."""
    inner = json.loads(attributes[name])
    change(inner)
    attributes[name] = json.dumps(inner)


def test_the_generated_objects_pass() -> None:
    """Types, references, fields, queries, grids and versions are right; seven dashboards, each with panels."""
    assert problems(NDJSON, MAPPING) == []
    assert len({dashboard["id"] for _, _, dashboard in panels(NDJSON)}) == 7


def test_a_field_that_nobody_has_is_found_wherever_it_stands() -> None:
    """In an aggregation, a TSVB metric, a query, a column and a filter alike."""

    def aggregation(items: list[Json]) -> None:
        rewrite(
            item(items, "visualization", "overview-top-in"),
            "visState",
            lambda state: state["aggs"][1]["params"].update(field="callerGateway"),
        )

    def metric(items: list[Json]) -> None:
        rewrite(
            item(items, "visualization", "overview-minutes"),
            "visState",
            lambda state: state["params"]["series"][0]["metrics"][0].update(field="holdtime"),
        )

    def ratio(items: list[Json]) -> None:
        rewrite(
            item(items, "visualization", "overview-asr"),
            "visState",
            lambda state: state["params"]["series"][0]["metrics"][0]["numerator"].update(query="answered:true"),
        )

    def query(items: list[Json]) -> None:
        rewrite(
            item(items, "visualization", "overview-attempts")["kibanaSavedObjectMeta"],
            "searchSourceJSON",
            lambda source: source["query"].update(query='NOT (billing:"-1")'),
        )

    def column(items: list[Json]) -> None:
        item(items, "search", "calls")["columns"].append("hold")

    def pill(items: list[Json]) -> None:
        rewrite(
            item(items, "dashboard", "overview")["kibanaSavedObjectMeta"],
            "searchSourceJSON",
            lambda source: source["filter"][0]["meta"].update(key="chanel"),
        )

    words = ["callerGateway", "holdtime", "answered", "billing", "hold", "chanel"]
    for change, word in zip((aggregation, metric, ratio, query, column, pill), words, strict=True):
        assert any(f"no field '{word}'" in text for text in changed(change)), word  # fmt: skip


def test_what_an_import_would_take_and_a_viewer_would_not_is_found() -> None:
    """Newer versions, dangling references, unknown types, the mean of a word, broken inner JSON, overlapping panels."""

    def version(items: list[Json]) -> None:
        next(each for each in items if each["type"] == "dashboard")["migrationVersion"]["dashboard"] = "8.0.0"

    def reference(items: list[Json]) -> None:
        items[:] = [each for each in items if each["id"] != "vosship-overview-asr"]

    def kind(items: list[Json]) -> None:
        rewrite(item(items, "visualization", "overview-top-in"), "visState", lambda state: state.update(type="lens"))

    def mean(items: list[Json]) -> None:
        rewrite(
            item(items, "visualization", "overview-acd"),
            "visState",
            lambda state: state["aggs"][0]["params"].update(field="call.answered"),
        )

    def inner(items: list[Json]) -> None:
        item(items, "visualization", "overview-acd")["visState"] += "}"

    def grid(items: list[Json]) -> None:
        rewrite(item(items, "dashboard", "overview"), "panelsJSON", lambda placed: placed[1]["gridData"].update(x=0))

    def listed(items: list[Json]) -> None:
        rewrite(item(items, "index-pattern", "calls"), "fields", lambda fields: fields.pop())

    expected = [
        "at most 7.9.3",
        "not in the file",
        "'lens'",
        "cannot be aggregated by avg",
        "visState holds no JSON",
        "overlap",
        "is not listed",
    ]
    for change, words in zip((version, reference, kind, mean, inner, grid, listed), expected, strict=True):
        assert any(words in text for text in changed(change)), words  # fmt: skip


@pytest.mark.parametrize("wrong", [None, 7, "word", [], {}])
def test_what_is_laid_out_otherwise_is_a_problem_and_no_exception(wrong: Any) -> None:
    """A member of another type, whichever it is, is told with the object's id; so is one that is not there."""
    for number, whole in enumerate(map(json.loads, NDJSON.splitlines())):
        for name in ("type", "id", "references", "migrationVersion", "attributes"):
            if whole[name] != wrong and (name, wrong) not in (("id", "word"), ("references", [])):
                assert changed(lambda items, at=number, key=name: items[at].update({key: wrong})), (whole["id"], name)

    def reference(items: list[Json]) -> None:
        next(each for each in items if each["references"])["references"][0] = wrong

    def params(items: list[Json]) -> None:
        rewrite(item(items, "visualization", "overview-acd"), "visState", lambda state: state["aggs"][0].update(params=wrong))

    def default(items: list[Json]) -> None:
        state = item(items, "visualization", "overview-asr")
        rewrite(state, "visState", lambda inner: inner["params"].update(default_timefield="nobody"))

    assert all(changed(change) for change in (reference, params, default))


def test_panels_over_fields_that_nobody_sets_are_left_out(tmp_path: Path) -> None:
    """An installation without enrichment gets dashboards whose every field it has."""
    plugin = output("opensearch", "http://127.0.0.1:9", tmp_path, dashboards_url="http://127.0.0.1:9")
    made = plugin.artefacts()
    lines = "\n".join(map(json.dumps, made["dashboards"])).encode()
    assert problems(lines, made["vos3000-calls"]["template"]["mappings"]) == []
    assert not [each for each in made["dashboards"] if each["id"].startswith("vosship-destinations")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated switch's files with an answered call that nobody paid, an operator's tables, a configuration's folder."""
    folder = tmp_path_factory.mktemp("dashboards")
    words = ["simulate", str(folder / "cdr"), "--calls", "3000", "--cps", "0.1", "--seed", "4"]
    subprocess.run([sys.executable, "-m", "vosship.cli", *words], check=True, capture_output=True)
    with sorted((folder / "cdr").glob("*.txt"))[3].open("a") as file:
        file.write(UNBILLED)
    (folder / "gateways.csv").write_text(
        "id,customer,vendor,side\nCS10031_ZX,Bengal Talk,,caller\nGW_IN_CLI,,Thames Voice,callee\nGW_RU,,Volga,callee\n"
    )
    (folder / "deck.csv").write_text("prefix,destination\n7,Russia\n91,India\n880,Bangladesh\n966,Saudi Arabia\n")
    return folder


@pytest.mark.real_server
def test_every_panel_shows_something(search_node: Node, files: Path) -> None:
    """Each panel's own query over simulated calls, asked of the real server, fills every column and every series."""
    _ship(search_node, files)
    for name, shown, dashboard in panels(NDJSON):
        body = request(shown, dashboard)
        if body is not None:
            status, answer = search_node.call("POST", "/vos3000-cdr-*,vos3000-fwd-*/_search", body)
            assert status == 200, (name, answer)
            assert empty(answer, shown) == [], name


@pytest.mark.real_server
def test_the_figures_are_those_of_stats(search_node: Node, files: Path) -> None:
    """Attempts, answered, ASR, ACD and minutes of the overview are what counting every file's call by the definitions gives."""
    _ship(search_node, files)
    _, found = search_node.call("POST", "/vos3000-cdr-*/_search", {"size": 10_000})
    tally = Tally()
    for hit in found["hits"]["hits"]:
        tally.count(hit["_source"])
    row = tally.row(())
    assert row.illegal
    answers = {}
    for name, shown, dashboard in panels(NDJSON):
        if name.startswith("vosship: Overview"):
            status, answers[shown["id"]] = search_node.call(
                "POST", "/vos3000-cdr-*,vos3000-fwd-*/_search", request(shown, dashboard)
            )
            assert status == 200
    total = {name: answer["hits"]["total"]["value"] for name, answer in answers.items()}
    assert total["vosship-overview-attempts"] == row.attempts
    assert total["vosship-overview-answered"] == row.answered
    asr = answers["vosship-overview-asr"]["aggregations"]["asr-asr"]
    assert round(asr["numerator"]["doc_count"] / asr["denominator"]["doc_count"], 9) == row.asr_ratio
    assert answers["vosship-overview-acd"]["aggregations"]["1"]["value"] / 1000 == pytest.approx(row.acd_s)
    minutes = answers["vosship-overview-minutes"]["aggregations"]["minutes-minutes"]["minutes-minutes-value"]["value"] / 60_000
    assert minutes == pytest.approx(row.minutes)


def _ship(node: Node, files: Path) -> None:
    """The agent ships the files; a few calls stand there a second time, as forwarded, one of them twice."""
    config = files / f"{node.engine}.yaml"
    config.write_text(
        f"switch: demo\ntimezone: Asia/Dhaka\ndata_dir: data-{node.port}-{len(list(files.glob('data-*')))}\n"
        "inputs:\n  cdr: {type: files, paths: ['cdr/*.txt']}\n  forward: {type: forward, listen: ['tcp://127.0.0.1:0']}\n"
        "processors:\n  - cdr\n  - codes\n  - {type: gateways, table: gateways.csv}\n  - {type: prefixes, table: deck.csv}\n"
        f"outputs:\n  search: {{type: {node.engine}, hosts: ['{node.url}'], refresh_interval_s: 1}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "vosship.cli", "run", "--once", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, found = node.call("POST", "/vos3000-cdr-*/_refresh")
    _, found = node.call("POST", "/vos3000-cdr-*/_search", {"size": 20})
    copies: list[Json] = []
    for number, hit in enumerate(found["hits"]["hits"]):
        copy = {**hit["_source"], "channel": "forward", "forward.lag_ms": 40 + number}
        copies += [{"create": {"_index": "vos3000-fwd-2026.04.26"}}, copy]
        if number == 0:
            copies += [{"create": {"_index": "vos3000-fwd-2026.04.26"}}, {**copy, "tags": ["resend"]}]
    body = "".join(json.dumps(line) + "\n" for line in copies).encode()
    status, answer = node.call("POST", "/_bulk?refresh=true", body, headers={"Content-Type": "application/x-ndjson"})
    assert status == 200, answer
    assert not answer["errors"], answer


class Product(http.server.ThreadingHTTPServer):
    """Answers as Kibana or OpenSearch Dashboards does, and remembers what it was sent."""

    def __init__(self, reply: tuple[int, Json]) -> None:
        self.reply = reply
        self.location = ""
        self.seen: list[tuple[str, Any, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/kibana"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Product)
        server.seen.append((self.path, self.headers, self.rfile.read(int(self.headers.get("content-length", 0)))))
        body = json.dumps(server.reply[1]).encode()
        self.send_response(server.reply[0])
        if server.location:
            self.send_header("location", server.location)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815  what http.server looks for

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def product() -> Iterator[Product]:
    """A product that takes everything."""
    server = Product((200, {"success": True, "successCount": 12}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def dashboards_step(engine: str, product: Product, cluster_url: str, folder: Path, **options: Any) -> list[str]:
    """Lines of `setup` that are about dashboards."""
    plugin = output(engine, cluster_url, folder, dashboards_url=product.url, **options)
    return [line for line in plugin.setup() if "dashboards" in line]


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fake cluster that takes templates."""
    from vosship.testing.cluster import Cluster

    with Cluster(request.param) as fake:
        yield fake.url


@pytest.mark.parametrize(("cluster", "header"), [("elasticsearch", "kbn-xsrf"), ("opensearch", "osd-xsrf")], indirect=["cluster"])
def test_setup_imports_the_dashboards(cluster: str, header: str, product: Product, tmp_path: Path) -> None:
    """Sent once as a file, below the base path, replacing, with the product's own header and the output's credentials."""
    engine = "elasticsearch" if header == "kbn-xsrf" else "opensearch"
    lines = dashboards_step(engine, product, cluster, tmp_path, username="ship", password="s3cret")
    assert lines == [f"dashboards: 12 saved objects in place at {product.url}"]
    ((path, headers, body),) = product.seen
    assert path == "/kibana/api/saved_objects/_import?overwrite=true"
    assert headers[header] == "true"
    assert base64.b64decode(headers["authorization"].split()[1]) == b"ship:s3cret"
    message = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    (part,) = message.get_payload()
    assert part.get_filename() == "dashboards.ndjson"
    ids = [json.loads(line)["id"] for line in part.get_payload().splitlines()]
    assert "vosship-calls" in ids
    assert len(ids) > 2


@pytest.mark.parametrize("cluster", ["opensearch"], indirect=True)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {"success": False, "errors": [{"type": "search", "id": "vosship-calls", "error": {"type": "unknown"}}]}),
         "did not take 1 of the saved objects"),
        ((401, {"message": "no"}), r"refuses the dashboards \(401\)"),
        ((422, {"message": "newer version"}), "newer version"),
        ((200, {"ok": True}), "is not OpenSearch Dashboards"),
    ],
)  # fmt: skip
def test_a_refused_import_is_said(cluster: str, reply: tuple[int, Json], words: str, product: Product, tmp_path: Path) -> None:
    """A partial import is a failure too, though it is answered with 200."""
    product.reply = reply
    with pytest.raises(HaltedError, match=words):
        dashboards_step("opensearch", product, cluster, tmp_path)


@pytest.mark.parametrize("cluster", ["opensearch"], indirect=True)
def test_no_redirect_is_followed(cluster: str, product: Product, tmp_path: Path) -> None:
    """The password is for the configured address; whoever answers elsewhere does not get it."""
    product.reply, product.location = (302, {}), f"{product.url}/login"
    with pytest.raises(HaltedError, match=r"refuses the dashboards \(302\).*put the address it redirects to"):
        dashboards_step("opensearch", product, cluster, tmp_path, username="ship", password="s3cret")
    assert len(product.seen) == 1


@pytest.mark.parametrize("cluster", ["opensearch"], indirect=True)
def test_an_absent_product_is_said_after_the_templates_are_in_place(cluster: str, tmp_path: Path) -> None:
    """Templates do not wait for dashboards."""
    plugin = output("opensearch", cluster, tmp_path, FIELDS, dashboards_url="http://127.0.0.1:9")
    steps = plugin.setup()
    done = [next(steps) for _ in range(3)]
    assert [line for line in done if "installed" in line and "index template" in line]
    with pytest.raises(UnavailableError, match="cannot be reached"):
        next(steps)


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    """Before anything is sent anywhere."""
    with pytest.raises(ConfigError, match="not the URL of a server"):
        output("opensearch", "http://127.0.0.1:9", tmp_path, dashboards_url="kibana:5601")
