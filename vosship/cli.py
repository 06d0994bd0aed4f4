"""Words in, exit code out: a lazy table of commands, so that `--help` imports nothing heavy.

It does nothing itself: every command is a module of `vosship.commands` with a click command named `command`.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import select
import sys
from collections.abc import Sequence
from typing import Any

import click

from vosship import __version__
from vosship.errors import Exit, FatalError, VosshipError

COMMANDS: dict[str, str] = {
    "demo": "A simulated switch, the agent and the embedded store together.",
    "init": "Write a commented configuration.",
    "check": "Examine configuration, files, outputs and forecast.",
    "setup": "Install templates, lifecycle and dashboards.",
    "run": "Ship records until told to stop.",
    "status": "Show the account of every line.",
    "search": "Find calls.",
    "export": "Write calls to a file.",
    "stats": "ASR, NER, ACD, minutes and PDD by gateway, country, hour and more.",
    "reconcile": "Compare two copies of the same calls.",
    "evidence": "Everything known of one call, its raw line proved.",
    "reship": "Read a window again and overwrite it, after a table or rule was mended.",
    "dead": "List, show, replay or drop lines that were set aside.",
    "inspect": "Say what a CDR file holds.",
    "plan": "Size intervals, files, queue and disk for a switch.",
    "simulate": "Imitate a switch: write, rotate and delete CDR files.",
    "browse": "Look at the embedded store in a browser.",
    "plugins": "List every plugin with its options.",
}
"""Command and one line of help, in the order an operator meets them."""


DEAD = ("list", "show", "replay", "drop")
"""The commands below `dead`: where a configuration named before the command is handed on to."""

NEAR = 0.7
"""How like a command a word must be to be taken for it (chosen: `serch` and `stat` are, `archive` is not `search`)."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What writing says where there is no room: the disk, the user's quota, the largest file."""


class Commands(click.Group):
    """Loads a command's module only when that command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command's click object."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"vosship.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command in the message."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1, cutoff=NEAR)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(COMMANDS)}"
            ctx.fail(f"no command {args[0]!r} ({hint})")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but a reader of our output that has gone, as `head` does, is no failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            if not _reader_gone():
                raise
            _let_go_of_output()
            return int(Exit.DONE)
        except OSError as error:
            if error.errno not in FULL or error.filename is not None:
                raise
            _let_go_of_output()
            raise FatalError(f"the output cannot be written: {error.strerror}", hint="free space where it goes") from error
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vosship")
@click.option("-c", "--config", "config_path", metavar="FILE", help="Configuration, as after the command.")
@click.pass_context
def vosship(context: click.Context, config_path: str | None) -> None:
    """Ship VOS3000 call detail records and account for every line.

    Begin with `vosship demo`; then `vosship init`, `vosship check`, `vosship run`.
    """
    if config_path is not None:
        given = {"config_path": config_path}
        context.default_map = {name: {**given, **dict.fromkeys(DEAD, given)} if name == "dead" else given for name in COMMANDS}


def _let_go_of_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere


def _reader_gone() -> bool:
    watch = select.poll()
    try:
        watch.register(sys.stdout.fileno(), 0)
    except OSError:  # no real file, as in tests
        return False
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _have_standard_files() -> None:
    """Give whoever started us without standard files /dev/null for them, and show what the locale's characters lack as escapes.

    What is opened first would otherwise take a missing one's number, and be written to as if it were the output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    _have_standard_files()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors become one sentence on standard error."""
    try:
        result = vosship.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show(sys.stderr)
        return int(Exit.USAGE)
    except VosshipError as error:
        click.echo(f"vosship: {error}", err=True)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception:  # a bug: the operator gets a sentence, whoever mends it the traceback
        logging.getLogger("vosship").exception("bug")
        click.echo("vosship: this is a bug in vosship; nothing that was settled is lost. Please report the lines above.", err=True)
        return int(Exit.FAILED)
    return int(result) if isinstance(result, int) else int(Exit.DONE)


if __name__ == "__main__":
    main()
