"""The judgement over one history: do the switch's model, what was committed, the index and the ledger agree, line for line?

It changes nothing, and it asks the ledger through the real `status`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conservation.agent import NAME
from tests.conservation.hearing import Hearing, Key, Name
from tests.conservation.parts import BLANK, GOOD, LONG, MALFORMED, Journal, Switch, mark_of
from tests.directory_model import Account, Place, Span, places
from vosship.events import Block, Gone
from vosship.ledger import PipelineStatus, read_status
from vosship.state import STATE_FILE
from vosship.testing.cluster import Cluster


class Held:
    """What there is at the end: documents of the index and dead lines, by where their line stands."""

    def __init__(self, cluster: Cluster, data_dir: Path) -> None:
        self.documents: Counter[Key] = Counter()
        self.halves: set[Key] = set()
        self.names: set[Name] = set()
        for index, name, body in cluster.documents():
            self.names.add((index, name))
            key = Path(body["log.file.path"]).name.split("-")[-1].removesuffix(".gz"), body["log.offset"], body["line"].encode()
            self.documents[key] += 1
            if body.get("half"):
                self.halves.add(key)
        self.dead: dict[Key, str] = {}
        self.dead_times: Counter[Key] = Counter()
        with sqlite3.connect(data_dir / STATE_FILE) as db:
            rows = db.execute("SELECT base, offset, line, reason FROM dead").fetchall()
            self.dead_rows = len(rows)
            self.dead_totals = db.execute("SELECT dead_lines, dead_bytes FROM pipelines").fetchone()
            self.dead_bytes = sum(len(row[2]) for row in rows)
            self.losses = db.execute("SELECT base, generation, offset, bytes FROM losses").fetchall()
            self.streams = db.execute("SELECT base, generation, offset, gone FROM streams").fetchall()
        db.close()
        for base, offset, line, reason in rows:
            self.dead[base, offset, line] = reason
            self.dead_times[base, offset, line] += 1


def settled_lines(blocks: Iterable[Block]) -> Iterable[tuple[Key, Block]]:
    """Every line that was settled, counted here and not by the code under test."""
    for block in blocks:
        offset = block.offset
        for line in block.data.split(b"\n")[: block.data.count(b"\n") + (not block.data.endswith(b"\n"))]:
            yield (block.stream.base, offset, line), block
            offset += len(line) + 1


def check_fates(journal: Journal, held: Held, *, healed: bool) -> None:
    """Every settled line has exactly the fate it must have. `healed`: the causes are gone and everything was replayed."""
    times = Counter(key for key, _ in settled_lines(journal.blocks))
    for key, often in held.dead_times.items():
        assert often <= times[key], f"dead {often} times, read {times[key]} times: {key}"
    # A line too long, its file cut short just where vosship had cut it, and the rest taken as a line of its own: both are right.
    cut, whole = ({key for key, block in settled_lines(journal.blocks) if block.cut is way} for way in (True, False))
    for key, block in settled_lines(journal.blocks):
        mark = LONG if block.cut else mark_of(key[2])
        mark = GOOD if mark == LONG and not block.cut else mark  # cut down by somebody else
        stored, dead = held.documents[key], held.dead.get(key)
        assert stored <= 1, f"stored twice: {key}"
        if mark == BLANK:
            assert not stored, f"stored, though blank: {key}"
            assert not dead, f"dead, though blank: {key}"
        elif key in journal.dropped:
            continue
        elif mark == LONG:
            assert dead == "line_too_long", f"no trace of a line too long: {key}"
            assert not stored or key in whole, f"stored, though cut: {key}"
        elif mark == MALFORMED and not healed:
            assert stored or dead, f"no trace of a malformed line: {key}"
        elif healed:
            assert stored, f"not stored ({dead}): {key}"
            assert not dead or key in cut, f"stored and dead: {key}"
        else:
            assert stored or dead, f"neither stored nor dead: {key}"
            assert stored or dead in ("mapping", "index_blocked", "too_large"), f"dead for no reason ({dead}): {key}"


def came_out(switch: Switch, journal: Journal) -> tuple[Account, set[Place], list[Span]]:
    """What of the directory came out or is named as lost; the half lines taken, and the lines that were cut."""
    delivered = {Place(base, offset, line + b"\n") for (base, offset, line), block in settled_lines(journal.blocks)
                 if not block.unterminated and not block.cut}  # fmt: skip
    halves, cut = set(), []
    for block in journal.blocks:
        if block.cut:
            cut.append(Span(block.stream.base, block.offset, block.end))
        elif block.unterminated:
            start = block.data.rfind(b"\n") + 1
            halves.add(Place(block.stream.base, block.offset + start, block.data[start:]))
            delivered.update(places(block.stream.base, block.offset, block.data[:start]))
    lost = [Span(gone.stream.base, gone.offset, gone.offset + gone.lost_bytes) for gone in _ends(journal) if gone.lost_bytes]
    account = switch.check(delivered, halves, lost)
    begun = {(span.base, span.offset) for span in cut}  # a half line too long, taken and then written on: dead, and its rest
    missing = [place for place in account.missing if (place.base, place.offset) not in begun]
    return account._replace(missing=missing), halves, cut


def check_directory(switch: Switch, journal: Journal, held: Held, also: set[Place]) -> None:
    """What the agent saw came out or is named as lost; what is in the index was written. `also`: lines it had rescued."""
    switch.owed |= also
    account, halves, cut = came_out(switch, journal)
    assert not account.missing, f"neither delivered nor lost: {account.missing[:3]}"
    # A half last line of a finished file is taken, and the switch goes on with it later: its rest is read as a line of its own
    # (docs/delivery.md, ways to double a line). The half may be too long, or sent and never settled.
    rests = {(span.base, span.end) for span in cut}
    invented = [place for place in account.invented if (place.base, place.offset) not in rests]
    assert not invented, f"never written: {invented[:3]}"
    assert not account.baseless, f"lost what never was: {account.baseless[:3]}"
    written = {(base, offset, line[:-1]) for base, offset, line in switch.written}
    unsettled = {(base, offset, line) for base, offset, line in switch._halves}
    ends = rests | {(half.base, half.offset + len(half.line)) for half in [*halves, *(Place(*each) for each in unsettled)]}
    for base, offset, line in held.documents:
        assert (base, offset, line) in written | unsettled or (base, offset) in ends, (
            f"in the index, never written: {base} {offset}"
        )


def check_tiling(journal: Journal) -> None:
    """Settles of each generation begin at 0, join without hole or overlap, and nothing follows an end."""
    at: dict[tuple[str, int], int] = {}
    gone: set[tuple[str, int]] = set()
    for item in journal.events:
        key = item.stream.name, item.stream.generation
        if isinstance(item, Gone) and item.never_seen:
            continue
        assert key not in gone, f"{item.stream} goes on after its end"
        assert item.offset == at.get(key, 0), f"{item.stream} goes on at {item.offset}, not at {at.get(key, 0)}"
        if isinstance(item, Gone):
            gone.add(key)
        else:
            at[key] = item.end


def check_ledger(status: PipelineStatus, journal: Journal, held: Held, switch: Switch) -> None:
    """The account adds up, file by file and in all."""
    for each in [status, *status.files]:
        sums = each.stored + each.duplicate + each.dead + each.filtered
        assert each.read == sums, f"{each.name}: read {each.read}, accounted {sums}"
    read: Counter[str] = Counter(key[0] for key, _ in settled_lines(journal.blocks))
    lost: Counter[str] = Counter()
    for gone in _ends(journal):
        lost[gone.stream.base] += gone.lost_bytes
    for file in status.files:
        assert file.read == read[file.name], f"{file.name}: {read[file.name]} lines settled, {file.read} entered as read"
        assert file.lost_bytes == lost[file.name], f"{file.name}: {lost[file.name]} bytes lost, {file.lost_bytes} entered"
        entered = sum(size for base, _, _, size in held.losses if base == file.name)
        assert file.lost_bytes == entered, f"{file.name}: {file.lost_bytes} bytes lost in the ledger, {entered} in the losses"
    assert status.read == read.total(), f"{read.total()} lines settled, {status.read} entered as read"
    assert status.lost_bytes == lost.total(), f"{lost.total()} bytes lost, {status.lost_bytes} entered"
    dead = held.dead_rows, held.dead_bytes
    assert dead == held.dead_totals, f"{dead} dead lines and bytes, {held.dead_totals} entered"
    assert status.dead == held.dead_rows, f"{held.dead_rows} dead lines, {status.dead} in the ledger"
    check_stored(status, journal.hearing, held)
    latest: dict[str, tuple[int, int]] = {}
    for base, generation, offset, is_gone in held.streams:
        latest[base] = max(latest.get(base, (0, 0)), (generation, is_gone))
        assert offset >= 0
    for base, (_, is_gone) in latest.items():
        assert is_gone or base in switch.files, f"{base} was deleted and the ledger does not know"


def check_stored(status: PipelineStatus, hearing: Hearing, held: Held) -> None:
    """What the ledger calls stored is what was created, said so, and settled: each document, file by file and in all."""
    assert hearing.created == held.names, f"{len(hearing.created)} documents created, {len(held.names)} in the index"
    documents, unheard = len(held.names), len(hearing.unheard)
    counts = f"{status.stored} entered as stored, {documents} in the index, {unheard} of them never settled as stored"
    assert status.stored == documents - unheard, counts
    stored = Counter(hearing.heard.values())
    for file in status.files:
        assert file.stored == stored[file.name], f"{file.name}: {stored[file.name]} settled as stored, {file.stored} entered"


def check_stop(hearing: Hearing) -> None:
    """An orderly stop settles what was answered, as far as nothing that was put off stands before it."""
    forgotten = hearing.forgotten_for_nothing()
    assert not forgotten, f"stored, answered and not settled at the stop: {forgotten[:3]}"


def check_leave(switch: Switch, journal: Journal, rescued: set[str]) -> None:
    """What ended with an agent that was stopped in order is in the ledger then. `rescued` are base names."""
    missing = came_out(switch, journal)[0].missing
    silent = [place for place in missing if place.base not in switch.files and place.base not in rescued]
    assert not silent, f"not named at the stop: {silent[:3]}"


def status_of(files: Any, data_dir: Path) -> PipelineStatus:
    """What `vosship status` shows."""
    entry = SimpleNamespace(name="cdr", plugin=files)
    application: Any = SimpleNamespace(config=SimpleNamespace(data_dir=data_dir), pipelines=lambda: [(NAME, entry, None)])
    return read_status(application)[0]


def _ends(journal: Journal) -> list[Gone]:
    return [item for item in journal.events if isinstance(item, Gone)]
