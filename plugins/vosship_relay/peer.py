"""The connection to one receiver: made, checked before use, written to, and let go at the first doubt.

It does not decide what is sent, nor when to try again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, cast

from vosship.errors import ConfigError, UnavailableError

_READ_BYTES = 65_536

DATAGRAM_MAX_BYTES = 65_507
"""The largest payload of a datagram over IPv4 (65,535 less 20 and 8 bytes of headers, RFC 791 and 768)."""

DATAGRAMS_A_TURN = 32
"""Datagrams sent before others have their turn, and the grain of the pacing (chosen: under a millisecond of work)."""


class Target(NamedTuple):
    """Where the lines go."""

    protocol: Literal["tcp", "udp"]
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}"


def parse(text: str) -> Target:
    """A target from its text. Raises ConfigError."""
    protocol, found, rest = text.partition("://")
    host, colon, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if protocol not in ("tcp", "udp") or not found or not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigError(f"{text!r} is no address", path="target", hint="tcp://HOST:PORT or udp://HOST:PORT")
    return Target(cast("Literal['tcp', 'udp']", protocol), host, int(port))


async def connect(target: Target, timeout_s: float) -> socket.socket:
    """A connected, non-blocking socket. Raises UnavailableError."""
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(target.host, target.port, type=kind)
            family, _, _, _, place = found[0]
            made = socket.socket(family, kind)
            made.setblocking(False)
            try:
                await loop.sock_connect(made, place)
            except BaseException:
                made.close()
                raise
    except TimeoutError as error:
        raise UnavailableError(f"{target} does not answer within {timeout_s:g} s", hint="see `target`") from error
    except OSError as error:
        raise UnavailableError(f"{target} cannot be reached: {error.strerror or error}", hint="see `target`") from error
    return made


class Peer(Protocol):
    """One receiver as the relay sees it."""

    async def ready(self) -> bool:
        """Have a usable connection; True when it is a new one. Raises UnavailableError."""
        ...

    async def send(self, lines: Sequence[bytes]) -> None:
        """Give all lines to the kernel. Raises UnavailableError, and then the connection is gone."""
        ...

    async def gone(self) -> None:
        """Return once the peer has closed or broken the connection."""
        ...

    def close(self) -> None: ...


class Stream:
    """A TCP receiver."""

    def __init__(self, target: Target, *, connect_s: float, silent_s: float, newline: bytes) -> None:
        self._target = target
        self._connect_s = connect_s
        self._silent_s = silent_s
        self._newline = newline
        self._socket: socket.socket | None = None
        self._gone = asyncio.Event()

    async def ready(self) -> bool:
        """Notice a peer that has closed, connect where needed."""
        if self._socket is not None:
            self._readable(self._socket)
            if not self._gone.is_set():
                return False
            self.close()
        made = await connect(self._target, self._connect_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Unacknowledged bytes break the connection before they are too old to be repeated.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._silent_s * 1000))
        self._socket = made
        self._gone.clear()
        asyncio.get_running_loop().add_reader(made.fileno(), self._readable, made)
        return True

    async def send(self, lines: Sequence[bytes]) -> None:
        """Every line with its newline; a slow peer is waited for as long as it takes something."""
        assert self._socket is not None, "ready() comes first"
        newline = self._newline
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, newline.join(lines) + newline)
        except OSError as error:
            self.close()
            raise UnavailableError(f"{self._target} broke off: {error.strerror or error}", hint="see `target`") from error
        except asyncio.CancelledError:
            self.close()  # half a line may be out: whatever comes next needs a connection of its own
            raise

    async def gone(self) -> None:
        """Return once the peer has closed or broken the connection."""
        await self._gone.wait()

    def close(self) -> None:
        """Let the connection go; what the kernel has is still sent. Not while a send is under way."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._gone.set()

    def _readable(self, connection: socket.socket) -> None:
        # Empties what the peer answers: unread answers would make our close a reset, and a full buffer block the peer.
        try:
            while connection.recv(_READ_BYTES):
                pass
        except BlockingIOError:
            return
        except OSError:
            self._lose(connection)
        else:
            self._lose(connection)

    def _lose(self, connection: socket.socket) -> None:
        # Not closed here: a send may be under way on it, which finds out for itself.
        asyncio.get_running_loop().remove_reader(connection.fileno())
        self._gone.set()


class Datagrams:
    """A UDP receiver: one line a datagram, paced, without any promise beyond an ICMP refusal being noticed."""

    def __init__(self, target: Target, *, connect_s: float, per_s: int, log: logging.Logger) -> None:
        self._target = target
        self._connect_s = connect_s
        self._per_s = per_s
        self._log = log
        self._socket: socket.socket | None = None

    async def ready(self) -> bool:
        """Empty what the peer answered, notice that it refuses."""
        if self._socket is None:
            self._socket = await connect(self._target, self._connect_s)
            return True
        try:
            while self._socket.recv(_READ_BYTES) is not None:
                pass
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._refused(error) from error
        return False

    async def gone(self) -> None:
        """Never returns: a datagram's peer is looked at when there is something to send."""
        await asyncio.Event().wait()

    async def send(self, lines: Sequence[bytes]) -> None:
        """Every line as a datagram of its own."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, line in enumerate(lines):
            if len(line) > DATAGRAM_MAX_BYTES:
                self._log.warning("line does not fit into a datagram, not passed on", extra={"bytes": len(line)})
                continue
            if number % DATAGRAMS_A_TURN == 0 and self._per_s:
                await asyncio.sleep(max(0.0, began + number / self._per_s - loop.time()))
            assert self._socket is not None, "ready() comes first"
            try:
                await loop.sock_sendto(self._socket, line, self._socket.getpeername())
            except OSError as error:
                raise self._refused(error) from error

    def close(self) -> None:
        """Let the socket go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _refused(self, error: OSError) -> UnavailableError:
        self.close()
        return UnavailableError(f"{self._target} refuses: {error.strerror or error}", hint="see `target`")
