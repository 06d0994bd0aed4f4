"""Options that several commands share.

It runs nothing.
"""

from __future__ import annotations

import click

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration; else $VOSSHIP_CONFIG, ./vosship.yaml, /etc/vosship/vosship.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable, on standard output.")
