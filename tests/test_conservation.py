"""Conservation of the whole path: whatever happens to switch, agent, disk and store, every line is accounted for, once."""

from __future__ import annotations

import logging
import os

from hypothesis import HealthCheck, settings

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
