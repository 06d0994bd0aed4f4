"""The listing of the CDR directories: which files there are, in which order, and what changed since the last look.

It opens no file, and it knows nothing of what was read.
"""

# Plain strings throughout: a look handles thousands of names, and making a Path costs more than the stat itself.
# ruff: noqa: PTH116, PTH118, PTH207, PTH208

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from vosship_files.names import GZIP_SUFFIX, plain_name, starts_at

RECENT = 2
"""Newest files of a directory that are looked at each time (design: polling; the live one and its predecessor)."""

Order = tuple[float, str, str]
"""Time of the name (else of the last change), base name, full name: oldest first, ties by path."""


class Entry(msgspec.Struct, frozen=True):
    """One file as last seen. `name` is the stream's: the absolute path without `.gz`."""

    name: str
    base: str
    path: str
    folder: str
    order: Order
    starts_at: float | None
    compressed: bool
    device: int
    inode: int
    size: int
    mtime_ns: int


class Changes(msgspec.Struct):
    """What a look found: per stream name the entry before and now (None: not there), and whether anything was listed."""

    entries: dict[str, tuple[Entry | None, Entry | None]]
    listed: bool = False


class Pattern(msgspec.Struct, frozen=True):
    """Where files are: a folder, perhaps a glob itself, and the expression their names match."""

    folder: str
    base: re.Pattern[str]


def pattern(text: str, base_dir: Path) -> Pattern:
    """A configured path. A bare directory stands for its `*.txt`; every pattern takes the `.gz` of its files too."""
    full = os.path.normpath(base_dir / text)
    folder, base = os.path.split(full)
    if text.endswith(("/", "/.")) or not base or not (glob.has_magic(base) or "." in base):
        folder, base = full, "*.txt"
    shut_out = "" if plain_name(base).endswith(".csv") else r"(?!.*\.csv(\.gz)?\Z)"  # a `*` must not take the other family
    expression = fnmatch.translate(plain_name(base)).removesuffix(r"\Z").removesuffix(r"\z")
    suffix = r"\.gz" if base.endswith(GZIP_SUFFIX) else r"(\.gz)?"
    hidden = "" if base.startswith(".") else r"(?!\.)"
    return Pattern(folder, re.compile(rf"{hidden}{shut_out}{expression}{suffix}\Z"))


class _Folder:
    def __init__(self, path: str) -> None:
        self.path = path
        self.bases: list[re.Pattern[str]] = []
        self.mtime_ns = -1
        self.restless = False  # its time stamp moved at the last look: a change in the same tick may be hidden
        self.files: dict[str, Entry] = {}
        self.ignored: set[str] = set()
        self.unnameable: set[str] = set()  # of the ignored, those that would be read but for their names
        self.recent: list[str] = []  # file names, newest first
        self.newest = ""


