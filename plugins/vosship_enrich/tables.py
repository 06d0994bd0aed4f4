"""An operator's CSV table: read with the line of whatever is wrong, and read again when the file changes.

It does not know what any column means.
"""

from __future__ import annotations

import csv
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec
import orjson
from msgspec import Meta

from vosship.errors import ConfigError
from vosship.plugin import nearest

T = TypeVar("T")

_NOT_IN_A_LABEL = re.compile(r"\W+")


def wrong(path: Path, line: int, sentence: str, hint: str = "") -> ConfigError:
    """The error for one line of a table."""
    return ConfigError(f"{path}, line {line}: {sentence}", path="table", hint=hint)


class TableOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every processor with an operator's table takes."""

    table: Annotated[
        str, Meta(description="CSV file with a title line, UTF-8; relative to the configuration's folder", min_length=1)
    ]
    columns: Annotated[dict[str, str], Meta(description="the file's heading for a column named here; empty leaves it out")] = {}
    labels: Annotated[list[str] | None, Meta(description="headings that become `labels.*` (default: every further one)")] = None
    delimiter: Annotated[str, Meta(description="character between cells", min_length=1, max_length=1)] = ","
    reload_s: Annotated[float, Meta(description="how often to look whether the table has changed", gt=0)] = 30.0


def headings(given: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """The heading in the file for each known column. Raises ConfigError at a column nobody knows."""
    for name in given:
        if name not in known:
            raise ConfigError(f"there is no column {name!r} to name", path="columns", hint=nearest(name, known))
    return {name: given.get(name, name) for name in known}


class Table:
    """The title line of a CSV file, and its rows one by one.

    `columns` gives, for each name this program uses, the heading in the file; an empty heading leaves the column out.
    Headings are compared without regard to case. Every other column becomes a label, unless `labels` names the wanted
    ones. Raises ConfigError with file and line, in the constructor and while rows are taken.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str],
        required: Sequence[str],
        *,
        delimiter: str = ",",
        labels: Sequence[str] | None = None,
    ) -> None:
        self.path = path
        self._delimiter = delimiter
        heading = next(self._lines(), (1, []))[1]
        if not heading:
            raise wrong(path, 1, "the title line is missing", f"the first line names the columns: {', '.join(columns)}")
        self.headings = [cell.strip() for cell in heading]
        places: dict[str, int] = {}
        for place, cell in enumerate(self.headings):
            if cell and places.setdefault(cell.casefold(), place) != place:
                raise wrong(path, 1, f"the column {cell!r} stands twice")
        self._at = {name: places.get(wanted.casefold(), -1) for name, wanted in columns.items()}
        for name in required:
            if self._at[name] < 0:
                raise wrong(path, 1, f"the column {columns[name]!r} is missing", nearest(columns[name], self.headings))
        for name, wanted in columns.items():
            if wanted and wanted != name and self._at[name] < 0:
                raise wrong(path, 1, f"there is no column {wanted!r} for {name}", nearest(wanted, self.headings))
        self.labels = self._label_places(places, labels)

    def place(self, name: str) -> int:
        """Where the column stands in a row, -1 when the file has none."""
        return self._at[name]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row that says anything; each has as many cells as the title line."""
        width = len(self.headings)
        lines = self._lines()
        next(lines, None)
        for line, cells in lines:
            if not any(cells) or not any(map(str.strip, cells)):
                continue
            if len(cells) != width:
                sentence = f"{len(cells)} cells where the title line has {width}"
                raise wrong(self.path, line, sentence, "a cell that holds the delimiter needs quotes")
            yield line, cells

    def _label_places(self, places: Mapping[str, int], wanted: Sequence[str] | None) -> list[tuple[str, int]]:
        taken = set(self._at.values())
        if wanted is None:
            chosen = [place for place, heading in enumerate(self.headings) if heading and place not in taken]
        else:
            for heading in wanted:
                if heading.casefold() not in places:
                    raise wrong(self.path, 1, f"there is no column {heading!r} for a label", nearest(heading, self.headings))
            chosen = [places[heading.casefold()] for heading in wanted]
        made: dict[str, int] = {}
        for place in chosen:
            heading = self.headings[place]
            name = _NOT_IN_A_LABEL.sub("_", heading).strip("_")
            if not name:
                raise wrong(self.path, 1, f"the column {heading!r} has no letter for a label", "`labels: [...]` names those wanted")
            first = self.headings[made.setdefault(name, place)]
            if first != heading:
                raise wrong(self.path, 1, f"the columns {first!r} and {heading!r} would both be labels.{name}", "rename one")
        return [(f"labels.{name}", place) for name, place in made.items()]

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._delimiter, strict=True)
                try:
                    for cells in reader:
                        yield reader.line_num, cells
                except csv.Error as error:
                    raise wrong(self.path, reader.line_num, f"not valid CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise wrong(self.path, self._first_not_utf8(), "it is not UTF-8", "save the table as UTF-8") from error
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}", path="table") from error

    def _first_not_utf8(self) -> int:
        good = self.path.read_bytes()
        try:
            good.decode()
        except UnicodeDecodeError as error:
            good = good[: error.start]
        return good.count(b"\n") + 1


