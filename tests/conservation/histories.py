"""Histories written by hand: how one begins, and how it is lived through and judged.

The steps in between are the rules of `machine`, called in order.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.conservation.machine import Conservation

History = Callable[[Conservation], None]


def begin(machine: Conservation, *files: str, rescue: str = "none", hold: int = 0) -> None:
    """An agent that has just started on those files."""
    machine.begin(rescue=rescue, hold=hold, files=list(files))


def live(history: History) -> None:
    """Live through a history and judge it."""
    machine = Conservation()
    try:
        history(machine)
        machine.finish()
    finally:
        if machine.agent is not None:
            machine.agent.kill()
        shutil.rmtree(machine.root)
        shutil.rmtree(machine.data_dir)
