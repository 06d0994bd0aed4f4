"""What `check` says of the newest file: layout, unit of holdTime, bad lines, and whether the time zone is plausible.

It reads a file as `vosship inspect` does and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from vosship.application import Application, InputEntry
from vosship.config import convert
from vosship.errors import ConfigError
from vosship.plugin import Remark, Reports
from vosship_cdr.inspection import inspect_file
from vosship_cdr.layout import LAYOUTS
from vosship_cdr.options import CdrOptions

ZONE_SLACK_S = 25 * 60.0
"""Chosen: above the longest wait of a call before it is in the file, below the smallest difference between two zones."""

ZONE_STEP_S = 30 * 60.0
"""Zones differ by multiples of half an hour (all but three of tzdata 2026's, which differ by 45 minutes)."""


def examine_newest(application: Application, entry: InputEntry) -> Iterator[Remark]:
    """Remarks on the newest file that holds something; none when there is no such file or no `cdr` processor."""
    configured = next((item for item in application.config.processors if item.type == "cdr"), None)
    if configured is None or not isinstance(entry.plugin, Reports) or entry.channel == "forward":
        return
    sizes = [size for size in entry.plugin.survey({}) if size.size]
    if not sizes:
        return
    newest = sizes[-1]
    name = Path(newest.stream.path).name
    try:
        options = convert(configured.options, CdrOptions, configured.path)
        found = inspect_file(Path(newest.stream.path), options, entry.timezone)
    except ConfigError as error:
        yield Remark("bad", error.message, error.hint)
        return
    yield Remark(
        "good", f"{name}: layout {found.layout}, {found.fields} columns, {found.lines} lines, holdTime in {found.hold_unit}"
    )
    layout = LAYOUTS.get(found.layout)  # type: ignore[call-overload]  # "unclear" is none of its names
    if layout is not None and options.hold_unit == "auto" and found.hold_unit not in ("unclear", layout.hold_unit):
        yield Remark(
            "bad",
            f"{name}: holdTime of layout {layout.name} should be in {layout.hold_unit} and looks like {found.hold_unit}",
            f"set `hold_unit: {found.hold_unit}` for the processor cdr, or `hold_unit: {layout.hold_unit}` if this file is right",
        )
    if found.bad_lines:
        yield Remark(
            "warn", f"{name}: {found.bad_lines} of {found.lines} lines would be dead", f"vosship inspect {newest.stream.path}"
        )
    if found.last_stop:
        yield _zone(entry.timezone, datetime.fromisoformat(found.last_stop).timestamp() - newest.modified_at, name)


def _zone(timezone: str, ahead_s: float, name: str) -> Remark:
    """The last call stopped shortly before the file was last written, if the zone is right."""
    if -ZONE_SLACK_S <= ahead_s <= ZONE_SLACK_S / 5:
        return Remark(
            "good", f"{timezone} is plausible: the last call of {name} stopped {abs(ahead_s):.0f} s from its last writing"
        )
    away_s = abs(ahead_s - round(ahead_s / ZONE_STEP_S) * ZONE_STEP_S)
    if ahead_s > 0 or (away_s < ZONE_SLACK_S and ahead_s > -15 * 3600):
        way = "after" if ahead_s > 0 else "before"
        return Remark(
            "warn",
            f"the last call of {name} stopped {abs(ahead_s) / 3600:.1f} h {way} the file was last written, read as {timezone}",
            "is `timezone` the switch's zone? (a copied or quiet file shows the same)",
        )
    return Remark("good", f"{timezone} cannot be judged by {name}: it was last written long after its last call")
