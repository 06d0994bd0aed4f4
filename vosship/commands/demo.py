"""`vosship demo`: a simulated switch, the real agent and the embedded store at work together, and what is to be seen of it.

It ships and stores nothing itself: the agent is a `vosship run` of its own, watched through its state and its store.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

import click
import msgspec

from vosship.commands.options import Measure

if TYPE_CHECKING:
    from rich.console import Group

    from vosship.query import Hit
    from vosship_switch.simulation import Simulation
    from vosship_switch.traffic import Call

ZONE = "Asia/Dhaka"
"""The simulated switch's zone. Chosen: not UTC and not the viewer's, so that local time is seen to be handled."""

INTERVAL_S, MAX_FILES, FLUSH_S = 60, 120, 0.5
"""A file a minute, two hours kept, a burst every half second. Chosen: rotation is seen within a minute's watching."""

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 3.0
"""Without a terminal: seconds between two lines."""

ASK_EVERY_S = 5.0
"""Seconds from a call found to the next one looked for."""

CATCH_UP_S = 15.0
"""How long the agent may take, once the switch has stopped, for what is still unread. Chosen: it needs one or two."""

AGENT_STOP_S = 25.0
"""Its own drain limit is 20 s."""

RECENT = 8
"""Calls shown on a terminal."""

OPENS_ON = "-/dashboards/overview"
"""The page that a desktop's browser is opened on."""

CONFIG = """\
# Written by `vosship demo`.
switch: demo
timezone: {zone}
data_dir: data
inputs:
  cdr: {{type: files, paths: ["cdr/*.txt"]}}
outputs:
  store: {{type: sqlite}}
"""

EXAMPLE = """\b
Examples:
  vosship demo
  vosship demo --seconds 30 --directory /tmp/vosship-demo
"""


class Found(msgspec.Struct, frozen=True):
    """A call that the switch had just made and a search found."""

    hit: Any
    number: str
    after_s: float


class Sight(msgspec.Struct):
    """What can be seen at one moment."""

    elapsed_s: float = 0.0
    made: int = 0
    answered: int = 0
    stored: int = 0
    dead: int = 0
    unread_bytes: int = 0
    files: int = 0
    state: str = "starting"
    recent: list[Any] = msgspec.field(default_factory=list)
    found: Found | None = None
    page: str = ""


class Display(Protocol):
    """Shows one sight after the other."""

    def show(self, sight: Sight) -> None: ...


@click.command("demo", epilog=EXAMPLE)
@click.option("--seconds", type=Measure(0, min_open=True), help="End after this long.  [default: at Ctrl-C]")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Where to work.  [default: a new one, kept]")
@click.option("--cps", type=Measure(0, 2000, min_open=True), default=20.0, show_default=True, help="Records a second.")
@click.option("--no-browser", is_flag=True, help="Stay on the terminal; open no page.")
def command(seconds: float | None, directory: Path | None, cps: float, no_browser: bool) -> int:
    """Watch calls arrive: a simulated switch, the agent, the embedded store and its pages, until Ctrl-C.

    Ends with exit code 0 when a call just made was found by a search.
    """
    from vosship.errors import VosshipError

    try:
        place = directory or Path(tempfile.mkdtemp(prefix="vosship-demo-"))
        place.mkdir(parents=True, exist_ok=True)
        config = place / "demo.yaml"
        config.write_text(CONFIG.format(zone=ZONE), encoding="utf-8")
    except OSError as error:
        raise VosshipError(f"cannot work in {error.filename}: {error.strerror}", hint="--directory names another place") from error
    click.echo(f"a simulated switch writes {place / 'cdr'}; the agent ships it into {place / 'data'}", err=True)
    ending = threading.Event()
    with _ended_by_signals(ending), _display() as display:
        last = Demonstration(place, config, cps, page=not no_browser).run(seconds, ending, display)
    _say_more(config, last, ours=directory is None)
    return 0 if last.found is not None else 1


