"""`vosship reconcile --map`: our calls against another carrier's file.

It is no command of its own: `reconcile` hands over to it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vosship.commands.sources import bounded
from vosship.records import find, records
from vosship.window import Window
from vosship_reconcile import carrier, carrier_map, carrier_report
from vosship_reconcile.session import session

if TYPE_CHECKING:
    from vosship.application import Application
    from vosship_reconcile.carrier_report import CarrierReport

BESIDE = timedelta(hours=26)
"""Read beyond the window on either side: a zone that does not fit (14 h at most), and calls that began before and ended after."""


def compare(
    application: Application,
    window: Window,
    left: str,
    right: str,
    filters: dict[str, Any],
    options: dict[str, Any],
    check: Callable[[int], None],
) -> CarrierReport:
    """The report; with `csv_path` every difference is written too. Raises ConfigError for a map or file that cannot be used.

    `check` is told how many calls of ours were read so far.
    """
    found = carrier_map.load(options["map_path"])
    wide = Window(start=window.start - BESIDE, end=window.end + BESIDE, zone=window.zone, time="answer")
    path = Path(right)
    with session(options["scratch"]) as (db, work):
        carrier.create(db)
        for name in left.split(","):
            find(application, name)
            carrier.load_ours(db, bounded(records(application, name, wide, filters), check), found, name, work)
        span = (wide.from_ms, wide.to_ms)
        carrier.load_theirs(db, carrier_map.read(path, found), path.name, span, work)
        offset = carrier.estimate(db, found)
        carrier.pair(db, found, offset)
        carrier.classify(db, found, offset, window.from_ms, window.to_ms)
        shown = {"from": window.start.isoformat(), "to": window.end.isoformat(), "timezone": window.zone.key, "time": "answer"}
        report = carrier_report.build(db, (left, path.name), shown, offset, found.tolerance, found.currency)
        if options["csv_path"]:
            carrier_report.write(options["csv_path"], db)
    return report
