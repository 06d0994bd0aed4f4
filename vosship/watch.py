"""The agent's look at itself: gauges, the forecast of loss, the disk, and the pages a monitoring system asks for.

It changes nothing but gauges and log lines.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from vosship.application import Application
from vosship.errors import ConfigError, VosshipError
from vosship.ledger import PipelineStatus, read_status
from vosship.running import RunningPipeline
from vosship.state import State

log = logging.getLogger("vosship.watch")

LOOK_EVERY_S = 15.0
"""Chosen: within a scrape interval; a look at 2,048 files took 145 ms on a busy machine (2026-11-20): rarer while quiet."""

QUIET_LOOK_S = 300.0
"""Chosen: between two looks while nothing happens, so that 2,048 finished files cost nothing measurable."""

LOOK_AT_LEAST_S = 2.0
"""Chosen: between two looks when an unread file is about to go, as with intervals of seconds."""

WARN_AHEAD_S = 4 * 3600.0
"""Chosen: an unread file this close to its deletion is worth a WARN while there is time to act."""

KEEP_GONE_S = 30 * 86400.0
"""Chosen: a deleted file's own row outlives the switch's usual month of questions; its counts stay in the totals for ever."""

PRUNE_EVERY_S = 3600.0
"""Chosen: the rows of an hour are few."""

DISK_WARN_RATIO = 0.8
"""docs/vos3000-cdr.md, section 5: alarm on a disk above 80 %."""


class Watch:
    """Looks every LOOK_EVERY_S while the agent runs."""

    def __init__(self, application: Application, state: State, running: Sequence[RunningPipeline]) -> None:
        self._application = application
        self._state = state
        self._running = running
        self._warned_until: dict[str, int] = {}

    async def run(self) -> None:
        """For ever; the page is served from the start on."""
        server = self._serve()
        prune_at = time.monotonic()
        try:
            while True:
                settled = [running.counts.copy() for running in self._running]
                try:
                    if time.monotonic() >= prune_at:
                        prune_at += PRUNE_EVERY_S
                        await asyncio.wrap_future(self._state.prune(time.time() - KEEP_GONE_S))
                    seen = await asyncio.to_thread(read_status, self._application)
                    self._note_disks()
                except (VosshipError, OSError) as error:  # shipping goes on without being watched
                    log.error("the agent cannot look at itself", extra={"reason": str(error)})
                    seen = []
                for status in seen:
                    self._note(status)
                soonest_s = min((each.forecast.next_deletion_s for each in seen if each.forecast), default=LOOK_EVERY_S)
                await asyncio.sleep(min(LOOK_EVERY_S, max(LOOK_AT_LEAST_S, soonest_s / 4)))
                await self._while_quiet(seen, settled)
        finally:
            if server:
                server.shutdown()
                server.server_close()

    async def _while_quiet(self, seen: Sequence[PipelineStatus], settled: Sequence[Counter[str]]) -> None:
        """Put the next look off while it would show what this one did: nothing unread, nothing settled, outputs answering.

        `settled` are the counts before that look.
        """
        if any(each.unread_bytes for each in seen):
            return
        until = time.monotonic() + QUIET_LOOK_S
        while time.monotonic() < until:
            trouble = any(running.delivery.unreachable or running.failure for running in self._running)
            if trouble or settled != [running.counts for running in self._running]:
                return
            await asyncio.sleep(LOOK_AT_LEAST_S)

    def _note(self, status: PipelineStatus) -> None:
        metrics, name = self._application.telemetry, status.name
        metrics.set("vosship_unread_bytes", status.unread_bytes, pipeline=name)
        metrics.set("vosship_lag_seconds", status.lag_s or 0.0, pipeline=name)
        metrics.set("vosship_seconds_to_loss", _or_inf(status.seconds_to_loss), pipeline=name)
        if status.complete_until_s is None:  # nothing shipped yet: 0 would be 1970, and an alarm on every fresh install
            metrics.forget("vosship_complete_until_seconds", pipeline=name)
        else:
            metrics.set("vosship_complete_until_seconds", status.complete_until_s, pipeline=name)
        forecast = status.forecast
        if forecast is None or forecast.seconds_to_late is None:
            return
        extra = {
            "pipeline": name,
            "file": forecast.next_file,
            "in_s": round(forecast.seconds_to_late),
            "unread_bytes": status.unread_bytes,
            "kept": "yes" if forecast.seconds_to_loss is None else "no",
        }
        if forecast.certain:
            log.error("the switch will delete an unread file before it can be read", extra=extra)
        elif forecast.seconds_to_late < WARN_AHEAD_S:
            log.warning("an unread file is about to be deleted by the switch", extra=extra)

    def _note_disks(self) -> None:
        path = self._application.config.data_dir
        usage = shutil.disk_usage(path)
        ratio = usage.used / usage.total
        self._application.telemetry.set("vosship_disk_used_ratio", ratio, path=str(path))
        if ratio > DISK_WARN_RATIO:
            log.warning("the disk is filling up", extra={"path": str(path), "used_percent": round(ratio * 100)})

    def _serve(self) -> ThreadingHTTPServer | None:
        listen = self._application.config.metrics.listen
        if not listen:
            return None
        host, _, port = listen.rpartition(":")
        try:
            server = ThreadingHTTPServer((host.strip("[]") or "127.0.0.1", int(port)), self._handler())
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {listen!r}: {error}", path="metrics.listen", hint="HOST:PORT, not in use"
            ) from error
        threading.Thread(target=server.serve_forever, name="vosship-metrics", daemon=True).start()
        return server

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        watch = self

        class Page(BaseHTTPRequestHandler):
            """/metrics, /healthz (alive) and /readyz (every output took something or could)."""

            def do_GET(self) -> None:
                status, kind, body = watch._page(self.path.split("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Scrapes are not events."""

        return Page

    def _page(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._application.telemetry.registry)
        if path == "/healthz":
            return 200, "text/plain", b"alive\n"
        if path == "/readyz":
            waiting = [running.name for running in self._running if running.delivery.unreachable or running.failure]
            return (503, "text/plain", f"waiting: {', '.join(waiting)}\n".encode()) if waiting else (200, "text/plain", b"ready\n")
        return 404, "text/plain", b"/metrics /healthz /readyz\n"


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value
