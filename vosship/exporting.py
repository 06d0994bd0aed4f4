"""Writes the answer to a question into a file, a day at a time: in constant memory, resumable, and all of it or nothing.

It does not know a store's ways or the command line.

Beside the target FILE, `FILE.parts/` holds the question and a part for each day done. A crash or Ctrl-C leaves it, and
the same question goes on from it; a part is taken again only if its day was complete in the store when it was read.
At the end the parts become FILE under a temporary name first, then the manifest is written, then the parts are removed.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec

from vosship.errors import ConfigError, FatalError
from vosship.layouts import Layout, converters, typed
from vosship.parquet import MAGIC, Group, Writer
from vosship.query import Hit
from vosship.schema import Schema
from vosship.window import Window

Format = Literal["csv", "ndjson", "parquet"]

_COPY_BYTES = 1 << 20

_OURS = (".part", ".json", ".unfinished")
"""How the names of all files end that an export keeps beside its target."""


class Totals(msgspec.Struct):
    """What was written: calls, answered ones, the summed holdTime of these, bytes, and in Parquet the row groups."""

    records: int = 0
    answered: int = 0
    hold_ms: int = 0
    size_bytes: int = 0
    groups: list[Group] = []

    def add(self, other: Totals) -> None:
        """Add what stands behind it."""
        self.groups += [group.moved(self.size_bytes) for group in other.groups]
        self.records += other.records
        self.answered += other.answered
        self.hold_ms += other.hold_ms
        self.size_bytes += other.size_bytes


class Part(msgspec.Struct):
    """One day done. `settled`: nothing more was to come when it was read."""

    totals: Totals
    settled: bool


class Encoder(Protocol):
    """Turns hits into bytes: a file is `head`, its parts, `tail`. A part is what `encode` gave, and what it held back."""

    head: bytes

    def encode(self, hit: Hit) -> bytes: ...

    def end_part(self) -> tuple[bytes, list[Group]]:
        """What was held back, and the part's row groups."""
        ...

    def tail(self, totals: Totals) -> bytes:
        """The end of a file of these parts."""
        ...


class _Text:
    """A format of lines: nothing held back, nothing at the end."""

    def end_part(self) -> tuple[bytes, list[Group]]:
        return b"", []

    def tail(self, totals: Totals) -> bytes:
        return b""


class Ndjson(_Text):
    """One JSON object a line: the document as indexed with `_id` and `_index`, or with a layout its columns only."""

    head = b""

    def __init__(self, layout: Layout | None, schema: Schema, window: Window) -> None:
        self._columns = None
        if layout is not None:
            titles = [column.title for column in layout.columns]
            self._columns = [(title, *pair) for title, pair in zip(titles, converters(layout, schema, window.zone), strict=True)]
        self._encode = msgspec.json.Encoder().encode

    def encode(self, hit: Hit) -> bytes:
        """One line."""
        if self._columns is None:
            return self._encode({"_id": hit.id, "_index": hit.index, **hit.fields}) + b"\n"
        fields = hit.fields
        return self._encode({title: way(fields[name]) for title, name, way in self._columns if name in fields}) + b"\n"


class Csv(_Text):
    """One row a call, quoted where needed; absent values are empty."""

    def __init__(self, layout: Layout, schema: Schema, window: Window) -> None:
        self._columns = converters(layout, schema, window.zone)
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, delimiter=layout.delimiter, lineterminator="\n")
        self.head = self._row([column.title for column in layout.columns]) if layout.header else b""

    def encode(self, hit: Hit) -> bytes:
        """One row."""
        fields = hit.fields
        return self._row([way(fields[name]) if name in fields else "" for name, way in self._columns])

    def _row(self, values: list[Any]) -> bytes:
        self._writer.writerow(values)
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text.encode("utf-8", "surrogatepass")