class Demonstration:
    """The parts at work, started and ended in order; what they do is looked at from outside."""

    def __init__(self, place: Path, config: Path, cps: float, page: bool = False) -> None:
        from vosship.application import Application
        from vosship.commands.browsing import Browsing
        from vosship_switch.simulation import Settings, Simulation

        self._place = place
        self._config = config
        self._application = Application.load(str(config))
        self._store = self._application.searchable(None)[1]
        settings = Settings(
            directory=place / "cdr", cps=cps, seconds=float("inf"), timezone=ZONE, interval_s=INTERVAL_S, max_files=MAX_FILES,
            flush_s=FLUSH_S,
        )  # fmt: skip
        self._switch = Simulation(settings)
        self._browsing = Browsing(config, OPENS_ON, wanted=page)
        self._sought: Call | None = None
        self._ask_at = 0.0
        self._found: Found | None = None
        self._began = time.monotonic()
        self._before = self._stored()

    def run(self, seconds: float | None, ending: threading.Event, display: Display) -> Sight:
        """Until `seconds` are over or `ending` is set. All children have ended when this returns or raises."""
        until = time.monotonic() + seconds if seconds is not None else float("inf")
        with self._browsing, self._agent_at_work() as agent:
            with _at_work(self._switch) as switch:
                while switch.is_alive() and (left := until - time.monotonic()) > 0 and not ending.wait(min(LOOK_EVERY_S, left)):
                    self._look(agent, display)
            patience = time.monotonic() + CATCH_UP_S
            while (last := self._look(agent, display)).unread_bytes or (last.found is None and last.answered):
                if time.monotonic() > patience:
                    break
                time.sleep(LOOK_EVERY_S / 4)
        return last

    @contextlib.contextmanager
    def _agent_at_work(self) -> Iterator[subprocess.Popen[bytes]]:
        """`vosship run`, in a session of its own so that Ctrl-C ends switch and agent in this order, not both at once."""
        with (self._place / "agent.log").open("ab") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "vosship.cli", "run", "-c", str(self._config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                yield agent
            finally:
                agent.terminate()
                try:
                    agent.wait(AGENT_STOP_S)
                except subprocess.TimeoutExpired:
                    agent.kill()
                    agent.wait()

    def _stored(self) -> int:
        """What earlier demos in the same place left in the store counts for them, not for this one."""
        from vosship.ledger import read_status

        return sum(status.stored + status.duplicate for status in read_status(self._application))

    def _look(self, agent: subprocess.Popen[bytes], display: Display) -> Sight:
        from vosship.errors import FatalError
        from vosship.ledger import read_status
        from vosship.query import Query

        if agent.poll() is not None:
            log = self._place / "agent.log"
            last = (log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"])[-1]
            raise FatalError(f"the agent ended with exit code {agent.returncode}: {last}", hint=f"its log is {log}")
        status = read_status(self._application)[0]
        made = self._switch.progress
        now_ms = int(time.time() * 1000)
        self._seek()
        sight = Sight(
            elapsed_s=time.monotonic() - self._began, made=made.calls, answered=made.answered,
            stored=status.stored + status.duplicate - self._before, dead=status.dead, unread_bytes=status.unread_bytes,
            files=len(status.files), state=status.state, found=self._found, page=self._browsing.look(status.stored),
            recent=list(self._store.search(Query(from_ms=now_ms - 600_000, to_ms=now_ms + 60_000, limit=RECENT))),
        )  # fmt: skip
        display.show(sight)
        return sight

    def _seek(self) -> None:
        """Look a call just made up by its number, as an operator would, until the store has it."""
        from vosship.query import Query

        if self._sought is None:
            if time.monotonic() < self._ask_at:
                return
            self._sought = self._switch.progress.latest
        if self._sought is None:
            return
        call = self._sought
        query = Query(from_ms=call.stop_ms - 60_000, to_ms=call.stop_ms + 60_000, number=call.callee, answered=True)
        for hit in self._store.search(query):
            if hit.fields["holdTime"] == call.hold_ms and hit.fields["callerE164" if call.caller else "callerIp"] in (
                call.caller,
                call.caller_ip,
            ):
                self._found = Found(hit, call.callee, time.time() - call.stop_ms / 1000)
                self._sought, self._ask_at = None, time.monotonic() + ASK_EVERY_S
                return


@contextlib.contextmanager
def _at_work(switch: Simulation) -> Iterator[threading.Thread]:
    """The switch in a thread; it only ends early by an error, which comes out here."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            switch.run()
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits, which raises it
            failure.append(error)

    thread = threading.Thread(target=run, name="switch")
    thread.start()
    try:
        yield thread
    finally:
        switch.stop()
        thread.join()
    if failure:
        raise failure[0]


@contextlib.contextmanager
def _ended_by_signals(ending: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the demo in order, a second one at once."""

    def end(*_: object) -> None:
        if ending.is_set():
            raise KeyboardInterrupt
        ending.set()

    before = [(number, signal.signal(number, end)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _display() -> Iterator[Display]:
    if not sys.stdout.isatty():
        yield _Lines()
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield _Screen(live)


class _Lines:
    """A line every few seconds, where nobody looks at a terminal."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._told: Found | None = None
        self._page = ""

    def show(self, sight: Sight) -> None:
        if sight.page != self._page:
            self._page = sight.page
            click.echo(f"{sight.elapsed_s:5.1f} s  look at it: {self._page}")
        if sight.found is not None and self._told is None:
            self._told = sight.found
            after = f"found by its number {sight.found.after_s:.1f} s after it ended"
            click.echo(f"{sight.elapsed_s:5.1f} s  {after}: {_call(sight.found.hit)}")
        if sight.elapsed_s >= self._next_s:
            self._next_s = sight.elapsed_s + SAY_EVERY_S
            click.echo(
                f"{sight.elapsed_s:5.1f} s  written {sight.made:,} ({sight.answered:,} answered)  stored {sight.stored:,}  "
                f"dead {sight.dead:,}  unread {sight.unread_bytes:,} bytes  files {sight.files}"
            )


class _Screen:
    """Counts and the newest calls, in place."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def show(self, sight: Sight) -> None:
        self._live.update(_screen(sight), refresh=True)


def _screen(sight: Sight) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = Table(box=None, pad_edge=False)
    row = {
        "seconds": f"{sight.elapsed_s:.0f}", "written": f"{sight.made:,}", "answered": f"{sight.answered:,}",
        "stored": f"{sight.stored:,}", "dead": f"{sight.dead:,}", "unread bytes": f"{sight.unread_bytes:,}",
        "files": f"{sight.files}", "agent": sight.state,
    }  # fmt: skip
    for name in row:
        counts.add_column(name, justify="right")
    counts.add_row(*row.values())
    calls = Table(box=None, pad_edge=False)
    for name in ("stopped", "caller", "callee", "in", "out", "seconds", "end"):
        calls.add_column(name, justify="right" if name == "seconds" else "left", no_wrap=True)
    for hit in sight.recent:
        calls.add_row(*(Text(part) for part in _parts(hit)))
    found = "looking up a call just made…"
    if sight.found is not None:
        found = f"found by its number {sight.found.after_s:.1f} s after it ended: {_call(sight.found.hit)}"
    page = [Text(f"look at it: {sight.page}")] if sight.page else []
    return Group(counts, Text(), calls, Text(), Text(found), *page, Text("Ctrl-C ends the demo", style="dim"))


def _parts(hit: Hit) -> tuple[str, ...]:
    fields = hit.fields
    stopped = datetime.fromisoformat(fields["stopTime"]).replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE))
    end = " ".join(part for part in (fields.get("endReason", ""), fields.get("end.text", "")) if part)
    return (
        f"{stopped:%H:%M:%S}", fields.get("callerE164", "-"), fields.get("calleeE164", "-"), fields.get("callerGatewayId", "-"),
        fields.get("calleeGatewayId", "-"), f"{fields.get('holdTime', 0) / 1000:.0f}", end,
    )  # fmt: skip


def _call(hit: Hit) -> str:
    stopped, caller, callee, came, went, seconds, end = _parts(hit)
    return f"{caller} → {callee}, {came} → {went}, {seconds} s, ended {stopped}, {end}"


def _say_more(config: Path, last: Sight, ours: bool) -> None:
    """The account, and how to look further, as commands to type; `ours`: the directory was made for this run."""
    click.echo(f"written {last.made:,}, stored {last.stored:,}, dead {last.dead:,}, unread {last.unread_bytes:,} bytes")
    if last.found is None:
        click.echo(f"no call was found; the agent's log is {config.parent / 'agent.log'}", err=True)
        return
    click.echo(f"found: {_call(last.found.hit)}")
    program = sys.argv[0] if Path(sys.argv[0]).name == "vosship" else f"{sys.executable} -m vosship.cli"
    click.echo("look further:")
    for words in (
        f"search --number '{last.found.number}'",
        "search --answered --limit 20",
        "stats --by callee_gateway",
        "status --files",
        "browse",
    ):
        name, _, rest = words.partition(" ")
        click.echo(f"  {program} {name} -c {config} {rest}")
    if ours:
        click.echo(f"remove it all: rm -r {config.parent}")
