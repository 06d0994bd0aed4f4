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
from vosship_forward.shelf import look

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
    last_s = max((segment.last_us for segment in look(spool_dir) if segment.records), default=0) / 1e6
    if last_s and now - last_s < SILENT_S:
        yield Remark("good", f"the last record arrived {round(now - last_s)} s ago")
        return
    since = f"no record for {round((now - last_s) / 3600)} h" if last_s else "no record has ever arrived"
    target = next((one for one in addresses if one.protocol == "tcp"), addresses[0])
    for step in (
        "on the switch, is EXTERNAL_SEND_CDR On?",
        f"on the switch, is SERVER_CDR_REAL_TIME_REPORT_SERVER this machine's address and port {target.port}?",
        "is this agent running? `vosship status`",
        f"from the switch, does `telnet ADDRESS {target.port}` connect?",
        f"does the firewall here let port {target.port} in, TCP and UDP? `iptables -L -n`",
        f"is the switch's address within `allow`, and is {target.host} an address it can reach?",
        f"does anything arrive at all? `tcpdump -n port {target.port}`",
    ):
        yield Remark("warn", since, step)


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
