"""One raw line again, at the place a document names: from the file, its `.gz`, an archive, or a spool.

It parses nothing and decides nothing: whoever asks compares the document id.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from vosship.application import Application
from vosship.events import Block, Position
from vosship.pipeline import records_of
from vosship.plugin import Reports
from vosship.records import steps

GZIP = ".gz"

LONGEST_BYTES = 1 << 20
"""The longest line any input takes (`max_line_bytes` of `files`)."""


class Reread(msgspec.Struct, frozen=True):
    """A line as found: `base` is what its document id was made with."""

    path: str
    base: str
    offset: int
    line: bytes


def reread(application: Application, path: str, offset: int, archives: Iterable[Path] = ()) -> Iterator[Reread]:
    """Every place where the line can still be read, the file itself first. Places that cannot be read are left out."""
    base = os.path.basename(path).removesuffix(GZIP)  # noqa: PTH119  # a document's path, perhaps of another machine
    seen: set[Path] = set()
    for candidate in _candidates(application, path, base, archives):
        if candidate in seen or not candidate.is_file():
            continue
        seen.add(candidate)
        line = line_at(candidate, offset)
        if line is not None:
            yield Reread(str(candidate), base, offset, line)
    if path.endswith(".seg"):
        yield from _of_spool(application, path, offset)


def line_at(path: Path, offset: int) -> bytes | None:
    """The line that begins at that byte of a plain or gzip file's content; None where none begins there."""
    try:
        with gzip.open(path) if path.name.endswith(GZIP) else path.open("rb") as file:
            file.seek(max(0, offset - 1))
            if offset and file.read(1) != b"\n":
                return None
            line: bytes = file.readline(LONGEST_BYTES)
    except (OSError, EOFError):
        return None
    return line.removesuffix(b"\n") or None


def _candidates(application: Application, path: str, base: str, archives: Iterable[Path]) -> Iterator[Path]:
    if path.endswith(".seg"):
        return
    plain = path.removesuffix(GZIP)
    yield Path(plain)
    yield Path(plain + GZIP)
    for entry in application.inputs.values():
        if isinstance(entry.plugin, Reports):
            for size in entry.plugin.survey({}):
                if size.stream.base == base:
                    yield Path(size.stream.path)
    own = (getattr(entry.plugin, "directory", None) for entry in application.outputs.values() if entry.type == "archive")
    for directory in [*archives, *(Path(found) for found in own if found)]:
        for name in (base, base + GZIP):
            yield from sorted(directory.rglob(name))


def _of_spool(application: Application, path: str, offset: int) -> Iterator[Reread]:
    for entry in application.inputs.values():
        sizes = entry.plugin.survey({}) if isinstance(entry.plugin, Reports) else ()
        if not any(size.stream.path == path for size in sizes):
            continue
        known = {s.stream.name: Position(s.stream, 0, gone=True) for s in sizes if s.stream.path != path}
        for item in steps(entry.plugin.read(known, "now")):
            if isinstance(item, Block) and item.offset <= offset < item.end:
                for record in records_of(item):
                    if record.offset == offset:
                        yield Reread(path, item.stream.base, offset, record.line)
                        return
