"""The options of the processor `cdr`.

It does not act on them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vosship_cdr.rounding import Rounding
from vosship_cdr.values import Times


class CdrOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the lines of one switch are read."""

    layout: Annotated[
        Literal["auto", "pipe", "csv-52", "datagram-46", "table-current"],
        Meta(description="column order; auto: recognised for each file from its lines"),
    ] = "auto"
    start_time: Annotated[
        Literal["received", "connected"], Meta(description="what the switch writes as startTime; call.setup_ms needs `received`")
    ] = "received"
    times: Annotated[Times, Meta(description="how times are written; auto takes text, epoch seconds and epoch milliseconds")] = (
        "auto"
    )
    hold_unit: Annotated[
        Literal["auto", "ms", "s"],
        Meta(description="unit of holdTime; auto: the layout's own, checked against stop - start of answered calls"),
    ] = "auto"
    rounding: Annotated[Rounding | None, Meta(description="how billed seconds are rounded; absent: no call.billed_s")] = None
    extra_fields: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]],
        Meta(description="names for columns beyond the layout, in order; they go below `labels.`"),
    ] = []
    max_skew_days: Annotated[
        int, Meta(description="a stop further from the date in the file's name is dead (`clock_skew`); 0: no limit", ge=0)
    ] = 2
