"""Why nothing arrives: what `vosship check` says of a receiver, in the order in which to look.

It changes nothing and sends nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from vosship.errors import ConfigError
from vosship.plugin import Remark
from vosship_forward.addresses import Address, bind
from vosship_forward.frames import Kind
from vosship_forward.shelf import Segment, frames, look

SILENT_S = 3600
"""Nothing for this long is worth a word (chosen: no carrier has an hour without a call)."""

FILES_BESIDE = 64
"""Files an agent holds beside its connections (measured 2026-11-20: 18 with one output; three times that)."""

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def diagnose(addresses: Sequence[Address], allow: bool, connections: int, spool_dir: Path, now: float) -> Iterator[Remark]:
    """Remarks on listeners, allow-list, limits and silence; `connections` is how many TCP senders are to be taken."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < connections + FILES_BESIDE:
        yield Remark(
            "warn",
            f"a process may hold {files} files here, too few for {connections} connections",
            "raise LimitNOFILE in the service (or `ulimit -n`), or lower `max_connections`",
        )
    for address in addresses:
        yield _listening(address)
        if not allow and not _loopback(address.host):
            yield Remark("warn", f"{address} takes records from everybody who can reach it", "name the switch: allow: [ADDRESS]")
        if _ephemeral(address.port):
            yield Remark(
                "warn",
                f"port {address.port} is in the range of outgoing connections and may be taken at the next start",
                f"sysctl -w net.ipv4.ip_local_reserved_ports={address.port}",
            )
    yield from _silence(addresses, spool_dir, now)


def _listening(address: Address) -> Remark:
    try:
        for made in bind([address]):
            made.close()
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            return Remark("warn", f"{address} is held by another process, perhaps the running agent", "`ss -lntup` shows which one")
        return Remark("bad", error.message, error.hint)
    return Remark("good", f"{address} can be listened on")


def _silence(addresses: Sequence[Address], spool_dir: Path, now: float) -> Iterator[Remark]:
    shelf = look(spool_dir)
    last_s = next((_last_record_s(one) for one in reversed(shelf) if one.records), 0.0)
    if last_s and now - last_s < SILENT_S:
        yield Remark("good", f"the last record arrived {max(0, round(now - last_s))} s ago")
        return
    since = f"no record for {round((now - last_s) / 3600)} h" if last_s else "no record has ever arrived"
    # Silence is a fault only where somebody listened to it; a receiver that never ran cannot have heard anything.
    listened = bool(shelf) and now - max(last_s, shelf[0].created_us / 1e6) >= SILENT_S
    yield Remark("bad" if listened else "warn", since if shelf else f"{since}, and no agent has listened yet")
    target = next((one for one in addresses if one.protocol == "tcp"), addresses[0])
    port = target.port
    for number, (cause, step) in enumerate(
        (
            ("EXTERNAL_SEND_CDR may be Off", "set it to On on the switch"),
            (
                f"SERVER_CDR_REAL_TIME_REPORT_SERVER may not be this machine's address and port {port}",
                "it takes one IP:Port on the switch",
            ),
            ("this agent may not be running", "vosship status"),
            ("the network may not let the switch through", f"from the switch, does `telnet ADDRESS {port}` connect?"),
            (f"a firewall here may keep port {port} shut, TCP or UDP", "iptables -L -n"),
            (
                f"the switch's address may lie outside `allow`, or {target.host} be an address it cannot reach",
                "vosship_forward_refused_total counts refusals; `listen` names the address",
            ),
            ("something else may be wrong on the way", f"does anything arrive at all? tcpdump -n port {port}"),
        ),
        start=1,
    ):
        yield Remark("warn", f"{number}. {cause}", step)


def _last_record_s(segment: Segment) -> float:
    """When its last record arrived: signs of life follow it, so the segment's own last moment may be much later."""
    last_us = max((frame.arrival_us for frame in frames(segment) if frame.kind == Kind.DATA), default=segment.last_us)
    return last_us / 1e6


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ephemeral(port: int) -> bool:
    try:
        low, high = map(int, EPHEMERAL.read_text().split())
        reserved = RESERVED.read_text().strip()
    except (OSError, ValueError):
        return False
    spans = [part.partition("-") for part in reserved.split(",") if part]
    return low <= port <= high and not any(int(begin) <= port <= int(end or begin) for begin, _, end in spans)
