"""Addresses as an operator writes them (`tcp://HOST:PORT`), and binding them with one sentence for each way to fail.

It reads and writes nothing through the sockets it makes.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from vosship.errors import ConfigError


class Address(NamedTuple):
    """Where to listen."""

    protocol: Literal["tcp", "udp"]
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}"


def parse(text: str, path: str) -> Address:
    """An address from its text. Raises ConfigError that names `path`."""
    protocol, found, rest = text.partition("://")
    host, colon, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if protocol not in ("tcp", "udp") or not found or not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is no address", path=path, hint="tcp://HOST:PORT or udp://HOST:PORT")
    return Address(cast("Literal['tcp', 'udp']", protocol), host, int(port))


def bind(addresses: Sequence[Address]) -> list[socket.socket]:
    """One bound socket an address, all of them or none. Raises ConfigError."""
    bound: list[socket.socket] = []
    try:
        for number, address in enumerate(addresses):
            bound.append(_bind(address, f"listen[{number}]"))
    except ConfigError:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(address: Address, path: str) -> socket.socket:
    kind = socket.SOCK_STREAM if address.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise ConfigError(f"cannot listen on {address}: the host {address.host!r} is not known", path=path) from error
    made = socket.socket(family, kind)
    try:
        if address.protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        if address.protocol == "tcp":
            made.listen(1024)  # here, not later: a port another process listens on is refused only at this call
    except OSError as error:
        made.close()
        why, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
        raise ConfigError(f"cannot listen on {address}: {why}", path=path, hint=hint.format(address=address)) from error
    return made


_REASONS = {
    errno.EADDRINUSE: ("another process holds this port", "`ss -lntup` shows which one"),
    errno.EACCES: ("ports below 1024 need a right this user lacks", "use a higher port, or grant CAP_NET_BIND_SERVICE"),
    errno.EPERM: ("the system forbids it", "use a higher port, or grant CAP_NET_BIND_SERVICE"),
    errno.EADDRNOTAVAIL: ("this machine has no such address", "`ip address` lists those it has"),
}
