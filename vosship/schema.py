"""The fields of all configured inputs and processors, joined: from it templates, columns and the field reference.

It does not know what any field means or how an engine maps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from vosship.errors import ConfigError
from vosship.events import Field

VERSION = 1
"""Version of the shape of documents; raised when a field's type or meaning changes, never for an added field."""

ENVELOPE: tuple[Field, ...] = (
    Field(name="@timestamp", type="date", resolution="ms", description="When the call stopped, in UTC."),
    Field(name="switch", type="keyword", description="The switch's logical name, which outlives its host."),
    Field(name="host", type="keyword", description="The machine the agent ran on."),
    Field(name="channel", type="keyword", description="How the record came: `file`, `forward`, `database`, or an own word."),
    Field(name="log.file.path", type="keyword", description="The file as read, or the spool segment."),
    Field(name="log.offset", type="long", unit="bytes", description="The byte at which the line begins."),
    Field(name="event.ingested", type="date", resolution="ms", description="When the line was read."),
    Field(
        name="event.original",
        type="keyword",
        indexed=False,
        doc_values=False,
        description="The line itself, when `keep_original` is set.",
    ),
    Field(name="tags", type="keyword", array=True, description="What was unusual about the line."),
)
"""The fields the core itself sets (or, for `@timestamp` and `tags`, shares with processors)."""


class Schema:
    """Fields by name, in the order they were declared.

    Two declarations of one name must be equal in all but their description: otherwise ConfigError names both owners.
    """

    def __init__(self, declared: Iterable[tuple[str, Sequence[Field]]]) -> None:
        self._fields: dict[str, Field] = {}
        owners: dict[str, str] = {}
        for owner, fields in [("vosship", ENVELOPE), *declared]:
            for field in fields:
                before = self._fields.setdefault(field.name, field)
                owners.setdefault(field.name, owner)
                if msgspec.structs.replace(before, description="") != msgspec.structs.replace(field, description=""):
                    raise ConfigError(
                        f"{owner} and {owners[field.name]} declare the field {field.name!r} differently",
                        hint="use only one of the two, or rename the field in the plugin that is yours",
                    )

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields.values())

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __len__(self) -> int:
        return len(self._fields)

    def get(self, name: str) -> Field | None:
        """The field of that name, if any processor or input declared it."""
        return self._fields.get(name)

    @property
    def digest(self) -> str:
        """Eight hex digits that change whenever a field is added or changed, for `_meta.vosship` and the state."""
        content = msgspec.json.encode(sorted((f.name, f.type, f.path, f.indexed, f.doc_values) for f in self))
        return hashlib.blake2b(content, digest_size=4).hexdigest()
