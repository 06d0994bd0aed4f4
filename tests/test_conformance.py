"""Every plugin found by its entry point keeps the contract; none is listed by hand but for the options it cannot do without."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests import mmdb_writer
from vosship.application import Application
from vosship.config import parse
from vosship.plugin import KINDS, load, names
from vosship.testing.conformance import check_input_ends, check_output, check_plugin, make_block

NEEDED = {
    "files": {"paths": ["cdr/*.txt"]},
    "elasticsearch": {"hosts": ["http://127.0.0.1:9"]},
    "opensearch": {"hosts": ["http://127.0.0.1:9"]},
    "relay": {"target": "tcp://127.0.0.1:9"},
    "gateways": {"table": "gateways.csv"},
    "prefixes": {"table": "prefixes.csv"},
    "geoip": {"city": "places.mmdb"},
    "privacy": {"numbers": {"rule": "mask", "keep_first": 4}},
}
"""Options without which a plugin refuses to start; the tables are made below."""

EVERY = [(kind, name) for kind in KINDS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{kind}-{name}" for kind, name in EVERY])
def test_every_plugin_keeps_the_contract(kind, name, tmp_path):
    """Options, fields, constructor, hostile input: what the core relies on holds for each plugin that is installed."""
    (tmp_path / "gateways.csv").write_text("id,name,customer\nIN,Gateway in,Carrier A\n")
    (tmp_path / "prefixes.csv").write_text("prefix,destination\n44,United Kingdom\n")
    mmdb_writer.write(tmp_path / "places.mmdb", "Country", {"192.0.2.0/24": {"country": {"iso_code": "BD"}}})
    check_plugin(kind, name, NEEDED.get(name, {}), tmp_path)


def test_files_ends_and_tiles(tmp_path):
    """The files input reads what is there and ends; its blocks tile each file."""
    cdr = tmp_path / "cdr"
    cdr.mkdir()
    (cdr / "2026042612.txt").write_bytes(b"".join(b"line %d\n" % number for number in range(5000)))
    (cdr / "2026042613.txt").write_bytes(b"one\ntwo\nhalf a li")
    text = f"{{switch: s, timezone: UTC, data_dir: {tmp_path}/d, inputs: {{cdr: {{type: files, paths: ['{cdr}/*.txt']}}}}}}"
    check_input_ends(Application(parse(text)).inputs["cdr"].plugin)


def test_sqlite_stores_once(tmp_path):
    """The embedded store takes each document once."""
    text = (
        f"{{switch: s, timezone: Asia/Dhaka, data_dir: {tmp_path}, inputs: {{cdr: {{type: files, paths: ['{tmp_path}/*.txt']}}}}}}"
    )
    application = Application(parse(text))
    documents = _documents(application)

    async def exercise():
        output = application.outputs["store"].plugin
        await output.open()
        await check_output(output, documents)
        await output.close()

    asyncio.run(exercise())


def _documents(application):
    from vosship.documents import Renderer
    from vosship.pipeline import Pipeline

    entry = application.inputs["cdr"]
    line = b"8801711|44207|2026-04-26 12:00:00|2026-04-26 12:01:05|60000|200|0|IN|OUT|10.0.0.1|10.0.0.2|1|2|3|4|0|1|5000|900"
    renderer = Renderer(switch="s", host="h", channel="file", series="vos3000-cdr")
    pipeline = Pipeline(
        "cdr>store", source=entry.plugin, processors=application.processors(entry), renderer=renderer, now=lambda: 1.0
    )
    prepared = pipeline.prepare(make_block([line] * 20))
    assert not prepared.dead
    return prepared.documents


THIRD_PARTY = '''
import msgspec
from typing import Annotated
from vosship.events import Field

class Loud:
    """Marks every record with a word of the operator's choice."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        word: Annotated[str, msgspec.Meta(description="the word")] = "loud"

    fields = (Field(name="labels.loud", type="keyword", description="The word."),)

    def __init__(self, options, context):
        self._word = options.word

    def process(self, records):
        for record in records:
            record.fields["labels.loud"] = self._word
'''


def test_a_third_partys_plugin_is_found_and_conforms(tmp_path):
    """A processor from another distribution is found by its name, listed with its options, and passes the suite."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "loud_vosship.py").write_text(THIRD_PARTY)
    (project / "pyproject.toml").write_text(
        textwrap.dedent("""
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "loud-vosship"
            version = "1"
            [project.entry-points."vosship.processors"]
            loud = "loud_vosship:Loud"
            [tool.hatch.build.targets.wheel]
            only-include = ["loud_vosship.py"]
        """)
    )
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(target), str(project)], check=True)
    script = f"""
from pathlib import Path
from vosship.plugin import names
from vosship.testing.conformance import check_plugin
assert "loud" in names("processor"), names("processor")
check_plugin("processor", "loud", {{"word": "x"}}, Path({str(tmp_path / "data")!r}))
"""
    (tmp_path / "data").mkdir()
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    listed = subprocess.run(
        [sys.executable, "-m", "vosship.cli", "plugins", "loud"], check=True, env=environment, capture_output=True, text=True
    )
    assert "Marks every record with a word" in listed.stdout
    assert "word" in listed.stdout


def test_an_unknown_type_names_the_nearest():
    """A misspelt type gets the nearest known one."""
    with pytest.raises(Exception, match="did you mean 'sqlite'"):
        load("output", "sqllite")


def test_imports_run_one_way():
    """No core module imports one that stands after it; plugins import only the core's public modules."""
    order = (
        "errors events query config schema plugin documents pipeline lock state delivery holding running revival forecast telemetry"
    )
    rank = {name: place for place, name in enumerate(order.split())}
    root = Path(__file__).parent.parent / "vosship"
    for name in rank:
        for line in (root / f"{name}.py").read_text().splitlines():
            if line.startswith("from vosship.") and " import " in line:
                imported = line.split()[1].removeprefix("vosship.")
                assert rank.get(imported, 99) < rank[name], f"{name} imports {imported}"


ALLOWED = {"events", "errors", "config", "plugin", "schema", "query", "panels", "documents", "standing"}


def test_plugins_import_only_the_core_and_themselves():
    """A plugin imports the core's public modules, and never another plugin."""
    root = Path(__file__).parent.parent / "plugins"
    for file in root.rglob("*.py"):
        package = file.relative_to(root).parts[0]
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) < 4 or words[0] != "from" or words[2] != "import":
                continue
            if words[1].startswith("vosship."):
                assert words[1].split(".")[1] in ALLOWED, f"{file.relative_to(root)}: {line}"
            elif words[1].startswith("vosship_"):
                assert words[1].split(".")[0] == package, f"{file.relative_to(root)}: {line}"
