"""Record into document: the id, the index and the body, in one place.

It does not parse lines and does not know what an output does with a document.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b

import orjson

from vosship.events import Block, Document, Record, Value

ID_BYTES = 12
"""Chosen: 96 bits keep the odds of two calls sharing an id below 1e-9 at 4 billion calls an index, in 16 characters."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def identify(switch: str, base: str, offset: int, line: bytes) -> str:
    """The document id of one line: the same wherever, whenever and however often the line is read.

    `base` is the file's base name without `.gz`, `offset` the byte where the line begins, `line` its bytes without
    the newline.
    """
    seed = blake2b(f"{switch}\0{base}\0".encode(), digest_size=ID_BYTES)
    seed.update(b"%d\0" % offset + line)
    return b2a_base64(seed.digest(), newline=False).translate(_URL_SAFE).decode()


def utc_text(at: float) -> str:
    """Epoch seconds as documents write times: `2026-04-26T06:00:00.000Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Renderer:
    """Renders the records of one input. What is true of a whole block is encoded once a block, not once a line."""

    def __init__(self, *, switch: str, host: str, channel: str, series: str) -> None:
        self._switch = switch
        self._series = series
        self._constant: dict[str, Value] = {"switch": switch, "host": host, "channel": channel}
        self._indices: dict[str, str] = {}

    def envelope(self, block: Block, ingested_at: float) -> Mapping[str, Value]:
        """The fields every record of a block shares."""
        return {
            **self._constant,
            "log.file.path": block.stream.path,
            "event.ingested": utc_text(ingested_at),
            **block.fields,
        }

    def render(self, block: Block, records: Sequence[Record], ingested_at: float) -> list[Document]:
        """Documents of the records that have no fate yet; one that cannot be rendered is rejected and left out."""
        shared = orjson.dumps(self.envelope(block, ingested_at))[:-1] + b","
        shared_text = shared.decode()
        seed = blake2b(f"{self._switch}\0{block.stream.base}\0".encode(), digest_size=ID_BYTES)
        indices, encode, copy = self._indices, orjson.dumps, seed.copy
        documents: list[Document] = []
        append = documents.append
        for record in records:
            line, offset = record.line, record.offset
            index = indices.get(record.day) or self._index(record)
            if not index:
                continue
            fields = record.fields
            if record.json and not fields:
                body = f'{shared_text}{record.json}{record.more},"log.offset":{offset}}}'.encode()
            else:
                fields["log.offset"] = offset
                try:
                    before = f"{shared_text}{record.json}{record.more},".encode() if record.json else shared
                    body = before + encode(fields)[1:]
                except orjson.JSONEncodeError as error:
                    record.reject("unencodable", str(error))
                    continue
            digest = copy()
            digest.update(b"%d\0" % offset + line)
            name = b2a_base64(digest.digest(), newline=False).translate(_URL_SAFE).decode()
            append(Document(name, index, body, line, offset, block))
        return documents

    def _index(self, record: Record) -> str:
        if not record.day:
            record.reject("no_time", "no processor gave the record its day")
            return ""
        if len(self._indices) > 10_000:  # chosen: bounds memory against a file of nonsense dates
            self._indices.clear()
        index = self._indices[record.day] = f"{self._series}-{record.day}"
        return index
