"""The UDP side of the receiver: datagrams in, answers out.

It does not know what a record means or how it is kept: `intake` does.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from vosship_forward.frames import Flag
from vosship_forward.intake import BUSY, FOREIGN, TOO_LONG, Intake

DATAGRAMS_A_TURN = 256
"""Datagrams read before others have their turn (chosen: some 4 ms of work)."""

DRAIN_TURNS = 100
"""Turns at the end for what has already arrived (chosen: as much as the buffer holds; a flood must not hold up the stop)."""

BUFFER_BYTES = 8 << 20
"""Asked of the kernel for datagrams that wait (chosen: it holds a second at 5,000 records/s through a stall of the agent)."""

DATAGRAM_MAX_BYTES = 65_535
"""The largest datagram there is (RFC 768)."""

_BUFFER_FORCE = 33  # SO_RCVBUFFORCE of Linux's asm-generic/socket.h: beyond net.core.rmem_max where we may

SOCKET_TABLES = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
_INODE_AT = 9  # the socket's inode in a row of these; the last column is the drops (net/ipv4/udp.c, udp4_seq_show)

Answer = tuple[bytes, Any]


class Datagrams:
    """One bound UDP address."""

    def __init__(self, intake: Intake, bound: socket.socket, line_bytes: int) -> None:
        self._intake = intake
        self._socket = bound
        self._line_bytes = line_bytes
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to read."""
        self._socket.setblocking(False)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, BUFFER_BYTES)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def dropped(self) -> int:
        """Datagrams the kernel threw away so far because nobody took them in time; 0 where it does not tell."""
        inode = str(os.fstat(self._socket.fileno()).st_ino)
        for table in SOCKET_TABLES:
            try:
                rows = [row.split() for row in table.read_text().splitlines()]
            except OSError:
                continue
            for row in rows:
                if len(row) > _INODE_AT and row[_INODE_AT] == inode:
                    return int(row[-1])
        return 0

    def drain(self) -> None:
        """Take what has already arrived, and read no more."""
        for _ in range(DRAIN_TURNS):
            if self._readable() < DATAGRAMS_A_TURN:
                break
        self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Let the address go; answers can no longer be sent."""
        self._socket.close()

    def _readable(self) -> int:
        receive, intake = self._socket.recvfrom, self._intake
        frames: list[bytes] = []
        answers: list[Answer] = []
        taken = 0
        while taken < DATAGRAMS_A_TURN:
            try:
                data, sender = receive(DATAGRAM_MAX_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP complaint about an earlier answer, not about a record
            taken += 1
            host = sender[0]
            if not intake.may_send(host):
                intake.refuse(FOREIGN, host)
            elif intake.spool.full:
                # Not taken and not answered: a switch that waits for answers sends it again.
                intake.refuse(BUSY, host)
            else:
                self._take(data, sender, frames, answers)
        if frames:
            intake.keep(frames, lambda: self._answer(answers))
        return taken

    def _take(self, data: bytes, sender: Any, frames: list[bytes], answers: list[Answer]) -> None:
        host, port = sender[0], sender[1]
        for line in data.split(b"\n"):
            if len(line) > self._line_bytes:
                self._intake.refuse(TOO_LONG, host)
            elif line and line != b"\r":
                frame, answer = self._intake.frame(line, host, port, Flag.UDP)
                frames.append(frame)
                if answer:
                    answers.append((answer, sender))

    def _answer(self, answers: list[Answer]) -> None:
        send = self._socket.sendto
        for answer, sender in answers:
            try:
                send(answer, sender)
            except OSError:
                # The sender is gone or the buffer full: the record is safe, and the switch asks again by sending it again.
                self._intake.say("answer cannot be sent, the record is kept", sender[0])
