"""`vosship browse` in a real browser, over a store that a real agent filled and goes on filling."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest

from tests.browse_parts import CONFIG, HOSTILE, Watched, browsing, chromium, line, make_store, missing_chromium, vosship
from vosship.panels import DASHBOARDS, ONE_CALL
from vosship_browse.days import day_files
from vosship_browse.views import offset_sql

needs_browser = pytest.mark.skipif(bool(missing_chromium()), reason=missing_chromium())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose store holds two days."""
    return make_store(tmp_path_factory.mktemp("browse"))


@pytest.fixture(scope="module")
def address(config: Path) -> Iterator[str]:
    """Pages over that store."""
    with browsing(config) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    """A page at laptop width, which must have done nothing wrong when the test is over."""
    watched = Watched(browser, address)
    yield watched
    watched.close()
    assert watched.wrongs == []


def asked(address: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """An answer without a browser."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def rows(address: str, table: str = "recent", more: str = "") -> int:
    """How many calls a list says it has."""
    status, body = asked(address, f"/store/{table}.json?_size=1{more}")
    assert status == 200, body
    return int(json.loads(body)["filtered_table_rows_count"])


@needs_browser
@pytest.mark.parametrize("width", ["laptop", "phone"])
def test_every_page_opens(browser: Any, address: str, width: str) -> None:
    """No console error, no request to another host, nothing wider than the screen; every panel shows something."""
    watched = Watched(browser, address, width)
    page = watched.open("/")
    found = [link.get_attribute("href") for link in page.query_selector_all(".vosship-cards a, .nav-menu a")]
    assert len(found) >= len(DASHBOARDS) - 1
    one_call = watched.open("/find?number=9*").query_selector(".vosship-found a").get_attribute("href")
    for path in [*found, "/find?number=9*", one_call, "/store", "/-/dashboards/overview/traffic?hours=24"]:
        page = watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], path
        for chart in page.query_selector_all(".dashboard-card svg"):
            assert chart.query_selector("path[role='graphics-symbol']") or path.startswith("/-/dashboards/forward"), path
    watched.close()
    assert watched.wrongs == []


@needs_browser
def test_a_bar_leads_to_its_calls(watched: Watched) -> None:
    """A click on the longest bar of a chart opens the list of just these calls."""
    page = watched.open("/-/dashboards/overview?hours=24")
    chart = page.query_selector("#chart-top-in svg")
    chart.scroll_into_view_if_needed()
    with page.expect_navigation():
        box = chart.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 15)
    gateway = unquote(re.search(r"gateway_in__exact=([^&]+)", page.url)[1])  # type: ignore[index]
    cells = {cell.inner_text() for cell in page.query_selector_all("td.col-gateway_in")}
    assert cells == {gateway}


@needs_browser
def test_a_facet_narrows(watched: Watched) -> None:
    """The count said beside a facet's value is the count of the list it leads to."""
    page = watched.open("/store/recent")
    link = page.query_selector(".facet-results [data-column='gateway_in'] li a, #facet-gateway_in li a, .facet-gateway_in li a")
    said = int(re.sub(r"\D", "", link.evaluate("link => link.parentElement.textContent.replace(link.textContent, '')")))
    name = link.inner_text()
    link.click()
    page.wait_for_load_state("networkidle")
    assert f"{said:,} rows" in page.query_selector("h3").inner_text()
    assert {cell.inner_text() for cell in page.query_selector_all("td.col-gateway_in")} == {name}


@needs_browser
def test_one_call_opens_with_its_evidence(watched: Watched, config: Path) -> None:
    """From the list to the call; file and byte on its page lead to the line, whose numbers are on the page."""
    page = watched.open("/store/recent")
    page.query_selector("td.col-call a").click()
    page.wait_for_load_state("networkidle")
    said = dict(
        zip(
            (t.inner_text() for t in page.query_selector_all("dt")),
            (d.inner_text() for d in page.query_selector_all("dd")),
            strict=True,
        )
    )
    raw = Path(said["file"]).read_bytes()[int(said["byte"]) :].split(b"\n")[0].decode().split("|")
    sides = page.query_selector(".vosship-sides").inner_text()
    assert raw[0] in sides
    assert raw[1] in sides
    assert said["stopped"] == raw[3]
    assert said["received"] == raw[2]


@needs_browser
def test_a_number_is_found(watched: Watched) -> None:
    """Typed on the first page, either side; hostile text stays text, on every page that shows it."""
    page = watched.open("/")
    page.fill("#number", HOSTILE)
    page.keyboard.press("Enter")
    page.wait_for_url("**/find?*")
    assert "1 call of" in page.query_selector("h1").inner_text()
    page.query_selector(".vosship-found a").click()
    page.wait_for_load_state("networkidle")
    assert HOSTILE in page.query_selector("h1").inner_text()
    for path in ("/store/recent?caller__exact=" + quote(HOSTILE), "/-/dashboards/rejects?hours=168"):
        page = watched.open(path)
        assert any(HOSTILE in table.inner_text() for table in page.query_selector_all("table")), path
        assert not page.query_selector("img")


def test_times_are_the_switchs(address: str, config: Path) -> None:
    """The newest call's `stopped` is what stands in the newest file, in the switch's zone."""
    _, body = asked(address, "/store/recent.json?_shape=array&_size=1")
    newest = sorted((config.parent / "cdr").glob("*.txt"))[-1].read_text().splitlines()
    assert json.loads(body)[0]["stopped"] == max(text.split("|")[3] for text in newest)


def test_figures_are_those_of_stats(address: str, config: Path) -> None:
    """Attempts, answered, ASR, ACD and minutes on the overview are the command's."""
    words = ["stats", "--by", "switch", "--json", "--month", "2026-04", "-c", config]
    (row,) = json.loads(subprocess.run(vosship(*words), check=True, capture_output=True).stdout)
    _, page = asked(address, "/-/dashboards/overview?hours=168&gateway=")
    expected = {"attempts": f"{row['attempts']:,}", "answered": f"{row['answered']:,}", "asr": f"{row['asr_ratio'] * 100:.1f}",
                "acd": f"{row['acd_s']:.1f}", "minutes": f"{row['minutes']:,.0f}",
                "pdd": f"{row['caller_pdd_ms_p50'] / 1000:.1f} / {row['caller_pdd_ms_p95'] / 1000:.1f}"}  # fmt: skip
    for name, value in expected.items():
        chart = json.loads(re.search(rf"renderChart\('{name}', (\{{.*\}}), '", page.decode())[1])  # type: ignore[index]
        _, answer = asked(address, f"/store.json?_shape=array&hours=168&gateway=&sql={quote(chart['query'])}")
        assert json.loads(answer) == [{"value": value}], name


def test_csv_has_every_call(address: str, config: Path) -> None:
    """The whole list as CSV, streamed."""
    _, body = asked(address, "/store/calls.csv?_stream=on")
    found = list(csv.DictReader(io.StringIO(body.decode())))
    lines = sum(len(path.read_text().splitlines()) for path in (config.parent / "cdr").glob("*.txt"))
    assert len(found) == lines == rows(address, "calls")


def test_nothing_can_be_written(address: str) -> None:
    """Not by SQL, whatever is attached."""
    for sql in ("delete from d0.calls", "select 1; delete from d0.calls", "with x as (select 1) delete from d0.calls"):
        assert asked(address, f"/store.json?sql={quote(sql)}")[0] == 400
    assert rows(address) > 0


def test_a_name_pointed_at_this_machine_is_refused(address: str) -> None:
    """A page elsewhere cannot read calls through a name of its own (DNS rebinding)."""
    assert asked(address, "/store/recent.json", {"Host": "evil.example:8001"})[0] == 403
    assert asked(address, "/", {"Host": "localhost:1"})[0] == 200


def test_it_goes_on_while_the_agent_writes_and_a_day_begins(tmp_path: Path) -> None:
    """A running agent's calls appear, those of a new day too, and one written by another agent is not held up by readers."""
    config = make_store(tmp_path, calls=200, cps="1")
    with browsing(config) as address:
        before = rows(address)
        agent = subprocess.Popen(vosship("run", "-c", config), stderr=subprocess.DEVNULL)
        try:
            for number, stopped in enumerate(("2026-04-26 00:09:00", "2026-04-28 10:00:00"), 1):
                with (tmp_path / "cdr" / f"{stopped[:10].replace('-', '')}{stopped[11:13]}.txt").open("a") as file:
                    file.write(line("8801700000009", stopped))
                until = time.monotonic() + 30
                while rows(address) != before + number:
                    assert time.monotonic() < until, "the call did not appear"
                    time.sleep(0.2)
            assert b"2026-04-28" in asked(address, "/")[1]
            assert agent.poll() is None
        finally:
            agent.terminate()
            assert agent.wait(30) == 0


def test_only_the_newest_days_are_shown_and_older_ones_on_request(tmp_path: Path) -> None:
    """Ten files at a time; `--until` goes back; a file that lacks a column, or is no day of ours, spoils nothing."""
    config = make_store(tmp_path, calls=50, cps="1")
    store = tmp_path / "data" / "store"
    whole = sorted(store.glob("*.sqlite"))[0]
    for day in range(1, 13):
        copy = store / f"vos3000-cdr-2026.03.{day:02d}.sqlite"
        copy.write_bytes(whole.read_bytes())
    with sqlite3.connect(store / "vos3000-cdr-2026.03.12.sqlite") as db:
        db.execute('ALTER TABLE calls DROP COLUMN "end.text"')
    db.close()
    (store / "vos3000-cdr-2026.03.11.sqlite").write_bytes(b"no database")
    with browsing(config, "--until", "2026-03-20") as address:
        home = asked(address, "/")[1].decode()
        assert "2026-03-12" in home
        assert "2026-03-02" not in home
        assert rows(address, "calls") == 9 * 51
        assert rows(address, "calls", "&end__exact=200&reason__isnull=1") > 0


def test_a_name_whose_day_does_not_exist_is_no_day_of_ours(tmp_path: Path) -> None:
    """It takes no other day's place, and nothing is asked about its clock."""
    for day in ("2026.04.26", "2026.13.01", "2026.02.30"):
        (tmp_path / f"vos3000-cdr-{day}.sqlite").touch()
    assert [day for day, _ in day_files(tmp_path)] == ["2026-04-26"]


def sentence(*words: str | Path, before: str = "") -> tuple[int, str]:
    """Exit code and error output of a `browse` that ends by itself."""
    code = f"{before}; from vosship.cli import main; main({list(map(str, words))!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_keeps_it_from_starting_is_said_in_a_sentence(config: Path, tmp_path: Path) -> None:
    """The extra not installed, the port taken, nothing stored, a date that is none."""
    base = ("browse", "--no-open", "-c", config)
    returned, said = sentence(*base, before="import sys; sys.modules['datasette'] = None")
    assert (returned, "pip install 'vosship[browse]'" in said) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        returned, said = sentence(*base, "--port", port, before="import sys")
    assert (returned, f"port {port} is in use" in said, "--port" in said) == (1, True, True)
    (tmp_path / "vosship.yaml").write_text(CONFIG)
    returned, said = sentence("browse", "-c", tmp_path / "vosship.yaml", before="import sys")
    assert (returned, "no calls are stored" in said, "vosship run" in said) == (1, True, True)
    assert sentence(*base, "--until", "yesterday", before="import sys")[0] == 2


def test_one_call_is_left_to_its_own_page(address: str) -> None:
    """Every dashboard but that of one call is there; its page answers for calls that exist only."""
    _, body = asked(address, "/-/dashboards")
    for dashboard in DASHBOARDS:
        assert (f"/-/dashboards/{dashboard.name}" in body.decode()) == (dashboard is not ONE_CALL)
    for key in (
        "x",
        "vos3000-cdr-2026.04.26!1!nobody",
        "~2E~2E~2Fx!0!0",
        "vos3000-cdr-2026.04.26!x!y",
        "vos3000-cdr-2026.04.26!99999999999999999999!y",
    ):
        assert asked(address, f"/call/{key}")[0] == 404


def test_the_clock_of_a_zone_with_summer_time() -> None:
    """On the night of the change each side of it has its own offset."""
    sql = offset_sql(["2026-03-29"], ZoneInfo("Europe/Berlin"))
    change_ms = 1774746000000  # 2026-03-29T01:00Z
    db = sqlite3.connect(":memory:")
    found = db.execute(f'SELECT {sql} FROM (SELECT ? AS "@timestamp" UNION ALL SELECT ?) k', (change_ms - 1, change_ms)).fetchall()
    db.close()
    assert found == [(3600,), (7200,)]


def demo(place: Path, seconds: int, before: str = "import sys") -> subprocess.Popen[str]:
    """`vosship demo` with its page."""
    code = f"{before}; from vosship.cli import main; main(['demo', '--seconds', '{seconds}', '--directory', {str(place)!r}])"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_demo_has_a_page_that_ends_with_it(tmp_path: Path) -> None:
    """Its address is said while calls arrive, the overview answers there, and nobody does after the demo."""
    running = demo(tmp_path, seconds=120)  # ended long before, unless the machine is very busy
    assert running.stdout is not None
    said = ""
    for said in running.stdout:
        if "look at it: " in said:
            break
    address = said.split("look at it: ")[1].strip().rstrip("/")
    assert b"Attempts over time" in asked(address, "/-/dashboards/overview?hours=24")[1]
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        asked(address, "/")


def test_the_demo_does_without_the_extra(tmp_path: Path) -> None:
    """It says in a sentence how to get the page, and goes on."""
    out, _ = demo(tmp_path, seconds=4, before="import sys; sys.modules['datasette'] = None").communicate(timeout=90)
    assert "no page to look at: pip install 'vosship[browse]'" in out
    assert "look at it" not in out
    assert "found: " in out
