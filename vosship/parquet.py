"""Writes Apache Parquet in constant memory: the flat, small part of the format that an export needs.

It reads nothing and knows no calls. Written out here because the libraries that do it need more memory than a whole export may
have: beside the export's own 57 MB DuckDB 2.0 took 78 to 107 MB, whatever its settings, and pyarrow 26.0 58 MB, with 170 MB of
disk and no wheel for CentOS 7 since its version 21 (peaks of the resident set, measured 2026-11-20); fastparquet stands on pandas.

The format is that of https://parquet.apache.org/docs/file-format/: row groups of column chunks, each an optional dictionary page
and data pages (version 1, gzip), and a footer in Thrift's compact protocol. Every column may be null.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from isal import isal_zlib

MAGIC = b"PAR1"
"""Begins and ends a file."""

PAGE_ROWS = 4_096
"""Rows a page; so many are held as values (chosen: 25 columns of them are 3 MB)."""

GROUP_ROWS = 16 * PAGE_ROWS
"""Rows a row group; so many are held compressed (chosen: 3 MB, and no dictionary outgrows an index of two bytes)."""

DICTIONARY_SHARE = 0.5
"""A chunk has a dictionary if its first page has at most so many distinct values a row. Chosen: beyond it a dictionary costs more
than it saves."""

_LEVEL = 2
"""Of compression. Chosen: isal's middle one; 3 is slower for 1 % less."""

_I32, _I64, _BINARY, _LIST, _STRUCT, _TRUE = 5, 6, 8, 9, 12, 1
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_GZIP = 2
_OPTIONAL = 1
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2


