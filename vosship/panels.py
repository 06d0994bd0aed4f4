"""What the dashboards show: which calls, which figures, which panels, in one table for every place where calls are looked at.

It draws nothing and asks no store: `vosship_bulk.dashboards` makes saved objects of it for Kibana and OpenSearch Dashboards,
`vosship_browse` makes pages over the embedded store. The figures are those of `query.Tally`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from vosship.query import RESEND


class Is(msgspec.Struct, frozen=True):
    """The field has one of these values."""

    field: str
    values: tuple[str | int | bool, ...]


class Under(msgspec.Struct, frozen=True):
    """The field is below `limit`."""

    field: str
    limit: int


class Both(msgspec.Struct, frozen=True):
    """Every condition holds; none at all: every call."""

    of: tuple[Condition, ...] = ()


class Not(msgspec.Struct, frozen=True):
    """The condition does not hold; a field that is absent has no value."""

    of: Condition


Condition = Is | Under | Both | Not

EVERY = Both()
ANSWERED = Is("call.answered", (True,))
ILLEGAL = Both((Is("billingMode", (-1,)), Not(ANSWERED)))
ATTEMPT = Not(ILLEGAL)
"""Illegal calls are counted apart and stay out of every ratio."""

UNANSWERED = Both((ATTEMPT, Not(ANSWERED)))
UNBILLED = Both((Is("billingMode", (-1,)), ANSWERED))
SHORT = Both((ANSWERED, Under("holdTime", 6000)))
"""Chosen: up to six seconds, the smallest billing step in use; many such calls are a fraud sign."""

REFUSED = Is("endReason", ("403", "-9"))
BY_FILES = Is("channel", ("file",))
FORWARDED = Is("channel", ("forward",))
RESENT = Is("tags", (RESEND,))


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the calls of `among`.

    `count`; `share` of the calls of `of` that are in `among`; `mean`, `sum` and `percentiles` (50, 95) of `field`;
    `distinct` values of `field`. `scale` divides what the field holds into `unit`.
    """

    title: str
    how: Literal["count", "share", "mean", "sum", "percentiles", "distinct"]
    among: Condition = EVERY
    of: Condition = EVERY
    field: str = ""
    scale: int = 1
    unit: str = ""


FIGURES: Mapping[str, Figure] = {
    "calls": Figure(title="Calls", how="count"),
    "attempts": Figure(title="Attempts", how="count", among=ATTEMPT),
    "answered": Figure(title="Answered", how="count", among=ANSWERED),
    "unanswered": Figure(title="Unanswered", how="count", among=UNANSWERED),
    "asr": Figure(title="ASR", how="share", among=ANSWERED, of=ATTEMPT, unit="%"),
    "acd": Figure(title="ACD", how="mean", among=ANSWERED, field="holdTime", scale=1000, unit="s"),
    "minutes": Figure(title="Minutes", how="sum", among=ANSWERED, field="holdTime", scale=60_000, unit="min"),
    "pdd": Figure(title="PDD", how="percentiles", among=ANSWERED, field="callerPdd", scale=1000, unit="s"),
    "pdd_out": Figure(title="PDD out", how="percentiles", among=ANSWERED, field="calleePdd", scale=1000, unit="s"),
    "illegal": Figure(title="Illegal calls", how="count", among=ILLEGAL),
    "unbilled": Figure(title="Answered, nobody billed", how="count", among=UNBILLED),
    "short": Figure(title="Answered, under 6 s", how="count", among=SHORT),
    "short_share": Figure(title="Short of answered", how="share", among=SHORT, of=ANSWERED, unit="%"),
    "refused": Figure(title="Refused (403, -9)", how="count", among=REFUSED),
    "addresses": Figure(title="Addresses", how="distinct", field="callerIp"),
    "by_files": Figure(title="From files", how="count", among=BY_FILES),
    "by_forward": Figure(title="Forwarded", how="count", among=Both((FORWARDED, Not(RESENT)))),
    "resent": Figure(title="Forwarded again", how="count", among=RESENT),
    "lag": Figure(title="Forward lag", how="percentiles", field="forward.lag_ms", scale=1000, unit="s"),
}
"""Figures by the word that panels use."""

