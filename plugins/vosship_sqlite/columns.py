"""One table of calls as SQLite sees it: a column per declared field, and the way of a document into a row and back.

It does not know files, transactions or queries.

The declared type of a column says what was stored, so that a file can be read without the configuration that wrote it:
dates are epoch milliseconds, booleans 0 and 1, arrays and points JSON text. Fields of `labels`, which an operator's own
table adds, share one JSON column. Aliases are left out: they repeat other columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from vosship.events import Document, Field
from vosship.schema import Schema

LABELS = "labels"
PREFIX = LABELS + "."

KEY = ("_file", "log.offset", "_id")
"""Primary key: rows arrive in its order, which is what makes inserting cheap (100,000/s against 6,700/s with a random key)."""

FIRST = (
    "@timestamp", "holdTime", "billingMode", "end.code", "end.by", "callerPdd", "calleePdd", "callerGatewayId",
    "calleeGatewayId", "channel", "tags", "switch", "endReason", "startTime", "call.answered_at",
)  # fmt: skip
"""Columns that every figure and most filters read stand first: SQLite stops decoding a row at the last one it needs."""

_SQL_TYPES = {
    "keyword": "TEXT",
    "ip": "TEXT",
    "date": "DATE INTEGER",
    "long": "INTEGER",
    "integer": "INTEGER",
    "double": "REAL",
    "boolean": "BOOLEAN INTEGER",
    "geo_point": "JSON TEXT",
    "object": "JSON TEXT",
}
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_PYTHON_TYPES: Mapping[str, Any] = {
    "keyword": str | None,
    "ip": str | None,
    "date": str | None,
    "long": _Whole | None,
    "integer": _Whole | None,
    "double": float | None,
    "boolean": bool | None,
}
_MEMO_LIMIT = 50_000
"""Distinct dates remembered (chosen: half a day of seconds in at most 8 MB; usually it is the one hour being read)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class MisfitError(ValueError):
    """The document does not fit the columns: a value of the wrong type, or a field nobody declared."""


class _Milliseconds(dict[str | None, int | None]):
    """Epoch milliseconds by ISO text, computed once per distinct text."""

    def __missing__(self, text: str | None) -> int | None:
        try:
            value = text if text is None else (datetime.fromisoformat(text).astimezone(UTC) - _EPOCH) // _MILLISECOND
        except ValueError as error:
            raise MisfitError(f"not a date: {text!r}") from error
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[text] = value
        return value


