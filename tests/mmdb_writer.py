"""Writes small MaxMind databases for tests, after the format's public specification (version 2.0)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STRING, _DOUBLE, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 3, 5, 6, 7, 9, 11
_MARKER = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR = bytes(16)


def write(path: Path, kind: str, networks: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a database of IPv6 and IPv4 networks (none within another) and what is known of each."""
    nodes: list[list[tuple[str, int] | None]] = [[None, None]]
    data = b""
    for text, about in networks.items():
        network = ipaddress.ip_network(text)
        shift = 96 if network.version == 4 else 0
        bits = f"{int(network.network_address):0{128 - shift}b}"[: network.prefixlen]
        bits = "0" * shift + bits
        node = 0
        for bit in bits[:-1]:
            below = nodes[node][int(bit)]
            if below is None:
                nodes.append([None, None])
                below = nodes[node][int(bit)] = ("node", len(nodes) - 1)
            node = below[1]
        nodes[node][int(bits[-1])] = ("data", len(data))
        data += _encode(about)
    count = len(nodes)

    def record(entry: tuple[str, int] | None) -> bytes:
        kind_of, at = entry or ("nothing", 0)
        return {"nothing": count, "node": at, "data": count + len(_SEPARATOR) + at}[kind_of].to_bytes(3, "big")

    tree = b"".join(record(left) + record(right) for left, right in nodes)
    metadata: dict[str, Any] = {
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_777_000_000, "database_type": kind,
        "description": {"en": "made for tests"}, "ip_version": 6, "languages": ["en"], "node_count": count, "record_size": 24,
    }  # fmt: skip
    widths = {"build_epoch": (_UINT64, 8), "node_count": (_UINT32, 4)}
    about_it = _head(_MAP, len(metadata))
    for key, value in metadata.items():
        kind_of, width = widths.get(key, (_UINT16, 2))
        about_it += _encode(key) + (
            _head(kind_of, width) + value.to_bytes(width, "big") if isinstance(value, int) else _encode(value)
        )
    path.write_bytes(tree + _SEPARATOR + data + _MARKER + about_it)
    return path


def _encode(value: Any) -> bytes:
    if isinstance(value, str):
        return _head(_STRING, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _head(_DOUBLE, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        return _head(_UINT32, 4) + value.to_bytes(4, "big")
    if isinstance(value, list):
        return _head(_ARRAY, len(value)) + b"".join(_encode(item) for item in value)
    return _head(_MAP, len(value)) + b"".join(_encode(key) + _encode(item) for key, item in value.items())


def _head(kind: int, size: int) -> bytes:
    assert size < 285
    short, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([short, kind - 7]) + rest if kind > 7 else bytes([kind << 5 | short]) + rest
