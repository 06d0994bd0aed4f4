"""Every difference as a row of a CSV file, for spreadsheets and scripts.

It decides nothing: classes and pairs are the comparison's.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vosship.errors import FatalError
from vosship_reconcile.columns import FURTHER, TEXTS
from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.report import rows

FIELDS = ("stopTime", "startTime", "holdTime", *TEXTS, *FURTHER, "forward.received_at")

TITLES = ("class", "pair", "side", "differs", *FIELDS, "file", "offset", "id", "reason", "line")


def write(path: Path, db: Any, names: Sequence[str]) -> int:
    """Write all classes but matched; the two copies of a mismatched pair share a number in `pair`. Returns the rows written."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(TITLES)
            written = 0
            for word in CLASSES:
                if word == "matched":
                    continue
                for pair, call in enumerate(rows(db, word, names), start=1):
                    copies = [call, call["other"]] if "other" in call else [call]
                    number = pair if "other" in call else ""
                    differs = " ".join(call.get("differs", ()))
                    for copy in copies:
                        writer.writerow(_cells(word, number, differs, copy))
                        written += 1
            return written
    except OSError as error:
        raise FatalError(f"cannot write {path}: {error.strerror}", hint="--csv names another file") from error


def _cells(word: str, pair: int | str, differs: str, copy: dict[str, Any]) -> list[Any]:
    place = [copy.get(name, "") for name in ("file", "offset", "_id", "reason", "line")]
    return [word, pair, copy["side"], differs, *[copy.get(name, "") for name in FIELDS], *place]