class Directory:
    """All configured folders. `look` is the only thing that changes it."""

    def __init__(self, patterns: Sequence[Pattern], zone: ZoneInfo) -> None:
        self._patterns = patterns
        self._zone = zone
        self._folders: dict[str, _Folder] = {}
        self.entries: dict[str, Entry] = {}
        self.problems: dict[str, str] = {}
        """Per folder why it cannot be listed: `missing`, or the system's words."""
        self.newest: set[str] = set()
        """Stream names of the newest file of each folder: live, so they have no end yet."""
        self.recent: set[str] = set()
        """Stream names of the files looked at each time."""

    def look(self, *, full: bool) -> Changes:
        """See what is there now. With `full`, or where a folder changed, its names are read and all its files looked at.

        A folder that cannot be read keeps its entries: that says nothing of the files.
        """
        changes = Changes({})
        if full or not self._folders:
            self._find_folders()
        for folder in self._folders.values():
            self._look_at(folder, full, changes)
        if changes.entries:
            self._rank()
        return changes

    @property
    def unnameable(self) -> dict[str, str]:
        """By path, made printable, the files that are not read because no log, state or document can hold their names."""
        names = (os.path.join(folder.path, name) for folder in self._folders.values() for name in folder.unnameable)
        return {repr(name)[1:-1]: "its name holds bytes that cannot be printed; rename it" for name in names}

    def folders(self) -> list[str]:
        """The folders that could be listed at the last look."""
        return [path for path in self._folders if path not in self.problems]

    def _find_folders(self) -> None:
        for found in self._patterns:
            paths = glob.glob(found.folder) if glob.has_magic(found.folder) else [found.folder]
            if not paths:
                self.problems[found.folder] = "missing"
                continue
            self.problems.pop(found.folder, None) if glob.has_magic(found.folder) else None
            for path in paths:
                folder = self._folders.setdefault(path, _Folder(path))
                if found.base not in folder.bases:
                    folder.bases.append(found.base)

    def _look_at(self, folder: _Folder, full: bool, changes: Changes) -> None:
        try:
            mtime_ns = os.stat(folder.path).st_mtime_ns
            moved = mtime_ns != folder.mtime_ns
            listing = moved or full or folder.restless or folder.path in self.problems
            names = os.listdir(folder.path) if listing else []
        except OSError as error:
            self.problems[folder.path] = "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
            folder.mtime_ns = -1
            return
        self.problems.pop(folder.path, None)
        folder.mtime_ns, folder.restless = mtime_ns, moved
        touched: set[str] = set()
        if listing:
            changes.listed = True
            self._list(folder, names, full, touched)
        self._restat(folder, (name for name in folder.recent if name not in touched), touched)
        if listing:
            self._settle_recent(folder, touched)
        elif touched and folder.recent:
            folder.newest = max((n for n in folder.recent if n in folder.files), key=lambda n: folder.files[n].order, default="")
        for name in {plain_name(name) for name in touched}:
            before = self.entries.get(os.path.join(folder.path, name))
            now = folder.files.get(name) or folder.files.get(name + GZIP_SUFFIX)
            if now is not None:
                self.entries[now.name] = now
            elif before is not None:
                del self.entries[before.name]
            if before != now:
                changes.entries[(now or before).name] = (before, now)  # type: ignore[union-attr]  # one of them is there

    def _list(self, folder: _Folder, names: list[str], full: bool, touched: set[str]) -> None:
        present = set(names)
        for name in folder.files.keys() - present:
            del folder.files[name]
            touched.add(name)
        folder.ignored &= present
        folder.unnameable &= present
        new = [name for name in present - folder.files.keys() - folder.ignored if self._wanted(folder, name)]
        self._restat(folder, new, touched)
        if full:
            self._restat(folder, list(folder.files.keys() - touched), touched)

    def _wanted(self, folder: _Folder, name: str) -> bool:
        if any(base.match(name) for base in folder.bases):
            if name.isprintable():
                return True
            folder.unnameable.add(name)
        folder.ignored.add(name)
        return False

    def _restat(self, folder: _Folder, names: Iterable[str], touched: set[str]) -> None:
        for name in names:
            path = os.path.join(folder.path, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                status = None
            except OSError as error:
                if error.errno == errno.ELOOP:  # a link that leads to itself is no file
                    status = None
                else:  # no right to pass through the folder, a disk that fails: that says nothing of the file
                    self.problems[folder.path] = str(error.strerror)
                continue
            if status is None or not stat.S_ISREG(status.st_mode):
                if folder.files.pop(name, None) is not None:
                    touched.add(name)
                continue
            before = folder.files.get(name)
            if before is None:
                folder.files[name] = self._entry(folder, name, path, status)
            elif (before.inode, before.size, before.mtime_ns, before.device) != (
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_dev,
            ):
                folder.files[name] = msgspec.structs.replace(
                    before,
                    order=before.order if before.starts_at is not None else (status.st_mtime_ns / 1e9, *before.order[1:]),
                    device=status.st_dev,
                    inode=status.st_ino,
                    size=status.st_size,
                    mtime_ns=status.st_mtime_ns,
                )
            else:
                continue
            touched.add(name)

    def _entry(self, folder: _Folder, name: str, path: str, status: os.stat_result) -> Entry:
        base = plain_name(name)
        begins = starts_at(base, self._zone)
        full = plain_name(path)
        return Entry(
            name=full,
            base=base,
            path=path,
            folder=folder.path,
            order=(begins if begins is not None else status.st_mtime_ns / 1e9, base, full),
            starts_at=begins,
            compressed=name != base,
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
        )

    def _settle_recent(self, folder: _Folder, touched: set[str]) -> None:
        """Choose the files looked at each time; one that leaves them is looked at once more, so its last size is known."""
        before = folder.recent
        by_order = sorted(folder.files, key=lambda name: folder.files[name].order, reverse=True)
        by_change = sorted(folder.files, key=lambda name: folder.files[name].mtime_ns, reverse=True)
        folder.recent = list(dict.fromkeys([*by_order[:RECENT], *by_change[:RECENT]]))
        folder.newest = by_order[0] if by_order else ""
        self._restat(folder, [name for name in before if name in folder.files and name not in folder.recent], touched)

    def _rank(self) -> None:
        self.newest = {os.path.join(f.path, plain_name(f.newest)) for f in self._folders.values() if f.newest}
        self.recent = {os.path.join(f.path, plain_name(name)) for f in self._folders.values() for name in f.recent}
