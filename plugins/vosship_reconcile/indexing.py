"""Every difference as a document for the index of its month, beside the calls.

It sends nothing. What is special about a difference stands below `labels.`, the one place where documents take free names, so
that the mapping is that of every other call; `channel` is `reconcile`, so that no search for calls meets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vosship.documents import identify
from vosship.events import Block, Document, Stream
from vosship.query import DIFFERENCES
from vosship.schema import Schema
from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.report import rows

SERIES = "vos3000-reconcile"

_STREAM = Stream("reconcile", "reconcile", "reconcile")
_PLACE = {"file": "log.file.path", "offset": "log.offset"}
_APART = frozenset({"side", "differs", "other", "_id", "file", "offset"})


def documents(db: Any, names: Sequence[str], switch: str, schema: Schema, zone: ZoneInfo) -> Iterator[Document]:
    """All copies that are not matched, but for lines that are no calls. The same comparison gives the same ids."""
    whole = {field.name for field in schema if field.type in ("long", "integer")}
    for word in CLASSES:
        if word in ("matched", "unparsable"):
            continue
        for call in rows(db, word, names):
            yield _document(call, word, names, switch, schema, whole, zone)


def _document(
    call: dict[str, Any], word: str, names: Sequence[str], switch: str, schema: Schema, whole: set[str], zone: ZoneInfo
) -> Document:
    fields = {name: int(value) if name in whole else value for name, value in call.items() if name not in _APART and name in schema}
    if "fee" in fields:
        fields["fee"] = float(fields["fee"])
    fields |= {target: call[name] for name, target in _PLACE.items() if name in call}
    fields |= {"@timestamp": call["stopTime"], "switch": switch, "channel": DIFFERENCES}
    fields |= {"labels.reconcile_class": word, "labels.reconcile_side": call["side"], "labels.reconcile_between": " ".join(names)}
    if "other" in call:
        other = call["other"]
        fields["labels.reconcile_differs"] = " ".join(call["differs"])
        fields["labels.reconcile_other"] = f"{other.get('file')} byte {other.get('offset')}"
    month = datetime.fromisoformat(call["stopTime"]).astimezone(zone).strftime("%Y.%m")
    place = f"{call.get('file', '')}\0{call.get('_id', '')}"
    known = identify(switch, f"reconcile\0{word}\0{' '.join(names)}\0{place}", call.get("offset", 0), b"")
    body = msgspec.json.encode(fields)
    return Document(known, f"{SERIES}-{month}", body, body, 0, Block(_STREAM, 0, 0, b"", b"", {}))
