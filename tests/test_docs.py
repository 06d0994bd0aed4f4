"""The documents say what is there: configurations load, commands exist, and everything public is described."""

import re
from pathlib import Path

import click
import pytest
import yaml

from vosship import config, telemetry
from vosship.cli import COMMANDS, Commands, vosship
from vosship.errors import VosshipError

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@EVERY
def test_every_whole_configuration_loads(page):
    """A YAML block that names a switch is a configuration an operator may copy."""
    for block in blocks(page, "yaml"):
        raw = yaml.safe_load(block)
        if isinstance(raw, dict) and "switch" in raw and "inputs" in raw:
            config.parse(block, environ={})


@EVERY
def test_every_command_shown_exists(page):
    """Each `vosship WORD …` on a page is a command, and each long option on that line is one of its options."""
    text = page.read_text(encoding="utf-8")
    context = click.Context(vosship)
    shown = [line for block in blocks(page, "(?:sh|text)?") for line in block.splitlines()]
    shown = [line.removeprefix("$ ") for line in shown] + re.findall(r"`(vosship [a-z][^`]*)`", text)
    for line in shown:
        if not re.match(r"\s*(\.venv/bin/)?vosship [a-z]", line):
            continue
        words = line.split("#")[0].split("&&")[0].split("|")[0].split()[1:]
        name = words[0].rstrip(",.;:")
        assert name in COMMANDS, f"{page.name}: there is no command {name!r}"
        command = vosship.get_command(context, name)
        group = isinstance(command, click.Group) and len(words) > 1 and words[1] in command.commands
        command = command.commands[words[1]] if group else command
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        for word in words[1:]:
            option = word.split("=")[0].strip("[]().,;|")
            if option.startswith("--") and len(option) > 2:
                assert option in known | {"--help"}, f"{page.name}: {name} has no {option}"


@EVERY
def test_every_link_leads_somewhere(page):
    """Relative links lead to files that exist."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name):
    """`--help` of each command, those below another included, has a sentence and an example, and each option says what it does."""
    assert isinstance(vosship, Commands)
    command = vosship.get_command(click.Context(vosship), name)
    assert command is not None
    for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        assert each.help, each.name
        assert "vosship" in (each.epilog or ""), f"{name} {each.name}: no example"
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts[0]}: says nothing"


def test_every_metric_is_described():
    """Each metric has a sentence and a name with its unit or `_total`."""
    for metric in telemetry.METRICS:
        assert metric.description.endswith("."), metric.name
        assert metric.name.endswith(("_total", "_bytes", "_seconds", "_ratio", "_to_loss", "_paths")), metric.name


def test_every_error_says_what_the_catcher_does():
    """Each exception class has a docstring."""
    stack = [VosshipError]
    while stack:
        error = stack.pop()
        assert (error.__doc__ or "").strip(), error
        stack += error.__subclasses__()


def test_files_and_functions_stay_small():
    """No file past 400 lines in what is shipped (the one table of codes is data)."""
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in ("vosship", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, long