class Parquet:
    """Typed columns: times as timestamps, durations as whole numbers, nothing for what is absent."""

    head = MAGIC

    def __init__(self, layout: Layout, schema: Schema, window: Window) -> None:
        columns = typed(layout, schema, window.zone)
        self._ways = [(name, way) for _, name, _, way in columns]
        self._writer = Writer([(title, kind) for title, _, kind, _ in columns])
        self._groups: list[Group] = []
        self._written = 0

    def encode(self, hit: Hit) -> bytes:
        """Nothing, or a row group once that is full."""
        fields = hit.fields
        return self._taken(self._writer.add([way(fields[name]) if name in fields else None for name, way in self._ways]))

    def _taken(self, found: tuple[bytes, Group] | None) -> bytes:
        if found is None:
            return b""
        content, group = found
        self._groups.append(group.moved(self._written))
        self._written += len(content)
        return content

    def end_part(self) -> tuple[bytes, list[Group]]:
        """The last row group; the next part begins at 0 again."""
        content = self._taken(self._writer.end())
        groups, self._groups, self._written = self._groups, [], 0
        return content, groups

    def tail(self, totals: Totals) -> bytes:
        """The footer, which says where all is."""
        return self._writer.footer([group.moved(len(self.head)) for group in totals.groups])


def stream(hits: Iterable[Hit], encoder: Encoder, out: IO[bytes], check: Callable[[int], None], before: int = 0) -> Totals:
    """Write a part, hits as they come. `check` is given the count so far (with `before`) every so often and at the end."""
    totals = Totals()
    write, encode = out.write, encoder.encode
    for hit in hits:
        totals.size_bytes += write(encode(hit))
        totals.records += 1
        hold_ms = hit.fields.get("holdTime", 0)
        if hold_ms > 0:
            totals.answered += 1
            totals.hold_ms += hold_ms
        if not totals.records % 1000:
            check(before + totals.records)
    check(before + totals.records)
    rest, totals.groups = encoder.end_part()
    totals.size_bytes += write(rest)
    return totals