class _Texts(dict[int, str]):
    """ISO text with milliseconds and Z by epoch milliseconds: what `documents` writes, computed once per distinct time."""

    def __missing__(self, ms: int) -> str:
        text = (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[ms] = text
        return text


def quote(name: str) -> str:
    """The column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_type(field: Field) -> str:
    """The declared column type, from which `Rows` finds the way back."""
    return "JSON TEXT" if field.array else _SQL_TYPES[field.type]


class Shape:
    """The columns that documents have had so far, in storage order, and one document into a row of them.

    A layout of CDRs fills half of what is declared, and binding values costs most of an insert: columns that no
    document had are not bound, and stay NULL.
    """

    def __init__(self, fields: Mapping[str, Field], names: Sequence[str]) -> None:
        self.body = tuple(names)
        self.names: tuple[str, ...] = (*KEY, *names)
        self.place = {name: number for number, name in enumerate(self.names)}
        readable = [name for name in names if name != LABELS]
        encoded = {f"c{number}": name for number, name in enumerate(readable)}
        declared = [(attribute, _python_type(fields[name]), None) for attribute, name in encoded.items()]
        # log.offset is read although the key has it: it stands in every body, and an unknown field is refused.
        self._struct = msgspec.defstruct(
            "Call",
            [*declared, ("offset", Any, None)],
            rename={**encoded, "offset": "log.offset"},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(self._struct).decode
        kinds = [sql_type(fields[name]) for name in readable]
        self._dates = [number for number, kind in enumerate(kinds) if kind.startswith("DATE")]
        self._json = [number for number, kind in enumerate(kinds) if kind.startswith("JSON")]
        self._labels = names.index(LABELS) if LABELS in names else None
        self._ms = _Milliseconds()

    def row(self, document: Document, file: int) -> list[Any]:
        """One document as a row. Raises MisfitError, also for a declared field that no document had before."""
        try:
            values = list(astuple(self._decode(document.body)))
            labels = None
        except msgspec.ValidationError:
            values, labels = self._with_labels(document.body)
        except msgspec.DecodeError as error:
            raise MisfitError(str(error)) from error
        values.pop()
        for number in self._json:
            raw = values[number]
            if raw is not None:
                values[number] = None if raw == b"null" else str(raw, "utf-8")
        ms = self._ms
        for number in self._dates:
            values[number] = ms[values[number]]
        if self._labels is not None:
            values.insert(self._labels, labels)
        elif labels is not None:
            raise MisfitError("labels")
        return [file, document.offset, document.id, *values]

    def _with_labels(self, body: bytes) -> tuple[list[Any], str | None]:
        """The slow way, for documents with labels: part them from the declared fields, which must then fit."""
        try:
            whole: dict[str, Any] = msgspec.json.decode(body)
            labels = {name: whole.pop(name) for name in list(whole) if name.startswith(PREFIX)}
            call = self._decode(msgspec.json.encode(whole))
        except (msgspec.DecodeError, AttributeError) as error:
            raise MisfitError(str(error)) from error
        return list(astuple(call)), msgspec.json.encode(labels).decode() if labels else None


class Columns:
    """The columns of one schema, and the shape that documents have had of them so far."""

    def __init__(self, schema: Schema) -> None:
        fields = {field.name: field for field in schema if field.type != "alias" and not field.name.startswith(PREFIX)}
        fields.setdefault(LABELS, Field(name=LABELS, type="object", description="what an operator's own table adds"))
        self._fields = fields
        self._order = [name for name in FIRST if name in fields]
        self._order += [name for name in fields if name not in FIRST and name not in KEY]
        self.types = {name: sql_type(fields[name]) for name in self._order}
        self.shape = Shape(fields, ["@timestamp"])

    def create(self) -> str:
        """The statement that makes the table."""
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in self.types.items())
        return (
            f'CREATE TABLE calls (_file INTEGER NOT NULL, "log.offset" INTEGER NOT NULL, _id TEXT NOT NULL, {columns}, '
            'PRIMARY KEY (_file, "log.offset", _id)) WITHOUT ROWID'
        )

    def widen(self, body: bytes) -> bool:
        """Take the declared columns that this document has into the shape; False when it had them all."""
        try:
            whole = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return False
        if not isinstance(whole, dict):
            return False
        has = {LABELS if name.startswith(PREFIX) else name for name in whole} | set(self.shape.body)
        names = [name for name in self._order if name in has]
        if len(names) == len(self.shape.body):
            return False
        self.shape = Shape(self._fields, names)
        return True


def _python_type(field: Field) -> Any:
    return msgspec.Raw if field.array or field.type in ("geo_point", "object") else _PYTHON_TYPES[field.type]


class Rows:
    """Rows of one file back into documents, by the declared types of its own columns."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self._texts = _Texts()
        self.names = tuple(name for name, _ in columns if name not in ("_file", "_id"))
        self.select = ", ".join(["_id", *(quote(name) for name in self.names)])
        self._ways = [(name, self._way(kind)) for name, kind in columns if name not in ("_file", "_id")]

    def _way(self, kind: str) -> Callable[[Any], Any] | None:
        if kind.startswith("DATE"):
            return self._texts.__getitem__
        if kind.startswith("BOOLEAN"):
            return bool
        return msgspec.json.decode if kind.startswith("JSON") else None

    def fields(self, row: Sequence[Any]) -> dict[str, Any]:
        """The document of a row selected by `select` (its id stands first and is left out)."""
        found: dict[str, Any] = {}
        for (name, way), value in zip(self._ways, row[1:], strict=True):
            if value is not None:
                found[name] = value if way is None else way(value)
        labels = found.pop(LABELS, None)
        if labels:
            found.update(labels)
        return found
