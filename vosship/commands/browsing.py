"""A `vosship browse` beside another command: begun when there is something to show, ended with whoever began it.

What it shows is its own business.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Self

import click

from vosship.commands.browse import has_desktop

PORT = 8001
"""Tried first, so that a tunnel or a bookmark finds it again; `browse`'s own default."""

STOP_S = 5.0

TRIES = 5
"""Times the child is started before it is left alone: the first calls may come a moment after they were counted."""


def installed() -> bool:
    """Whether the extra `browse` is there."""
    return all(importlib.util.find_spec(name) for name in ("datasette", "datasette_dashboards"))


class Browsing:
    """The child and its address. A context manager: leaving it ends the child.

    `opens_on` is the page that a desktop's browser is opened on. Without the extra that is said, and nothing is started.
    """

    def __init__(self, config: Path, opens_on: str, *, wanted: bool = True) -> None:
        self._config = config
        self._opens_on = opens_on
        self._tries = TRIES if wanted and installed() else 0
        self._address = ""
        self._said = ""
        self._told = False
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        if wanted and not installed():
            click.echo("no page to look at: pip install 'vosship[browse]'", err=True)

    def look(self, calls: int) -> str:
        """The address, empty as long as there is none; starts the child once there are calls. To be asked again and again."""
        if self._address and not self._told:
            self._told = True
            if has_desktop():
                webbrowser.open(self._address + self._opens_on)
        if calls and not self._address and (self._child is None or self._child.poll() is not None):
            if self._tries:
                self._tries -= 1
                self._begin()
            elif self._said and not self._told:
                self._told = True
                click.echo(f"no page to look at: {self._said}", err=True)
        return self._address

    def _begin(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "vosship.cli", "browse", "--no-open", "-c", str(self._config), "--port", str(_free(PORT))],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, args=(self._child,), name="browse", daemon=True)
        self._listener.start()

    def _listen(self, child: subprocess.Popen[str]) -> None:
        assert child.stderr is not None
        for line in child.stderr:
            self._said = line.strip()
            if line.startswith("http://"):
                self._address = line.split()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is None or self._listener is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join(STOP_S)


def _free(port: int) -> int:
    """The port if nobody has it, else 0: any that is free."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return port
    except OSError:
        return 0
