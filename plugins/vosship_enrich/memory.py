"""What the agent knows of an operator's file, left on disk for commands, which run in processes of their own.

It reads no table and decides nothing about one: `tables` does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship.documents import utc_text
from vosship.errors import ConfigError
from vosship.plugin import Notice
from vosship_enrich.tables import GONE, Signature, Table, Watched, signature

_NOT_IN_A_NAME = re.compile(r"[^\w.-]")


class _Saved(msgspec.Struct, frozen=True):
    """`labels` as declared by the agent; `trouble` why the file with the signature `seen` was not taken up, and since when."""

    labels: list[str] = []
    trouble: str = ""
    since: float = 0.0
    seen: Signature = GONE


class Memory:
    """What there is to know of one file, whoever reads it: one memory a file, shared by all pipelines of an agent.

    The agent alone saves. A file that is not there, or half written by a machine that fell, is no memory.
    """

    def __init__(self, data_dir: Path, name: str, log: logging.Logger) -> None:
        self._path = data_dir / f"table-{_NOT_IN_A_NAME.sub('_', name)}.json"
        self._log = log
        self._last: _Saved | None = None

    def save(self, watched: Watched[Any], labels: Sequence[str] = ()) -> None:
        """Leave the labels and the trouble with the file, where they changed."""
        saved = _Saved(list(labels))
        if watched.trouble:
            saved = _Saved(list(labels), watched.trouble, watched.failed_at, watched.seen)
        if saved != self._last and write_whole(self._path, msgspec.json.encode(saved), self._log):
            self._last = saved

    def labels_of(self, title: Callable[[], Table]) -> list[str]:
        """The labels that the title line declares; where it cannot be read, those that the agent declared when it could.

        Whoever only asks about the account or the store goes on without the table; `load` still stops whoever needs it. Raises
        ConfigError when there is neither.
        """
        try:
            return [name for name, _ in title().labels]
        except ConfigError:
            saved = self._read()
            if saved is None:
                raise
            return saved.labels

    def notices(self, watched: Watched[Any]) -> Iterator[Notice]:
        """That the agent goes on with what it had, as long as the file is the one it could not take up."""
        saved = self._read()
        if saved and saved.trouble and saved.seen == signature(watched.path):
            subject = f"{watched.path.name} not reloaded since {utc_text(saved.since)}, the old one stays in force: {saved.trouble}"
            yield Notice(subject, {}, f"mend {watched.path}; the agent takes it up by itself")

    def _read(self) -> _Saved | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except (OSError, msgspec.DecodeError):
            return None


def write_whole(path: Path, content: bytes, log: logging.Logger) -> bool:
    """Put a file in place whole; False, and a warning, where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        log.warning("what status shows is not saved", extra={"file": str(path), "reason": error.strerror})
        return False
    return True
