"""Every metric, declared once, and how log lines look.

It does not decide when to log or count; nothing here knows what a metric means to a pipeline.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics


class Metric(msgspec.Struct, frozen=True):
    """One metric's declaration: its Prometheus name, kind, meaning and labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ("pipeline",)


METRICS: tuple[Metric, ...] = (
    Metric("vosship_lines_read_total", "counter", "Lines settled, whatever their fate."),
    Metric("vosship_documents_stored_total", "counter", "Documents a store took."),
    Metric("vosship_documents_duplicate_total", "counter", "Documents a store already had."),
    Metric("vosship_lines_dead_total", "counter", "Lines set aside.", ("pipeline", "reason")),
    Metric("vosship_lines_filtered_total", "counter", "Lines left out on purpose."),
    Metric("vosship_bytes_lost_total", "counter", "Bytes seen and deleted unread."),
    Metric("vosship_unread_bytes", "gauge", "Bytes seen and not yet settled."),
    Metric("vosship_unreadable_paths", "gauge", "Directories and files that the input cannot read now."),
    Metric("vosship_lag_seconds", "gauge", "How long the oldest unread byte has waited."),
    Metric("vosship_seconds_to_loss", "gauge", "Forecast: seconds until the switch deletes something unread."),
    Metric("vosship_complete_until_seconds", "gauge", "Epoch second before which every call is settled; no sample while unknown."),
    Metric("vosship_sends_total", "counter", "Attempts to send a batch.", ("pipeline", "outcome")),
    Metric("vosship_send_seconds", "histogram", "How long an attempt took."),
    Metric("vosship_forward_received_total", "counter", "Records received from the switch.", ()),
    Metric("vosship_forward_refused_total", "counter", "Records and connections refused.", ("reason",)),
    Metric(
        "vosship_forward_pending_estimate_ratio",
        "gauge",
        "The switch's own queue, estimated from the receiver's absence and the rate (it cannot be seen).",
        (),
    ),
    Metric("vosship_spool_bytes", "gauge", "Bytes in the forward spool.", ()),
    Metric("vosship_disk_used_ratio", "gauge", "How full the file system of a path is.", ("path",)),
    Metric("vosship_findings_total", "counter", "What detectors noticed.", ("rule",)),
)
"""Dashboards and alerts rely on names and labels: extend, never rename."""


class Telemetry:
    """Counts into one Prometheus registry. An undeclared name raises KeyError: a metric is declared before use."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time series of creation times beside each counter helps nobody
        self.registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        for metric in METRICS:
            self._made[metric.name] = kinds[metric.kind](metric.name, metric.description, metric.labels, registry=self.registry)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(name, labels).set(value)

    def forget(self, name: str, **labels: str) -> None:
        """Leave a gauge's sample out from now on: it is not known, and no number says that."""
        (declared,) = (metric for metric in METRICS if metric.name == name)
        with contextlib.suppress(KeyError):  # there is none
            self._made[name].remove(*(labels[label] for label in declared.labels))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        self._child(name, labels).observe(value)

    def _child(self, name: str, labels: Mapping[str, str]) -> Any:
        metric = self._made[name]
        return metric.labels(**labels) if labels else metric


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Line(logging.Formatter):
    """One line an event: time, level, phrase, then the variables as `key=value` (JSON-quoted where they hold blanks)."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one event."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        keys = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        text = " ".join([at, record.levelname, record.getMessage(), *(f"{key}={_quoted(value)}" for key, value in keys.items())])
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(sign in text for sign in ' "=\n') else text


class Repeats(logging.Filter):
    """Lets one event of a kind through each `every_s`, with the count of those held back in `repeated`."""

    def __init__(self, every_s: float = 30.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._now = now
        self._last: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the event is shown."""
        if record.levelno < logging.INFO:
            return True
        variables = "|".join(str(v) for k, v in record.__dict__.items() if k not in _STANDARD and isinstance(v, str))
        kind = (record.name, record.lineno, f"{record.msg}|{variables}")
        at = self._now()
        shown_at, held = self._last.get(kind, (float("-inf"), 0))
        if at - shown_at < self._every_s:
            self._last[kind] = (shown_at, held + 1)
            return False
        if len(self._last) > 1000:  # chosen: bounds memory; forgetting only shows a repeat early
            self._last.clear()
        self._last[kind] = (at, 0)
        if held:
            record.__dict__["repeated"] = held
        return True


def log_to_stderr(level: str) -> None:
    """Send every `vosship` log line to standard error, repeats limited."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Line())
    handler.addFilter(Repeats())
    logger = logging.getLogger("vosship")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
