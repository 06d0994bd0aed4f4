"""`vosship init`: write a commented configuration to begin with.

It looks at nothing and asks nothing: what it does not know is marked for the operator to fill in.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  vosship init --switch dhaka-1 --timezone Asia/Dhaka --cdr-dir /home/vos3000/cdr
  vosship init /etc/vosship/vosship.yaml --output opensearch
"""

TEMPLATE = """\
# vosship: ships the call records of a VOS3000 switch and accounts for every line.
# `vosship check` examines this file and what it points at; `vosship plugins` lists every option.

switch: {switch}              # a logical name that outlives its host; it is part of every document's identity
timezone: {timezone}          # the switch's local zone: its files carry local time without saying so
data_dir: {data_dir}          # positions, the embedded store and the spool

# As set on the switch; used for forecasts and caveats, never guessed. Uncomment what you know.
# switch_parameters:
#   SERVER_CDR_FILE_WRITE_INTERVAL: 3600
#   SERVER_CDR_FILE_WRITE_MAX: 2048       # past it the switch deletes the oldest file, read or not
#   SS_CDR_RECORD_NONCONNECT: "On"        # Off: failed calls are not written, and no ASR can be computed

inputs:
  cdr:
    type: files
    paths: [{paths}]          # the other family, if the switch writes it instead: cdr_*.csv

# processors: [cdr, codes]    # the default: typed fields, then codes in words

outputs:
{output}
# search:
#   max_days: 31              # longest window of one search
#   deny_hours: [18, 19, 20]  # hours of the switch's clock in which no search is answered

# metrics:
#   listen: "127.0.0.1:9273"  # /metrics, /healthz, /readyz
"""

OUTPUTS = {
    "sqlite": """\
  store: {type: sqlite}       # the embedded store, below data_dir
""",
    "opensearch": """\
  search:
    type: opensearch
    hosts: ["https://localhost:9200"]
    username: "${OS_USER:-admin}"
    password: "${OS_PASSWORD:-}"
""",
    "elasticsearch": """\
  search:
    type: elasticsearch
    hosts: ["https://localhost:9200"]
    username: "${ES_USER:-elastic}"
    password: "${ES_PASSWORD:-}"
""",
}


@click.command("init", epilog=EXAMPLE)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("vosship.yaml"))
@click.option("--switch", default="switch-1", show_default=True, help="The switch's logical name.")
@click.option("--timezone", default=None, help="The switch's zone (IANA name).  [default: this machine's, else UTC]")
@click.option("--cdr-dir", default="/home/vos3000/cdr", show_default=True, help="Where the switch writes its CDR files.")
@click.option("--data-dir", default="/var/lib/vosship", show_default=True, help="Where vosship keeps its state.")
@click.option("--output", type=click.Choice(sorted(OUTPUTS)), default="sqlite", show_default=True, help="Where the calls go.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, switch: str, timezone: str | None, cdr_dir: str, data_dir: str, output: str, force: bool) -> None:
    """Write a commented configuration to PATH (default: vosship.yaml)."""
    from vosship.config import check_timezone, parse
    from vosship.errors import ConfigError, VosshipError

    zone = timezone or _machine_zone()
    check_timezone(zone, "--timezone")
    text = render(switch=switch, timezone=zone, cdr_dir=cdr_dir, data_dir=data_dir, output=output)
    parse(text, file=str(path), environ={})
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError("it exists already and is left as it is", file=str(path), hint="--force overwrites it") from error
    except OSError as error:
        raise VosshipError(f"cannot write {path}: {error.strerror}", hint="name another file") from error
    click.echo(f"wrote {path}", err=True)
    if timezone is None:
        click.echo(f"timezone is {zone}: is that the switch's own? (--timezone)", err=True)
    click.echo(f"next: look it through, then vosship check -c {path}", err=True)


def render(*, switch: str, timezone: str, cdr_dir: str, data_dir: str, output: str) -> str:
    """The text of a configuration. Every value is quoted so that it stays what it is in YAML."""
    patterns = [f"{cdr_dir.rstrip('/')}/*.txt"]
    quoted = {"switch": switch, "timezone": timezone, "data_dir": data_dir}
    return TEMPLATE.format(
        **{name: json.dumps(value, ensure_ascii=False) for name, value in quoted.items()},
        paths=", ".join(json.dumps(pattern, ensure_ascii=False) for pattern in patterns),
        output=OUTPUTS[output],
    )


def _machine_zone() -> str:
    """The zone this machine is set to, by its name, where it says so."""
    named = os.environ.get("TZ", "").lstrip(":")
    if named and not named.startswith("/"):
        return named
    try:
        target = str(Path("/etc/localtime").resolve(strict=True))
    except OSError:
        return "UTC"
    name = target.partition("zoneinfo/")[2]
    return name.removeprefix("Etc/").removeprefix("posix/") if name else "UTC"