def usable(target: Path) -> Path:
    """Where the file will stand: at a link's end. Raises ConfigError or FatalError when none can be made there."""
    try:
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        folder = target.parent
        if target.is_symlink():
            raise ConfigError(f"--out {target} is a link that leads to itself", hint="remove it, or another --out")
        if target.is_dir():
            raise ConfigError(f"--out {target} is a directory", hint=f"name a file in it: --out {target / 'calls.csv'}")
        manifest = manifest_path(target)
        if manifest.is_dir():
            raise ConfigError(f"--out {target}: {manifest} is a directory", hint="its manifest goes there: another --out")
        if target.exists() and not target.is_file():
            raise ConfigError(f"--out {target} is no file but a device or a pipe", hint="--out - writes to standard output")
        if not folder.is_dir():
            raise ConfigError(f"--out {target}: there is no directory {folder}", hint="make it, or another --out")
        with suppress(FileNotFoundError):
            _unfinished(manifest).lstat()  # the longest name there will be: one that is too long is refused before the work
    except OSError as error:
        raise FatalError(f"looking at --out {target} failed: {error.strerror}", hint=_advice(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FatalError(
            f"--out {target}: this user may not make files in {folder}", hint="mend its owner or mode, or another --out"
        )
    return target


@contextmanager
def _writing(what: str, path: Path) -> Iterator[None]:
    """Turns the system's refusal into a sentence, and takes away what was half written: on a full disk it is in the way."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            _unfinished(path).unlink(missing_ok=True)
        raise FatalError(f"writing {what} to {path} failed: {error.strerror}", hint=_advice(error)) from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free space there; the same command then goes on with the days it has"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "mend owner or mode, or another --out"
    return "mend that; the same command then goes on with the days it has"


class Parts:
    """The folder of an export under way, which one process at a time may work in."""

    def __init__(self, target: Path, question: dict[str, Any]) -> None:
        self.directory = target.with_name(target.name + ".parts")
        self._question = msgspec.json.encode(question, order="sorted")
        self._lock = -1

    def open(self, *, restart: bool) -> bool:
        """Make the folder or go on from it; True when there was one. Raises ConfigError when it is another question's,
        FatalError when another process is at it."""
        question = self.directory / "question.json"
        with _writing("the question", question):
            self.directory.mkdir(exist_ok=True)
            self._take()
            if restart or not question.exists():  # parts whose question is not known answer none
                self._clear()
            if question.exists():
                if question.read_bytes() != self._question:
                    raise ConfigError(
                        f"{self.directory} holds an unfinished export of another question",
                        hint="--restart gives that one up; or another --out",
                    )
                return True
            _write(question, self._question)
        return False

    def _clear(self) -> None:
        """Remove what an export left. Raises ConfigError, with nothing removed, where something else is kept."""
        paths = list(self.directory.iterdir())
        for path in paths:
            if path.suffix not in _OURS or not path.is_file():
                raise ConfigError(f"{self.directory} holds {path.name!r}, which no export wrote", hint="another --out")
        for path in paths:
            path.unlink()

    def _take(self) -> None:
        if self._lock >= 0:
            return
        self._lock = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise FatalError(
                f"another vosship export is writing in {self.directory}", hint="wait for it, or another --out"
            ) from error
        except OSError:  # a network file system without locks: whoever exports there twice at once has to know
            return

    def close(self) -> None:
        """Let another process go on. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def path(self, day: str) -> Path:
        """Where a day's rows go."""
        return self.directory / f"{day}.part"

    def done(self, day: str) -> Part | None:
        """A part that can be taken as it is."""
        try:
            part = msgspec.json.decode((self.directory / f"{day}.json").read_bytes(), type=Part)
            whole = self.path(day).stat().st_size == part.totals.size_bytes
        except (OSError, msgspec.DecodeError):
            return None
        return part if part.settled and whole else None

    def write(self, day: str, fill: Callable[[IO[bytes]], Totals], *, settled: bool) -> Totals:
        """Fill a day's part; only a whole one gets its name. Raises FatalError when the disk refuses."""
        path, account = self.path(day), self.directory / f"{day}.json"
        with _writing(day, path):
            account.unlink(missing_ok=True)
            with _unfinished(path).open("wb", buffering=_COPY_BYTES) as file:
                totals = fill(file)
                file.flush()
                os.fsync(file.fileno())
            _unfinished(path).replace(path)
            _write(account, msgspec.json.encode(Part(totals=totals, settled=settled)))
        return totals

    def remove(self) -> None:
        """Forget the export under way."""
        shutil.rmtree(self.directory, ignore_errors=True)


def assemble(parts: list[Path], head: bytes, tail: bytes, target: Path) -> str:
    """Put the parts together under a temporary name, then give it its own; returns the SHA-256. Raises FatalError."""
    digest = hashlib.sha256(head)
    with _writing("all days", target):
        _check_room(sum(path.stat().st_size for path in parts), target)
        with _unfinished(target).open("wb") as out:
            out.write(head)
            for path in parts:
                with path.open("rb") as file:
                    while piece := file.read(_COPY_BYTES):
                        out.write(piece)
                        digest.update(piece)
            out.write(tail)
            digest.update(tail)
            out.flush()
            os.fsync(out.fileno())
        _unfinished(target).replace(target)
    return digest.hexdigest()


def _check_room(size_bytes: int, target: Path) -> None:
    free = os.statvfs(target.parent)
    free_bytes = free.f_bavail * free.f_frsize
    if free_bytes < size_bytes:
        raise FatalError(
            f"{target} takes {size_bytes / 1e6:,.1f} MB beside its parts, {target.parent} has {free_bytes / 1e6:,.1f} MB free",
            hint="free space there; the same command then goes on with the days it has",
        )


def days(window: Window) -> Iterator[tuple[str, Window]]:
    """The window a day at a time, newest first, each with the name of its part."""
    for piece in window.pieces():
        yield f"{piece.start:%Y-%m-%d}", piece


def manifest_path(target: Path) -> Path:
    """Where the manifest of an export lies."""
    return target.with_name(target.name + ".manifest.json")


def forget_manifest(target: Path) -> None:
    """Remove that of an earlier file. Raises FatalError."""
    with _writing("the manifest", manifest_path(target)):
        manifest_path(target).unlink(missing_ok=True)


def write_manifest(target: Path, content: dict[str, Any]) -> None:
    """Write it in one step. Raises FatalError."""
    path = manifest_path(target)
    with _writing("the manifest", path):
        _write(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _write(path: Path, content: bytes) -> None:
    _unfinished(path).write_bytes(content)
    _unfinished(path).replace(path)


def _unfinished(path: Path) -> Path:
    """The name of what is not whole yet."""
    return path.with_name(path.name + ".unfinished")
