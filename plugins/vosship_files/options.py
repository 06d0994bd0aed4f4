"""What an operator may set on the input `files`.

It does not check what only the file system can tell: `vosship check` does.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the input `files`."""

    paths: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(
            description="globs (`/home/vos3000/cdr/*.txt`) or directories (their `*.txt`); `.gz` copies are taken too; "
            "relative ones start at the configuration file",
            min_length=1,
        ),
    ]
    poll_s: Annotated[float, Meta(description="look at the newest files and the directory this often", gt=0, le=60)] = 1.0
    rescan_s: Annotated[float, Meta(description="look at every file this often", gt=0, le=3600)] = 30.0
    block_bytes: Annotated[int, Meta(description="read this much at a time", ge=1024, le=16 << 20)] = 131_072
    max_line_bytes: Annotated[int, Meta(description="a longer line is cut and set aside", ge=1024, le=1 << 20)] = 65_536
    still_s: Annotated[
        float,
        Meta(
            description="take the half last line of a file that is not the newest after it stood still this long; "
            "longer than the switch's flush (SS_CDR_FILE_WRITE_INTERVAL, 60)",
            gt=0,
        ),
    ] = 120.0
    live_share: Annotated[
        float, Meta(description="share of the reading guaranteed to the newest file while older ones wait", gt=0, le=0.9)
    ] = 0.25
    hold_files: Annotated[
        int, Meta(description="keep this many of the oldest unread files open, so that deleting them loses nothing", ge=0, le=512)
    ] = 16
    ignore_older_days: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="skip files whose name's time is older than this (default: none)")
    ] = None
    rescue_dir: Annotated[
        str | None,
        Meta(description="hard-link (or copy) unread files that the switch is about to delete into this directory"),
    ] = None
    rescue_max_bytes: Annotated[int, Meta(description="rescue no more than this", ge=1 << 20)] = 10 << 30
    rescue_last_files: Annotated[
        int,
        Meta(
            description="with SERVER_CDR_FILE_WRITE_MAX known, rescue what is within this many files of being deleted, "
            "or within the last tenth, whichever is more",
            ge=1,
        ),
    ] = 8
    watch: Annotated[bool, Meta(description="be woken by the kernel when files come or go, instead of at the next poll")] = True
    report_gaps: Annotated[bool, Meta(description="name holes in the sequence of file names")] = True
