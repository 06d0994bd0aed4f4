"""Prints a table, fitted to a terminal and never cut when something else reads it; and a number of things.

It decides nothing about what the table holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

UNCUT_WIDTH = 10_000
"""Columns offered where there is no terminal to fit (chosen: wider than any row; a table takes only what it needs)."""


def counted(count: int, what: str) -> str:
    """So many of a thing: `1 call`, `2,000 calls`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def show(table: Table) -> None:
    """Print it on standard output."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=UNCUT_WIDTH)).print(table)
