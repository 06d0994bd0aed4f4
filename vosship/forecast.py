"""Forecast of loss: which unread file the switch deletes next, when, and whether the backlog will be read in time.

It reads no file and no state: it is arithmetic over what an input sees and what is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

import msgspec

from vosship.errors import ConfigError
from vosship.plugin import StreamSize

MAX_FILES = "SERVER_CDR_FILE_WRITE_MAX"
INTERVAL = "SERVER_CDR_FILE_WRITE_INTERVAL"


COUNTED = (MAX_FILES, INTERVAL, "EXTERNAL_MAX_CDR_PENDING_SIZE")
"""Parameters of the switch that are counted with here and in the forward: whole numbers above 0."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What will happen if nothing changes.

    `next_file` is the oldest unread file, deleted in `next_deletion_s`. `seconds_to_late` is when the first file that
    cannot be read in time is deleted, None when all will be; `seconds_to_loss` likewise of those that are not kept.
    `certain` says that even the measured rate is too slow although the output answers.
    """

    next_file: str
    next_deletion_s: float
    seconds_to_late: float | None
    seconds_to_loss: float | None
    certain: bool
    interval_s: float
    max_files: int


def check_parameters(parameters: Mapping[str, str | int]) -> None:
    """Raises ConfigError for a number that is none: without it there would be no forecast, and no word why."""
    for name in COUNTED:
        text = str(parameters.get(name, 1))
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ConfigError(f"{text!r} is no whole number above 0", path=f"switch_parameters.{name}")


def interval_of(sizes: Sequence[StreamSize], parameters: Mapping[str, str | int]) -> float | None:
    """Seconds between two files: as set on the switch, else learnt from the newest twenty names."""
    if str(parameters.get(INTERVAL, "")).isdigit():
        return float(parameters[INTERVAL])
    starts = [size.stream.starts_at for size in sizes[-20:] if size.stream.starts_at is not None]
    gaps = [after - before for before, after in pairwise(starts) if after > before]
    return float(median(gaps)) if gaps else None


def foresee(
    sizes: Sequence[StreamSize],
    unread: Mapping[str, int],
    *,
    parameters: Mapping[str, str | int],
    deletions_seen: bool,
    bytes_per_s: float,
    answering: bool,
    now: float,
) -> Forecast | None:
    """Look ahead; `sizes` are the present files oldest first, `unread` the unsettled bytes by stream name.

    `bytes_per_s` is the measured drain rate, counted as 0 while the output does not answer. None when nothing is unread
    but the newest file and what the switch has deleted already, or when the switch's limit is neither set nor seen at work.
    """
    sizes = [size for size in sizes if not size.stream.path.endswith(".gz")]
    waiting = [place for place, size in enumerate(sizes) if not size.newest and unread.get(size.stream.name, 0) > 0]
    interval_s = interval_of(sizes, parameters)
    limit = parameters.get(MAX_FILES, len(sizes) if deletions_seen else None)
    at_risk = [place for place in waiting if not sizes[place].deleted]
    if not at_risk or not interval_s or limit is None or not str(limit).isdigit():
        return None
    max_files = int(limit)
    # A newest file older than an interval means a quiet or a stopped switch: its next file may come at any moment.
    newest_at = max(sizes[-1].stream.starts_at or sizes[-1].modified_at, now - interval_s)
    rate = bytes_per_s if answering else 0.0

    def deleted_in_s(place: int) -> float:
        # The switch holds max_files; the file at `place` goes when that many younger ones have come.
        files_to_come = max(1, max_files - len(sizes) + place + 1)
        return max(0.0, newest_at + files_to_come * interval_s - now)

    ahead, late = 0, []
    for place in waiting:
        ahead += unread[sizes[place].stream.name]
        if not sizes[place].deleted and (rate <= 0 or ahead / rate > deleted_in_s(place)):
            late.append(place)
    first_lost = next((deleted_in_s(place) for place in late if not sizes[place].kept), None)
    return Forecast(
        next_file=sizes[at_risk[0]].stream.path,
        next_deletion_s=deleted_in_s(at_risk[0]),
        seconds_to_late=deleted_in_s(late[0]) if late else None,
        seconds_to_loss=first_lost,
        certain=first_lost is not None and rate > 0,
        interval_s=interval_s,
        max_files=max_files,
    )
