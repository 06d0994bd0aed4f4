"""What the name of a CDR file says: its time, and the file family of a pattern.

It does not touch the file system.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePath
from zoneinfo import ZoneInfo

from vosship.errors import ConfigError

GZIP_SUFFIX = ".gz"

_HOUR = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})?(\d{2})?(?!\d)")
_STAMP = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})[_-](\d{2})(\d{2})(\d{2})(?!\d)")


def plain_name(name: str) -> str:
    """The name without `.gz`: an archived copy is the same stream."""
    return name.removesuffix(GZIP_SUFFIX)


def local_time(base: str) -> datetime | None:
    """The switch's local time in a name: `2026042612.txt`, `202604261230.txt`, `cdr_20260426_123000.csv`."""
    found = _STAMP.search(base) or _HOUR.search(base)
    if not found:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # six numbers, none of them a zone
    except ValueError:
        return None


def starts_at(base: str, zone: ZoneInfo) -> float | None:
    """The name's time in UTC epoch seconds; of an hour that occurs twice the first, as nothing in it is earlier."""
    local = local_time(base)
    return local.replace(tzinfo=zone).timestamp() if local else None


def rename(base: str, at: float, zone: ZoneInfo) -> str:
    """The name that a file of the same pattern as `base` would bear at another time."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    if _STAMP.search(base):
        return _STAMP.sub(local.strftime("%Y%m%d_%H%M%S"), base)
    digits = _HOUR.search(base)
    width = len(digits.group()) if digits else 0
    return _HOUR.sub(local.strftime("%Y%m%d%H%M%S")[:width], base)


def family(pattern: str) -> str:
    """`csv` for `cdr_*.csv`, else `pipe`: both families hold the same calls, so one input reads one of them."""
    return "csv" if PurePath(plain_name(pattern)).suffix == ".csv" else "pipe"


def one_family(patterns: list[str]) -> str:
    """The family that all patterns share. Raises ConfigError when they do not."""
    families = {family(pattern) for pattern in patterns}
    if len(families) != 1:
        raise ConfigError(
            "the patterns name both file families, which hold the same calls",
            path="paths",
            hint="give each family its own input, and one of them its own `channel`",
        )
    return families.pop()