def members(fields: Mapping[str, str | Sequence[str]]) -> str:
    """The fields as members of a JSON object, each behind a comma."""
    return f",{orjson.dumps(fields)[1:-1].decode()}" if fields else ""


def declared(table: Table, names: Sequence[str], log: logging.Logger) -> list[tuple[str, int]]:
    """The table's labels among `names`, declared at the start; what came since is logged and waits for a restart."""
    fresh = [name for name, _ in table.labels if name not in names]
    if fresh:
        log.warning("new columns wait for a restart", extra={"file": str(table.path), "columns": fresh})
    return [(name, place) for name, place in table.labels if name in names]


class Watched(Generic[T]):
    """What is loaded from a file, loaded again when the file changes.

    The constructor leaves the file alone: `load` loads it, or else the first use does. Later loads run in a thread of their
    own, started by `look` at most every `reload_s`; the thing is exchanged whole. A file that cannot be loaded leaves the
    old thing in place, is logged once per change of the file, and stays in `trouble` (since `failed_at`, epoch seconds) until
    a good one comes. `seen` is the signature of the file that was last tried.
    """

    def __init__(
        self, path: Path, load: Callable[[Path], T], *, reload_s: float, now: Callable[[], float], log: logging.Logger
    ) -> None:
        self.path = path
        self.trouble = ""
        self.failed_at = 0.0
        self.seen = GONE
        self._load, self._now, self._log, self._reload_s = load, now, log, reload_s
        self._next_look = float("inf")  # nothing is loaded that could be out of date
        self._loader: threading.Thread | None = None
        self._value: T | None = None

    def load(self) -> None:
        """Load the file now. Raises ConfigError."""
        seen = signature(self.path)
        self._value = self._load(self.path)
        self.seen, self._next_look = seen, self._now() + self._reload_s

    @property
    def value(self) -> T:
        """What was loaded last. Raises ConfigError when nothing was yet and it cannot be."""
        if self._value is None:
            self.load()
            assert self._value is not None
        return self._value

    def look(self) -> bool:
        """Start loading when the file has changed; cheap when it is not yet time. True while a load is under way."""
        now = self._now()
        if now < self._next_look:
            return False
        if self._loader is not None:
            if self._loader.is_alive():
                return True
            self._loader = None
        self._next_look = now + self._reload_s
        seen = signature(self.path)
        if seen == self.seen:
            return False
        self.seen = seen
        self._loader = threading.Thread(target=self._again, name=f"reload {self.path.name}", daemon=True)
        self._loader.start()
        return True

    def wait(self) -> None:
        """Block until a load under way has ended."""
        if self._loader is not None:
            self._loader.join()

    def _again(self) -> None:
        try:
            self._value = self._load(self.path)
        except ConfigError as error:
            self.trouble, self.failed_at = error.message, self._now()
            self._log.error("table not reloaded, the old one stays", extra={"file": str(self.path), "reason": error.message})
            return
        self.trouble = ""
        self._log.info("table reloaded", extra={"file": str(self.path)})


Signature = tuple[int, int, int, int]

GONE: Signature = (0, 0, 0, 0)


def signature(path: Path) -> Signature:
    """What changes when a file does, or the right to read it (its ctime); GONE when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return GONE
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
