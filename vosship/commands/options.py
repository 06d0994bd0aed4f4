"""Options that several commands share.

It runs nothing.
"""

from __future__ import annotations

import math
from typing import Any

import click

MOST = 1e9
"""The largest measure a command takes (chosen: 31 years in seconds; what is computed of it stays a number for any store)."""


class Measure(click.FloatRange):
    """A measure on a command line: within its range, and a number that can be computed with, which `nan` and `inf` are not."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error names the option otherwise."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number) or number > MOST:
            self.fail(f"{value} is no number up to {MOST:,.0f}.", param, ctx)
        return number


def text(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse bytes that are no UTF-8: no store, manifest or log can hold them."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value!r} is no UTF-8", context, parameter) from error
    return value


def word(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse `--number "$UNSET"`, too: it would ask for every call there is."""
    if not value and context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE:
        raise click.BadParameter("it is empty; leave the option out to ask without it")
    return text(context, parameter, value)


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration; else $VOSSHIP_CONFIG, ./vosship.yaml, /etc/vosship/vosship.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable, on standard output.")