class Kind(NamedTuple):
    """What a column holds: the type on disk, its meaning in both of the format's notations, and values into bytes."""

    physical: int
    plain: Callable[[Sequence[Any]], bytes]
    converted: int | None = None
    logical: bytes = b""
    scale: int | None = None
    ordered: bool = False
    """Whether the smallest and largest value of a chunk are written, so that readers can leave it out."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _integer(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _binary(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _list(kind: int, items: Sequence[bytes]) -> bytes:
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + _varint(len(items))
    return head + b"".join(items)


def _fields(*fields: tuple[int, int, Any]) -> bytes:
    """A Thrift struct of (field id, type, value) in ascending order; values that are not numbers come encoded."""
    out, last = bytearray(), 0
    for number, kind, value in fields:
        if value is None:
            continue
        out.append(number - last << 4 | kind)
        last = number
        if kind in (_I32, _I64):
            out += _integer(value)
        elif kind != _TRUE:
            out += value
    return bytes(out) + b"\0"


def _integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _doubles(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _texts(values: Sequence[str]) -> bytes:
    pack = struct.Struct("<I").pack
    encoded = [str(value).encode("utf-8", "replace") for value in values]
    return b"".join([part for content in encoded for part in (pack(len(content)), content)])


def _bits(values: Sequence[Any]) -> bytes:
    """One bit a value, the first in the lowest."""
    text = "".join(["1" if value else "0" for value in reversed(values)])
    return int(text or "0", 2).to_bytes((len(values) + 7) // 8, "little")


TEXT = Kind(6, _texts, 0, _fields((1, _STRUCT, _fields())))
WHOLE = Kind(2, _integers, ordered=True)
DOUBLE = Kind(5, _doubles)
BOOLEAN = Kind(0, _bits)
MOMENT = Kind(
    2, _integers, 9, _fields((8, _STRUCT, _fields((1, _TRUE, True), (2, _STRUCT, _fields((1, _STRUCT, _fields())))))), ordered=True
)
"""Epoch milliseconds, shown as a time in UTC."""


def decimal(scale: int) -> Kind:
    """Whole numbers of so many decimals, given as 10**scale times the number."""
    logical = _fields((5, _STRUCT, _fields((1, _I32, scale), (2, _I32, 18))))
    return Kind(2, _integers, 5, logical, scale, ordered=True)


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """One column of a row group: where its bytes lie within the group and what is said of them."""

    offset: int
    size: int
    unpacked: int
    dictionary_size: int
    nulls: int
    low: int | None
    high: int | None


class Group(msgspec.Struct, frozen=True, array_like=True):
    """One row group: where it begins, its rows, its columns."""

    offset: int
    rows: int
    chunks: list[Chunk]

    def moved(self, by: int) -> Group:
        """The same group in a larger whole."""
        return msgspec.structs.replace(self, offset=self.offset + by)


def _page(kind: int, content: bytes, about: tuple[int, int, bytes]) -> tuple[bytes, int]:
    """A page with its header, and what both take unpacked."""
    packed = isal_zlib.compress(content, _LEVEL, 31)
    header = _fields((1, _I32, kind), (2, _I32, len(content)), (3, _I32, len(packed)), about)
    return header + packed, len(header) + len(content)


class _Column:
    """One column of the row group being filled."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.values: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._pages: list[bytes] = []
        self._unpacked = self._nulls = 0
        self._dictionary: dict[Any, int] | None = None
        self._low: int | None = None
        self._high: int | None = None

    def end_page(self) -> None:
        """Pack what was gathered."""
        values, count = self.values, len(self.values)
        there = [value for value in values if value is not None]
        if len(there) == count:
            levels = _varint(count << 1) + b"\1"
        else:
            levels = _bit_packed(count, _bits([value is not None for value in values]))
        self._nulls += count - len(there)
        if self._kind.ordered and there:
            low, high = min(there), max(there)
            self._low = low if self._low is None else min(self._low, low)
            self._high = high if self._high is None else max(self._high, high)
        if not self._pages and self._kind.physical and len(set(there)) <= DICTIONARY_SHARE * count:
            self._dictionary = {}
        encoding = _PLAIN if self._dictionary is None else _RLE_DICTIONARY
        body = self._kind.plain(there) if self._dictionary is None else _places(self._dictionary, there)
        about = _fields((1, _I32, count), (2, _I32, encoding), (3, _I32, _RLE), (4, _I32, _RLE))
        page, unpacked = _page(_DATA_PAGE, struct.pack("<I", len(levels)) + levels + body, (5, _STRUCT, about))
        self._pages.append(page)
        self._unpacked += unpacked
        values.clear()

    def end_chunk(self, offset: int) -> tuple[list[bytes], Chunk]:
        """The chunk's bytes, which are to stand at `offset` of the group, and its account; begins the next."""
        pages, dictionary_size = self._pages, 0
        if self._dictionary is not None:
            about = _fields((1, _I32, len(self._dictionary)), (2, _I32, _PLAIN))
            page, unpacked = _page(_DICTIONARY_PAGE, self._kind.plain(list(self._dictionary)), (7, _STRUCT, about))
            pages, dictionary_size = [page, *pages], len(page)
            self._unpacked += unpacked
        size = sum(map(len, pages))
        chunk = Chunk(offset, size, self._unpacked, dictionary_size, self._nulls, self._low, self._high)
        self._begin()
        return pages, chunk