Shape = Literal["figure", "time", "parts", "ranks", "table", "calls", "note"]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    `figure` one number · `time` figures over time, split by `by` if given · `parts` a ring by `by` · `ranks` bars by `by` · `table`
    a row for each value of `by` · `calls` the calls themselves, with the fields of `by` as columns · `note` is `text`. `among`
    limits every figure of the panel. `limit`: rows or parts, the largest first.
    """

    name: str
    title: str
    shape: Shape
    figures: tuple[str, ...] = ("calls",)
    by: tuple[str, ...] = ()
    among: Condition = EVERY
    limit: int = 10
    text: str = ""

    def fields(self) -> Iterator[str]:
        """Every field the panel needs; a schema without one of them cannot have the panel."""
        yield from self.by
        yield from _fields(self.among)
        for word in self.figures if self.shape not in ("calls", "note") else ():
            figure = FIGURES[word]
            yield from (name for name in (figure.field,) if name)
            yield from _fields(figure.among)
            yield from _fields(figure.of)


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """Panels in rows, each row as wide as the page and shared equally.

    `files_only`: of each call only the files' copy counts, and no resend.
    """

    name: str
    title: str
    description: str
    rows: tuple[tuple[Panel, ...], ...]
    files_only: bool = True

    def panels(self) -> Iterator[Panel]:
        """Every panel, row by row."""
        for row in self.rows:
            yield from row


def _fields(condition: Condition) -> Iterator[str]:
    match condition:
        case Is(field, _) | Under(field, _):
            yield field
        case Not(of):
            yield from _fields(of)
        case Both(parts):
            for part in parts:
                yield from _fields(part)


COLUMNS = ("callerE164", "calleeE164", "callerGatewayId", "calleeGatewayId", "holdTime", "endReason", "end.text", "end.by")
"""Columns that a list of calls shows after the time, in this order."""

JOURNEY = ("callerAccessE164", "callerE164", "callerToGatewayE164", "calleeAccessE164", "calleeE164", "calleeToGatewayE164")
EVIDENCE = ("callerIp", "calleeIp", "endReason", "end.by", "holdTime", "billingMode", "log.file.path", "log.offset")

_TRAFFIC = ("attempts", "answered", "asr", "acd", "minutes")


def _number(word: str) -> Panel:
    return Panel(name=word.replace("_", "-"), title=FIGURES[word].title, shape="figure", figures=(word,))


OVERVIEW = Dashboard(
    name="overview",
    title="Overview",
    description="How much traffic, how much of it was answered, how long it lasted, how long callers waited.",
    rows=(
        tuple(_number(word) for word in ("attempts", "answered", "asr", "acd", "minutes", "pdd")),
        (Panel(name="traffic", title="Attempts over time", shape="time", figures=("answered", "unanswered")),
         Panel(name="asr-time", title="ASR over time", shape="time", figures=("asr",))),
        (Panel(name="minutes-time", title="Minutes over time", shape="time", figures=("minutes",)),
         Panel(name="acd-time", title="ACD over time", shape="time", figures=("acd",)),
         Panel(name="pdd-time", title="PDD of answered calls", shape="time", figures=("pdd",))),
        (Panel(name="top-in", title="Gateways in", shape="ranks", figures=("attempts",), by=("callerGatewayId",)),
         Panel(name="top-out", title="Gateways out", shape="ranks", figures=("attempts",), by=("calleeGatewayId",))),
    ),
)  # fmt: skip

GATEWAYS = Dashboard(
    name="gateways",
    title="Gateways",
    description="Who sends, who carries. One record names only the last gateway tried, so a vendor's ASR flatters.",
    rows=(
        (Panel(name="in", title="Gateways in", shape="table", figures=_TRAFFIC, by=("callerGatewayId",), limit=25),),
        (Panel(name="out", title="Gateways out", shape="table", figures=_TRAFFIC, by=("calleeGatewayId",), limit=25),),
        (Panel(name="in-time", title="Attempts by gateway in", shape="time", figures=("attempts",), by=("callerGatewayId",),
               limit=6),
         Panel(name="out-time", title="Attempts by gateway out", shape="time", figures=("attempts",), by=("calleeGatewayId",),
               limit=6)),
        (Panel(name="out-pdd", title="PDD of the gateway out, answered calls", shape="table", figures=("answered", "pdd_out"),
               by=("calleeGatewayId",), among=ANSWERED, limit=25),
         Panel(name="out-hangup", title="Who hung up, by gateway out", shape="table", figures=("answered",),
               by=("calleeGatewayId", "end.by"), among=ANSWERED, limit=25)),
        (Panel(name="customers", title="Customers", shape="table", figures=_TRAFFIC, by=("caller.customer",), limit=25),
         Panel(name="vendors", title="Vendors", shape="table", figures=_TRAFFIC, by=("callee.vendor",), limit=25)),
    ),
)  # fmt: skip

DESTINATIONS = Dashboard(
    name="destinations",
    title="Destinations",
    description="Where calls went: by country of the number as sent, and by destination of the operator's own deck.",
    rows=(
        (Panel(name="countries", title="Countries", shape="parts", by=("callee.country",), figures=("attempts",)),
         Panel(name="countries-time", title="Attempts by country", shape="time", figures=("attempts",), by=("callee.country",),
               limit=6)),
        (Panel(name="country-figures", title="Countries", shape="table", figures=_TRAFFIC, by=("callee.country",), limit=25),),
        (Panel(name="destinations", title="Destinations", shape="table", figures=_TRAFFIC, by=("callee.destination",), limit=50),),
        (Panel(name="numbers", title="Numbers called most", shape="ranks", figures=("attempts",), by=("calleeE164",), limit=15),
         Panel(name="routes", title="Gateway out and country", shape="table", figures=("attempts",),
               by=("calleeGatewayId", "callee.country"), limit=20)),
    ),
)  # fmt: skip

ENDINGS = Dashboard(
    name="endings",
    title="Endings",
    description="Why calls ended and who hung up. Healthy: half to four fifths by the caller, under a fifth by the server.",
    rows=(
        (Panel(name="hangup", title="Who hung up answered calls", shape="parts", figures=("answered",), by=("end.by",),
               among=ANSWERED),
         Panel(name="classes", title="Classes of end reasons", shape="parts", by=("end.class",)),
         Panel(name="reasons", title="End reasons", shape="ranks", by=("end.text",), limit=12)),
        (Panel(name="reasons-time", title="End reasons over time", shape="time", by=("endReason",), limit=8),
         Panel(name="hangup-time", title="Who hung up answered calls, over time", shape="time", figures=("answered",),
               by=("end.by",), among=ANSWERED)),
        (Panel(name="reason-table", title="End reasons in full", shape="table", by=("endReason", "end.text"), limit=40),
         Panel(name="reason-out", title="End reasons by gateway out", shape="table", by=("calleeGatewayId", "endReason"),
               limit=20)),
    ),
)  # fmt: skip

REJECTS = Dashboard(
    name="rejects",
    title="Rejects and fraud signs",
    description="Calls that were not allowed, not billed or suspiciously short, and where they came from.",
    rows=(
        tuple(_number(word) for word in ("illegal", "refused", "unbilled", "short")),
        (Panel(name="illegal-time", title="Illegal and refused calls", shape="time", figures=("illegal", "refused")),
         Panel(name="short-time", title="Short calls, of answered", shape="time", figures=("short_share",))),
        (Panel(name="illegal-ips", title="Addresses of illegal calls", shape="ranks", figures=("illegal",), by=("callerIp",)),
         Panel(name="short-in", title="Short calls by gateway in", shape="ranks", figures=("short",), by=("callerGatewayId",))),
        (Panel(name="spread", title="Gateways in: addresses and short calls", shape="table",
               figures=("attempts", "addresses", "short", "short_share", "refused"), by=("callerGatewayId",), limit=25),),
        (Panel(name="callers", title="Callers calling most", shape="ranks", by=("callerE164",), limit=15),
         Panel(name="unbilled-calls", title="Answered calls that nobody was billed for", shape="calls", by=COLUMNS,
               among=UNBILLED, figures=())),
    ),
)  # fmt: skip

FORWARD = Dashboard(
    name="forward",
    title="Forward against files",
    description="The two copies side by side: the forward is fast and may lose calls, files are late and complete. For a "
    "verdict: vosship reconcile.",
    files_only=False,
    rows=(
        (*(_number(word) for word in ("by_files", "by_forward", "resent")), _number("lag")),
        (Panel(name="copies-time", title="Copies over time", shape="time", figures=("by_files", "by_forward")),
         Panel(name="lag-time", title="From a call's end to its arrival", shape="time", figures=("lag",))),
        (Panel(name="copies", title="Copies by switch", shape="table", figures=("by_files", "by_forward", "resent"),
               by=("switch",)),),
    ),
)  # fmt: skip

ONE_CALL = Dashboard(
    name="one-call",
    title="One call",
    description="Search a number above; what each side saw, why it ended, and the file and byte of the line.",
    files_only=False,
    rows=(
        (Panel(name="how", title="How to find it", shape="note", figures=(),
               text="Type a number into the search bar: `callerE164:8801712345678`, `calleeE164:9715*`, or a call's "
               "`flowNo:…`. Every copy is shown, forwarded ones too."),),
        (Panel(name="journey", title="Numbers as received, as billed, as sent", shape="calls", by=JOURNEY, figures=()),),
        (Panel(name="evidence", title="Evidence", shape="calls", by=EVIDENCE, figures=()),),
    ),
)  # fmt: skip

DASHBOARDS = (OVERVIEW, GATEWAYS, DESTINATIONS, ENDINGS, REJECTS, FORWARD, ONE_CALL)
"""In the order in which an operator asks."""
