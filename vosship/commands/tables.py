"""Prints a table whole, whatever is in it; and a number of things.

It decides nothing about what the table holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 10_000
"""Columns offered (chosen: wider than any row; a table takes only what it needs). Where a terminal has fewer its lines run on
in the next: a figure that is cut short reads as another."""

CELL_WIDTH = 40
"""Most of a cell on a terminal (chosen: longer than a number or an address; a caller may send thousands of characters)."""


def counted(count: int, what: str) -> str:
    """So many of a thing: `1 call`, `2,000 calls`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """The text with what a terminal would obey in place of showing it as escapes: callers send what they like as their number."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def standard_output(*, width: int | None = None) -> Console:
    """A console there which leaves it to `cli` that its reader has gone: rich itself would end the process with 1."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(width=width, highlight=False)


def show(table: Table) -> None:
    """Print it on standard output; only long cells are cut, and these on a terminal only."""
    console = standard_output(width=WIDTH)
    if console.is_terminal:
        for column in table.columns:
            column.max_width = CELL_WIDTH
    console.print(table)
