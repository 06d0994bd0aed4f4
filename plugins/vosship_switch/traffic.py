"""Calls as a wholesale switch would see them, from a seed.

It renders and writes nothing: `rendering` makes lines of calls, `directory` and `forward` bring them out.
The same seed and the same stop times give the same calls on every machine: no wall clock, no hash order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random
from statistics import NormalDist
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from vosship_switch.clock import LocalClock
from vosship_switch.countries import COUNTRIES, Country

T = TypeVar("T")

TABLE_SIZE = 4096
"""Entries of a weighted choice's table. Chosen: shares down to 1 in 4,096, one multiplication a draw."""

HOUR_SHAPE = (22, 15, 11, 9, 9, 13, 26, 48, 74, 96, 112, 120, 114, 108, 110, 116, 124, 138, 155, 172, 180, 158, 104, 56)
"""Calls by local hour, relative. Chosen: quiet before dawn, a business plateau, the busy hour at 20, as retail traffic has it."""

HOLD_MEDIAN_MS, HOLD_SIGMA = 75_000, 1.35
"""Conversation times are log-normal. Chosen: a median of 75 s gives a mean near 3 minutes, an ordinary wholesale ACD."""

HOLD_MIN_MS, HOLD_MAX_MS = 1_000, 7_200_000
"""Chosen: below a second a layout with whole seconds would show an answered call as unanswered; two hours is a usual limit."""

ILLEGAL_SHARE = 0.02
"""Calls rejected as illegal (domain: 0-5 % of the records is healthy)."""

UNRATED_SHARE = 0.002
"""Answered calls without a rate, billingMode -1: the revenue leak worth finding. Chosen."""

DISORDER_MS = 2_000
"""How far a stop may lie before its neighbour's. Chosen: a record is written shortly after its call ends."""


class Customer(NamedTuple):
    """A mapping gateway: where calls come in, how it dials, and how often its attempts fail."""

    name: str
    account: str
    ips: tuple[str, ...]
    tech_prefix: str
    dialled: str
    """What stands between technical prefix and number as received: ``""``, `00` or `+`."""
    keeps_prefix: bool
    """The switch does not strip the technical prefix, so the number as billed still has it."""
    answered_share: float
    sip_reasons: bool
    """Writes SIP codes for completed calls; else the vendor's -7 and -8."""


class Vendor(NamedTuple):
    """A routing gateway: where calls go out."""

    name: str
    ips: tuple[str, ...]
    prefix: str
    pdd_ms: int
    """Its usual answer to an INVITE."""
    h323: bool
    """Ends calls with Q.850 causes."""


class Call(NamedTuple):
    """One finished call. Times are epoch milliseconds, durations milliseconds.

    `start_ms` is when it was received; stop >= start + setup + hold holds in whole seconds too.
    """

    number: int
    start_ms: int
    stop_ms: int
    hold_ms: int
    setup_ms: int
    vendor_pdd_ms: int
    reason: str
    ended_by: int
    mode: int
    callee_pays: int
    customer: Customer
    vendor: Vendor | None
    country: Country
    caller_ip: str
    callee_ip: str
    caller: str
    callee: str
    caller_access: str
    callee_access: str
    caller_out: str
    callee_out: str


CUSTOMER_NAMES = (
    "CS10031_ZX", "CS10044_ZX", "RETAIL_DHAKA", "RETAIL_CTG", "CALLSHOP-7", "WS_Albion", "WS_Nordtel", "WS_Kestrel", "北京_接入",
    "上海_客户1", "DIALER_A", "DIALER_B", "CC_Manila", "OTT_blue", "WS Gulf Star", "Q0002CS1003",
)  # fmt: skip
VENDOR_NAMES = (
    "GW_BD_PRIME", "GW_BD_GREY2", "GW_IN_CLI", "GW_PK_STD", "GW_NP", "GW_GULF_A", "GW_GULF_B", "GW_AFR_1", "GW_AFR_2", "广州_出口",
    "深圳_出口2", "VT-EU-01", "VT-US-LCR", "GW_ASIA_MIX", "H323_LEGACY", "VT_premium", "GW_TEST9", "GW_RU",
)  # fmt: skip

_COMPLETED = ((0, 65), (1, 28), (2, 7))
"""Who ended a completed call (domain: healthy is 50-80 % caller, 15-40 % callee, 5-20 % server)."""

