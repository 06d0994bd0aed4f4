"""Calls into the lines a switch writes or sends: the pipe file, `csv-52` and `datagram-46`.

It decides no order and writes nothing. Column orders as seen on running switches; start is the moment of reception in all of
them, so that two copies of a call agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal
from zoneinfo import ZoneInfo

from vosship_switch.clock import LocalClock
from vosship_switch.traffic import Call

Layout = Literal["pipe", "csv-52", "datagram-46"]
Render = Callable[[Call], str]


def renderer(layout: Layout, zone: ZoneInfo, flow_base: int, fields: int = 19) -> Render:
    """A function that makes one line of one call, without a newline.

    `flow_base` plus the call's number is its flowno, the same in every layout that has one. `fields` is the pipe line's width:
    17 on older versions, which have no delays.
    """
    if layout == "pipe":
        return _pipe(LocalClock(zone).text, fields)
    if layout == "csv-52":
        return lambda call: _csv_52(call, flow_base + call.number)
    return lambda call: _datagram_46(call, flow_base + call.number)


def flow_base(start_ms: int) -> int:
    """Where the flow numbers of a run begin: by its start, so that runs one after the other never share one."""
    return start_ms * 100


def _pipe(text: Callable[[int], str], fields: int) -> Render:
    with_delays = fields >= 19

    def render(call: Call) -> str:
        (_, start_ms, stop_ms, hold_ms, setup_ms, vendor_pdd_ms, reason, ended_by, mode, callee_pays, customer, vendor, _,
         caller_ip, callee_ip, caller, callee, caller_access, callee_access, caller_out, callee_out) = call  # fmt: skip
        line = (
            f"{caller}|{callee}|{text(start_ms)}|{text(stop_ms)}|{hold_ms}|{reason}|{ended_by}|{customer.name}|"
            f"{vendor.name if vendor else ''}|{caller_ip}|{callee_ip}|{caller_access}|{callee_access}|{caller_out}|{callee_out}|"
            f"{callee_pays}|{mode}"
        )
        return f"{line}|{setup_ms}|{vendor_pdd_ms}" if with_delays else line

    return render


def _fee(call: Call) -> str:
    """The price in the account's currency: whole minutes begun, as the simulated rate table bills."""
    if call.mode < 0:
        return "0"
    micros = math.ceil(call.hold_ms / 60_000) * call.country.rate_micros
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def _csv_52(call: Call, flow: int) -> str:
    vendor, customer = call.vendor, call.customer
    billed_s = call.hold_ms // 1000 if call.mode >= 0 else 0
    codec = "g729" if call.hold_ms else ""
    return (
        f'"{call.caller}","{call.caller_access}","{call.callee}","{call.callee_access}","{call.caller_ip}","{codec}",'
        f'"{customer.name}","","{call.caller_out}",1,"{call.callee_ip}","{codec}","{vendor.name if vendor else ""}","",'
        f'"{call.callee_out}",1,{call.mode},0,0,{call.start_ms},{call.stop_ms},{call.setup_ms},{call.vendor_pdd_ms},'
        f'{call.hold_ms // 1000},"",{billed_s},{_fee(call)},0,0,0,0,0,"{customer.account}","{customer.name}",'
        f'"{call.country.prefix}",0,0,0,0,"","",{flow},"vos3000","{flow:x}@vos","{flow}-a","{flow}-b",1,{call.ended_by},'
        f"{call.reason},{call.callee_pays},0,0"
    )


def _datagram_46(call: Call, flow: int) -> str:
    vendor, customer = call.vendor, call.customer
    billed_s = call.hold_ms // 1000 if call.mode >= 0 else 0
    return (
        f'"{call.caller}","{call.caller_access}","{call.callee}","{call.callee_access}","{call.caller_ip}",'
        f'"{customer.name}","","{call.caller_out}",1,"{call.callee_ip}","{vendor.name if vendor else ""}","",'
        f'"{call.callee_out}",1,{call.mode},0,0,{call.start_ms},{call.stop_ms},{call.setup_ms},{call.vendor_pdd_ms},'
        f'{call.hold_ms // 1000},"",{billed_s},{_fee(call)},0,0,0,"{customer.account}","{customer.name}",'
        f'"{call.country.prefix}",0,0,0,"","",{flow},"vos3000","{flow:x}@vos","{flow}-a","{flow}-b",{call.ended_by},'
        f"{call.reason},{call.callee_pays},0,0"
    )
