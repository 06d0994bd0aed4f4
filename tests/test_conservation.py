"""Conservation of the whole path: whatever happens to switch, agent, disk and store, every line is accounted for, once."""

from __future__ import annotations

import logging
import os

from hypothesis import HealthCheck, settings

from tests.conservation import account
from tests.conservation.histories import begin, live
from tests.conservation.machine import Conservation

PROFILES = {"": (150, 50), "deep": (2500, 60)}
"""Histories and steps of each, by `HYPOTHESIS_PROFILE`: the ordinary run takes half a minute, `deep` some minutes."""

HISTORIES, STEPS = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "")]


class TestConservation(Conservation.TestCase):  # type: ignore[name-defined,misc]  # made by Hypothesis at run time
    """The histories; what the agent logs of them is not kept, or it would fill the memory."""

    settings = settings(
        max_examples=HISTORIES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)


def test_a_half_line_that_was_dead_is_stored_as_half() -> None:
    """A half last line that a store refused keeps its mark when it is replayed."""

    def history(machine: Conservation) -> None:
        begin(machine, "g")
        machine.append("gp", 30, 5)
        machine.new_hour()
        machine.work(2)
        machine.pass_time(121.0)
        machine.work(2)
        machine.finish()
        held = account.Held(machine.cluster, machine.data_dir)
        assert [key[:2] for key in held.halves] == [("2026042600.txt", 90)]

    live(history)


def test_a_stop_while_half_a_batch_was_put_off_leaves_the_other_half_to_come_back_as_duplicate() -> None:
    """Positions move by whole batches: the half that was stored is not settled, and after the restart it is known by its id."""

    def history(machine: Conservation) -> None:
        begin(machine, "gg")
        machine.pass_time(6.0)
        machine.answer_badly(0, "too large")
        machine.answer_badly(0, "all busy")
        machine.end("stop", 0, 0)
        assert len(machine.hearing.unheard) == machine.cluster.count() == 1
        machine.finish()
        status = account.status_of(machine.agent.source, machine.data_dir)
        assert (status.read, status.stored, status.duplicate) == (2, 1, 1)

    live(history)


def test_half_a_batch_stays_stored_when_the_other_half_finds_nobody() -> None:
    """Nobody stopped and no answer was lost: what the store said it created is counted as stored."""

    def history(machine: Conservation) -> None:
        begin(machine, "gg")
        machine.pass_time(6.0)
        machine.answer_badly(0, "too large")
        machine.answer(0)
        machine.answer_badly(0, "refused")
        machine.finish()
        status = account.status_of(machine.agent.source, machine.data_dir)
        assert (status.read, status.stored, status.duplicate) == (2, 2, 0)

    live(history)