_FAILED = (
    # reason, by whom, routed, rang, weight: chosen from the failures wholesale switches report most
    (("487", 0, True, True), 21), (("486", 1, True, True), 15), (("480", 1, True, True), 14), (("503", 1, True, False), 13),
    (("404", 1, True, False), 9), (("-69", 2, False, False), 7), (("-7", 0, True, True), 6), (("408", 2, True, True), 4),
    (("500", 1, True, False), 3), (("502", 1, True, False), 2), (("603", 1, True, True), 3), (("484", 1, True, False), 1),
    (("403", 1, True, False), 2), (("600", 1, True, True), 1), (("-8", 1, True, True), 2), (("504", 2, True, False), 1),
)  # fmt: skip

_Q850 = {"487": "16", "486": "17", "480": "19", "503": "34", "404": "1", "603": "21"}
"""The same failures as an H.323 gateway reports them (ITU-T Q.850)."""

_ODD_CALLERS = ("", "anonymous", "QIANHAO", "S0099966015", "+", "user-200")


def weighted(pairs: Sequence[tuple[T, float]]) -> list[T]:
    """A table of TABLE_SIZE entries in which each value has its share: `table[int(random() * TABLE_SIZE)]` draws one."""
    total = sum(weight for _, weight in pairs)
    table: list[T] = []
    reached = 0.0
    for value, weight in pairs:
        reached += weight
        table.extend([value] * (round(reached / total * TABLE_SIZE) - len(table)))
    return table