def _bit_packed(count: int, content: bytes) -> bytes:
    return _varint((count + 7) // 8 << 1 | 1) + content


def _places(dictionary: dict[Any, int], values: Sequence[Any]) -> bytes:
    """Values as places in the dictionary, which takes in new ones; one or two bytes each, being whole numbers of bits."""
    places = [dictionary.setdefault(value, len(dictionary)) for value in values]
    letter, width = ("B", 8) if len(dictionary) <= 256 else ("H", 16)
    padded = places + [0] * (-len(places) % 8)
    return bytes([width]) + _bit_packed(len(places), struct.pack(f"<{len(padded)}{letter}", *padded))


class Writer:
    """Rows into row groups. Bytes come out when a group is full and at `end`; their place in a file is for the caller to keep."""

    def __init__(self, columns: Iterable[tuple[str, Kind]]) -> None:
        self.columns = list(columns)
        self._columns = [_Column(kind) for _, kind in self.columns]
        self._values = [column.values for column in self._columns]
        self._rows = 0

    def add(self, row: Iterable[Any]) -> tuple[bytes, Group] | None:
        """Take one row, None where there is no value; a row group when that is full."""
        for values, value in zip(self._values, row, strict=True):
            values.append(value)
        self._rows += 1
        if self._rows % PAGE_ROWS:
            return None
        for column in self._columns:
            column.end_page()
        return self.end() if self._rows == GROUP_ROWS else None

    def end(self) -> tuple[bytes, Group] | None:
        """What is left as a row group, if anything is."""
        if not self._rows:
            return None
        if self._rows % PAGE_ROWS:
            for column in self._columns:
                column.end_page()
        pieces: list[bytes] = []
        chunks, offset = [], 0
        for column in self._columns:
            pages, chunk = column.end_chunk(offset)
            pieces += pages
            chunks.append(chunk)
            offset += chunk.size
        group = Group(0, self._rows, chunks)
        self._rows = 0
        return b"".join(pieces), group

    def footer(self, groups: Sequence[Group]) -> bytes:
        """What ends a file in which the groups stand at their offsets."""
        root = _fields((4, _BINARY, _binary(b"calls")), (5, _I32, len(self.columns)))
        schema = _list(_STRUCT, [root, *(_element(name, kind) for name, kind in self.columns)])
        order = _list(_STRUCT, [_fields((1, _STRUCT, _fields()))] * len(self.columns))
        content = _fields(
            (1, _I32, 1),
            (2, _LIST, schema),
            (3, _I64, sum(group.rows for group in groups)),
            (4, _LIST, _list(_STRUCT, [self._group(group) for group in groups])),
            (6, _BINARY, _binary(b"vosship")),
            (7, _LIST, order),
        )
        return content + struct.pack("<I", len(content)) + MAGIC

    def _group(self, group: Group) -> bytes:
        chunks = [_described(name, kind, chunk, group) for (name, kind), chunk in zip(self.columns, group.chunks, strict=True)]
        return _fields(
            (1, _LIST, _list(_STRUCT, chunks)),
            (2, _I64, sum(chunk.unpacked for chunk in group.chunks)),
            (3, _I64, group.rows),
            (5, _I64, group.offset),
            (6, _I64, sum(chunk.size for chunk in group.chunks)),
        )


def _element(name: str, kind: Kind) -> bytes:
    return _fields(
        (1, _I32, kind.physical),
        (3, _I32, _OPTIONAL),
        (4, _BINARY, _binary(name.encode())),
        (6, _I32, kind.converted),
        (7, _I32, kind.scale),
        (8, _I32, None if kind.scale is None else 18),
        (10, _STRUCT, kind.logical or None),
    )


def _described(name: str, kind: Kind, chunk: Chunk, group: Group) -> bytes:
    start = group.offset + chunk.offset
    encodings = (_RLE, _PLAIN, _RLE_DICTIONARY) if chunk.dictionary_size else (_RLE, _PLAIN)
    bounds: tuple[Any, Any] = (None, None)
    if chunk.low is not None and chunk.high is not None:
        bounds = (_binary(kind.plain([chunk.high])), _binary(kind.plain([chunk.low])))
    statistics = _fields((3, _I64, chunk.nulls), (5, _BINARY, bounds[0]), (6, _BINARY, bounds[1]))
    about = _fields(
        (1, _I32, kind.physical),
        (2, _LIST, _list(_I32, [_integer(encoding) for encoding in encodings])),
        (3, _LIST, _list(_BINARY, [_binary(name.encode())])),
        (4, _I32, _GZIP),
        (5, _I64, group.rows),
        (6, _I64, chunk.unpacked),
        (7, _I64, chunk.size),
        (9, _I64, start + chunk.dictionary_size),
        (11, _I64, start if chunk.dictionary_size else None),
        (12, _STRUCT, statistics),
    )
    return _fields((2, _I64, start), (3, _STRUCT, about))
