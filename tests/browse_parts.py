"""A store to browse, `vosship browse` over it, and a real browser that minds what pages do."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")
"""Root needs no sandbox, a test machine has no graphics, and the browser itself is to be silent."""

HOSTILE = "<img src=x onerror=alert(1)>"
"""A caller's user part, as hostile as the field's rules allow."""

CONFIG = """\
switch: dhaka-1
timezone: Asia/Dhaka
data_dir: data
inputs:
  cdr: {type: files, paths: ["cdr/*.txt"]}
processors: [cdr, codes, prefixes]
"""

WIDTHS = {"laptop": (1280, 800), "phone": (390, 844)}


def vosship(*words: str | Path) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "vosship.cli", *map(str, words)]


def make_store(folder: Path, calls: int = 3000, cps: str = "0.03") -> Path:
    """Simulated calls over more than a day, shipped; the configuration's file."""
    subprocess.run(vosship("simulate", folder / "cdr", "--calls", str(calls), "--cps", cps, "--seed", "4"), check=True,
                   capture_output=True)  # fmt: skip
    with sorted((folder / "cdr").glob("*.txt"))[-1].open("a") as file:
        file.write(line(HOSTILE, "2026-04-26 00:00:30", billing_mode=-1))
    config = folder / "vosship.yaml"
    config.write_text(CONFIG)
    subprocess.run(vosship("run", "--once", "-c", config), check=True, capture_output=True)
    return config


def line(caller: str, stopped: str, billing_mode: int = 1) -> str:
    """A line of the pipe layout: one answered call of 30 s."""
    tail = "30000|200|0|CS10031_ZX|GW_RU|10.1.1.1|198.18.1.1"
    return (
        f"{caller}|447700900001|{stopped}|{stopped}|{tail}|{caller}|447700900001|{caller}|447700900001|0|{billing_mode}|900|800\n"
    )


@contextlib.contextmanager
def browsing(config: Path, *words: str) -> Iterator[str]:
    """The address of a `vosship browse` at work."""
    child = subprocess.Popen(
        vosship("browse", "-c", config, "--port", "0", "--no-open", *words),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    try:
        said = child.stderr.readline()
        assert said.startswith("http://127.0.0.1:"), said + child.stderr.read()
        yield said.split()[0].rstrip("/")
    finally:
        child.terminate()
        child.wait(10)
        child.stderr.close()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser. It is the machine's own: nothing is downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def missing_chromium() -> str:
    """Why there can be no browser; empty when there is one."""
    return "" if shutil.which(CHROMIUM) else f"no {CHROMIUM}: as root, `tools/prepare-tests` installs it"


_DRAWN = ":is(.dashboard-card-chart, .chart-container) :is(svg, canvas, table, p)"
_ALL_DRAWN = f"[...document.querySelectorAll('.dashboard-card')].every(card => card.querySelector('{_DRAWN}'))"


class Watched:
    """A page of a browser at one width, and whatever it did that it should not have."""

    def __init__(self, browser: Any, address: str, width: str = "laptop") -> None:
        self.address = address
        self.wrongs: list[str] = []
        self._context = browser.new_context(viewport=dict(zip(("width", "height"), WIDTHS[width], strict=True)))
        self.page = self._context.new_page()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.wrongs.append(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.wrongs.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrongs.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("response", lambda answer: answer.status >= 400 and self.wrongs.append(f"{answer.status}: {answer.url}"))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address + "/", "data:", "blob:")):
            self.wrongs.append(f"asked elsewhere: {url}")

    def open(self, path: str) -> Any:
        """Go there and wait until everything is drawn."""
        self.page.goto(self.address + path)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function(_ALL_DRAWN)
        return self.page

    def close(self) -> None:
        self._context.close()