def arrivals(seed: int, start_ms: int, per_second: float, zone: ZoneInfo) -> Iterator[int]:
    """Endless moments at which calls end, ascending, in epoch milliseconds.

    `per_second` is the mean over a whole day; the rate follows HOUR_SHAPE by the zone's clock.
    """
    draw = Random(f"arrivals:{seed}").random
    mean = sum(HOUR_SHAPE) / len(HOUR_SHAPE)
    local_s = LocalClock(zone).local_s
    at = float(start_ms)
    log = math.log
    step_until, scale = 0.0, 0.0
    while True:
        if at >= step_until:
            rate = per_second * HOUR_SHAPE[local_s(int(at) // 1000) // 3600 % 24] / mean
            scale = 1000.0 / rate
            step_until = at // 900_000 * 900_000 + 900_000
        at -= scale * log(1.0 - draw())
        yield int(at)


class Traffic:
    """Draws calls. One instance is one switch's traffic: its gateways and regular callers come from the seed."""

    def __init__(self, seed: int) -> None:
        plan = Random(f"gateways:{seed}")
        self._random = Random(f"calls:{seed}").random
        self._number = 0
        self.customers = tuple(_customer(plan, number, name) for number, name in enumerate(CUSTOMER_NAMES))
        self.vendors = tuple(_vendor(plan, number, name) for number, name in enumerate(VENDOR_NAMES))
        self._customer_table = weighted([(one, 1.0 / (rank + 2)) for rank, one in enumerate(self.customers)])
        self._country_table = weighted([(one, float(one.weight)) for one in COUNTRIES])
        self._routes = {
            country.iso: weighted([(vendor, 1.0 / (rank + 1)) for rank, vendor in enumerate(plan.sample(self.vendors, 4))])
            for country in COUNTRIES
        }
        self._callers = _callers(plan)
        self._completed_table = weighted(_COMPLETED)
        self._failed_table = weighted(_FAILED)
        spread = NormalDist(math.log(HOLD_MEDIAN_MS), HOLD_SIGMA)
        holds = [int(math.exp(spread.inv_cdf((step + 0.5) / TABLE_SIZE))) for step in range(TABLE_SIZE)]
        self._hold_table = [min(max(hold, HOLD_MIN_MS), HOLD_MAX_MS) for hold in holds]
        self._regulars: list[tuple[Country, str]] = [(one, self._callee(one)) for one in plan.choices(COUNTRIES, k=2000)]

    def _callee(self, country: Country) -> str:
        random = self._random
        lead = country.leads[int(random() * len(country.leads))]
        rest = country.digits - len(lead)
        return f"{country.prefix}{lead}{int(random() * 10**rest):0{rest}d}"

    def call(self, ended_ms: int, disorder_ms: int = DISORDER_MS) -> Call:
        """The next call; its record is written at `ended_ms`, its stop is that or up to `disorder_ms` earlier."""
        random = self._random
        self._number += 1
        stop_ms = ended_ms if not disorder_ms or random() < 0.8 else ended_ms - int(random() * disorder_ms)
        customer = self._customer_table[int(random() * TABLE_SIZE)]
        if random() < 0.3:
            country, number = self._regulars[int(random() * 2000)]
        else:
            country = self._country_table[int(random() * TABLE_SIZE)]
            number = self._callee(country)
        caller = self._callers[int(random() * len(self._callers))]
        mode, hold_ms = 1, 0
        vendor: Vendor | None = self._routes[country.iso][int(random() * TABLE_SIZE)]
        fate = random()
        if fate < ILLEGAL_SHARE:
            reason, ended_by, mode, vendor = "-9", 2, -1, None
            setup_ms = 0
        elif fate < ILLEGAL_SHARE + (1.0 - ILLEGAL_SHARE) * customer.answered_share:
            ended_by = self._completed_table[int(random() * TABLE_SIZE)]
            reason = "200" if customer.sip_reasons or ended_by == 2 else ("-7" if ended_by == 0 else "-8")
            hold_ms = int(self._hold_table[int(random() * TABLE_SIZE)] * (0.9 + 0.2 * random()))
            hold_ms = hold_ms if hold_ms > HOLD_MIN_MS else HOLD_MIN_MS
            setup_ms = 2_000 + int(random() * random() * 26_000)
            if random() < UNRATED_SHARE:
                mode = -1
        else:
            reason, ended_by, routed, rang = self._failed_table[int(random() * TABLE_SIZE)]
            setup_ms = 6_000 + int(random() * 40_000) if rang else 100 + int(random() * 4_000)
            if not routed:
                vendor = None
            elif vendor is not None and vendor.h323:
                reason = _Q850.get(reason, "34")
        return self._route(customer, vendor, country, number, caller, stop_ms, hold_ms, setup_ms, reason, ended_by, mode)

    def _route(
        self, customer: Customer, vendor: Vendor | None, country: Country, number: str, caller: str, stop_ms: int, hold_ms: int,
        setup_ms: int, reason: str, ended_by: int, mode: int,
    ) -> Call:  # fmt: skip
        random = self._random
        if vendor is None:
            vendor_pdd_ms, callee_ip, caller_out, callee_out = 0, "", "", ""
        else:
            vendor_pdd_ms = min(setup_ms, vendor.pdd_ms + int(random() * 800))
            ips = vendor.ips
            callee_ip = ips[int(random() * len(ips))]
            caller_out, callee_out = caller, vendor.prefix + number
        ips = customer.ips
        whole_stop_ms = stop_ms - stop_ms % 1000  # so that start + setup + hold <= stop in whole seconds too
        return Call(
            self._number,
            whole_stop_ms - setup_ms - hold_ms,
            stop_ms,
            hold_ms,
            setup_ms,
            vendor_pdd_ms,
            reason,
            ended_by,
            mode,
            1 if random() < 0.004 else 0,
            customer,
            vendor,
            country,
            ips[int(random() * len(ips))],
            callee_ip,
            caller,
            customer.tech_prefix + number if customer.keeps_prefix else number,
            "+" + caller if customer.dialled == "+" and caller.isdigit() else caller,
            customer.tech_prefix + customer.dialled + number,
            caller_out,
            callee_out,
        )


def _customer(plan: Random, number: int, name: str) -> Customer:
    base = f"10.{20 + number}.{plan.randrange(1, 250)}."
    return Customer(
        name=name,
        account=f"C{10_000 + number * 7}",
        ips=tuple(base + str(host) for host in plan.sample(range(2, 250), plan.randrange(1, 4))),
        tech_prefix=plan.choice(("", "", "222", "8899", "00999", "77#", "5500")),
        dialled=plan.choice(("", "00", "+", "")),
        keeps_prefix=plan.random() < 0.25,
        answered_share=1.0 / (1.0 + plan.uniform(2.3, 4.6)),
        sip_reasons=plan.random() < 0.75,
    )


def _vendor(plan: Random, number: int, name: str) -> Vendor:
    base = f"198.18.{100 + number}."
    return Vendor(
        name=name,
        ips=tuple(base + str(host) for host in plan.sample(range(2, 250), plan.randrange(1, 5))),
        prefix=plan.choice(("", "", "", "0011", "99966", "S00")),
        pdd_ms=plan.randrange(150, 1800),
        h323=name.startswith("H323"),
    )


def _callers(plan: Random) -> list[str]:
    found = []
    for _ in range(4000):
        if plan.random() < 0.03:
            found.append(plan.choice(_ODD_CALLERS))
            continue
        country = plan.choice(COUNTRIES)
        lead = plan.choice(country.leads)
        found.append(f"{country.prefix}{lead}{plan.randrange(10 ** (country.digits - len(lead))):0{country.digits - len(lead)}d}")
    return found
