"""What a load asks of the switch's own limits: retention, files, queue, disk. Pure arithmetic over given figures.

It knows no configuration and sets nothing. A figure that was not given is computed or left open, never assumed.
"""

from __future__ import annotations

import math

import msgspec

from vosship.errors import ConfigError

INTERVAL_BOUNDS_S = (60, 86_400)
"""SERVER_CDR_FILE_WRITE_INTERVAL (vendor's manual, section 4.3.5.1)."""

FILES_BOUNDS = (10, 4_096)
"""SERVER_CDR_FILE_WRITE_MAX (likewise; its default is 2,048)."""

PENDING_BOUNDS = (1_000, 100_000)
"""EXTERNAL_MAX_CDR_PENDING_SIZE (likewise; its default is 10,000)."""

SAFE_RETENTION_S = 2 * 86_400
"""Below this a weekend without anybody looking loses files. Chosen."""

SAFE_OUTAGE_S = 600
"""An outage of the receiver that the switch's queue should bridge: ten minutes, a restart with room for a mistake. Chosen."""

BYTES_PER_RECORD = 300
"""A line is 200-350 bytes; capacity is planned with 300, as 100 calls a second are said to fill 108 MB an hour."""

INTERVALS_BY_LOAD = ((50, 3600), (200, 1800), (500, 900), (math.inf, 300))
"""Records a second and the interval usual below that: 3600 s under 50, 1800 s under 200, 900 s above, 300 s in a flood (500 is the
most that one switch does without media)."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is given. None: not given, and nothing is concluded from it."""

    cps: float | None = None
    interval_s: int | None = None
    max_files: int | None = None
    retain_days: float | None = None
    pending: int | None = None
    bytes_per_record: int = BYTES_PER_RECORD


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What follows. None: cannot be said from what was given."""

    retention_s: int | None
    retention_text: str
    required_max_files: int | None
    recommended_interval_s: int | None
    archive_needed: bool
    outage_covered_s: float | None
    queue_needed_for_10_min: int | None
    disk_bytes_per_day: int | None
    warnings: list[str]


def plan(load: Load) -> Plan:
    """Size one switch. Raises ConfigError when the figures given exclude each other or say nothing."""
    if load.max_files is not None and load.retain_days is not None:
        raise ConfigError(
            "--max-files and --retain-days exclude each other", hint="the one follows from the other and the interval"
        )
    if load.max_files is not None and load.interval_s is None:
        raise ConfigError("--max-files alone says nothing of time", hint="add --interval-s")
    if load.pending is not None and load.cps is None:
        raise ConfigError("--pending alone says nothing of time", hint="add --cps")
    recommended = recommended_interval_s(load.cps) if load.cps is not None else None
    interval_s = load.interval_s if load.interval_s is not None else recommended
    if load.retain_days is not None and interval_s is None:
        raise ConfigError("--retain-days needs an interval", hint="add --interval-s, or --cps for a recommended one")
    if all(value is None for value in (load.cps, load.interval_s, load.retain_days)):
        raise ConfigError("nothing to plan with", hint="for instance --cps 100, or --interval-s 3600 --max-files 2048")

    required = None
    if load.retain_days is not None and interval_s is not None:
        required = required_max_files(load.retain_days, interval_s)
    retention = None
    if interval_s is not None and (files := load.max_files or min(required or 0, FILES_BOUNDS[1])):
        retention = interval_s * files
    return Plan(
        retention_s=retention,
        retention_text=span(retention) if retention is not None else "unknown: the number of files is not given",
        required_max_files=required,
        recommended_interval_s=recommended,
        archive_needed=required is not None and required > FILES_BOUNDS[1],
        outage_covered_s=round(load.pending / load.cps, 1) if load.pending is not None and load.cps else None,
        queue_needed_for_10_min=math.ceil(load.cps * SAFE_OUTAGE_S) if load.cps is not None else None,
        disk_bytes_per_day=round(load.cps * load.bytes_per_record * 86_400) if load.cps is not None else None,
        warnings=_warnings(load, interval_s, required, retention),
    )


def recommended_interval_s(cps: float) -> int:
    """The interval that keeps a file at a size people and tools can handle."""
    return next(interval_s for below, interval_s in INTERVALS_BY_LOAD if cps < below)


def required_max_files(retain_days: float, interval_s: int) -> int:
    """How many files hold so many days; may lie past what the switch can be set to."""
    return max(FILES_BOUNDS[0], math.ceil(retain_days * 86_400 / interval_s))


def span(seconds: float) -> str:
    """A duration for people, in the largest unit that shows it: `85.3 days`, `10 minutes`."""
    for unit_s, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            count = f"{seconds / unit_s:.1f}".removesuffix(".0")
            return f"{count} {unit}{'' if count == '1' else 's'}"
    return f"{seconds:g} seconds"


def _warnings(load: Load, interval_s: int | None, required: int | None, retention_s: int | None) -> list[str]:
    found = [
        f"{name} {value:,} is outside what the switch takes ({low:,} to {high:,})"
        for name, value, (low, high) in (
            ("SERVER_CDR_FILE_WRITE_INTERVAL", load.interval_s, INTERVAL_BOUNDS_S),
            ("SERVER_CDR_FILE_WRITE_MAX", load.max_files, FILES_BOUNDS),
            ("EXTERNAL_MAX_CDR_PENDING_SIZE", load.pending, PENDING_BOUNDS),
        )
        if value is not None and not low <= value <= high
    ]
    if required is not None and required > FILES_BOUNDS[1] and interval_s is not None:
        found.append(
            f"{required:,} files of {interval_s:,} s are needed and the switch keeps at most {FILES_BOUNDS[1]:,} "
            f"({span(FILES_BOUNDS[1] * interval_s)}): only an archive keeps the rest, or a longer interval"
        )
    if retention_s is not None and retention_s < SAFE_RETENTION_S:
        found.append(
            f"files are deleted after {span(retention_s)}: less than {span(SAFE_RETENTION_S)}, a weekend's outage loses calls"
        )
    if load.cps is not None:
        found += _load_warnings(load.cps, load.interval_s, load.pending)
    return found


def _load_warnings(cps: float, interval_s: int | None, pending: int | None) -> list[str]:
    found = []
    needed = math.ceil(cps * SAFE_OUTAGE_S)
    if pending is not None and pending < needed:
        found.append(
            f"the forward's queue bridges {span(pending / cps)} of the receiver's absence, then calls are dropped silently: "
            f"{needed:,} would bridge {span(SAFE_OUTAGE_S)}"
        )
    if needed > PENDING_BOUNDS[1]:
        found.append(
            f"no queue the switch can be set to bridges {span(SAFE_OUTAGE_S)} at {cps:g} records/s: its most, "
            f"{PENDING_BOUNDS[1]:,}, lasts {span(PENDING_BOUNDS[1] / cps)}; reconcile with the files"
        )
    recommended = recommended_interval_s(cps)
    if interval_s is not None and interval_s > recommended:
        found.append(f"at {cps:g} records/s an interval of {recommended:,} s is usual, not {interval_s:,} s: files grow large")
    return found
