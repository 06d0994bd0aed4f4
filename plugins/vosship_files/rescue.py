"""Second names for files that the switch is about to delete: making them, finding them again, taking them away.

It does not decide what is unread, and it never touches the switch's own names.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from vosship.events import Position
from vosship.plugin import Known
from vosship_files.directory import Directory, Entry
from vosship_files.identity import check
from vosship_files.names import GZIP_SUFFIX, plain_name, starts_at
from vosship_files.source import gzip_size, open_source

REGISTER_S = 30.0
"""Seconds after the first look in which every pipeline has said what it knows. Chosen: starting takes one or two."""

COPY_BYTES = 1 << 20
"""Bytes copied at a time. Chosen: few system calls, little memory."""

_LINK_REFUSED = {errno.EPERM, errno.EXDEV, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
_NAME = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)-(.+)\Z")
_PARTIAL = ".partial"


class Rescue:
    """The rescue directory of one input, shared by its readers. Blocking; safe to use from several threads."""

    def __init__(
        self, directory: Path, max_bytes: int, zone: ZoneInfo, folders: Sequence[str], last_files: int, keep_files: int | None,
        log: logging.Logger,
    ) -> None:  # fmt: skip
        self.path = directory
        self._max_bytes = max_bytes
        self._zone = zone
        self._folders = {_short(folder): folder for folder in folders}
        self._last_files = last_files
        self._keep_files = keep_files
        self._log = log
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], Entry] | None = None
        self._said = ""
        self._noted = threading.Lock()  # apart from the other, which may be held while a large file is copied
        self._settled: dict[str, dict[str, Position]] = {}
        self._reading: dict[int, set[str]] = {}
        self._since = 0.0

    def find(self) -> dict[str, list[Entry]]:
        """Per stream name the rescued files, oldest first where the name recurred: also what an earlier run left."""
        found: dict[str, list[Entry]] = {}
        with self._lock:
            for entry in sorted(self._all().values(), key=lambda entry: entry.mtime_ns):
                found.setdefault(entry.name, []).append(entry)
        return found

    def kept(self, entry: Entry) -> Entry | None:
        """The rescued file of exactly that file, if there is one."""
        with self._lock:
            return self._all().get((entry.name, entry.inode))

    def keep(self, entry: Entry, directory: Directory) -> None:
        """Give the file a second name when it is at risk. What does not work is said once; reading goes on.

        A copy of a file that has grown since is made anew. A crash before the link: nothing is there. In the middle of a
        copy: a `.partial` file, removed at the next start, and the copy before, if there was one.
        """
        with self._lock:
            kept = self._all().get((entry.name, entry.inode))
            if not self._at_risk(entry, directory) or (kept is not None and holds(kept, entry)):
                return
            used = sum(other.size for other in self._all().values() if other is not kept)
            if used + entry.size > self._max_bytes:
                self._say("rescue is full, files at risk are not kept", used)
                return
            try:
                self._keep(entry)
            except FileNotFoundError:
                return  # deleted just now; the next look says so
            except OSError as error:
                self._say(f"file at risk cannot be rescued: {error.strerror}", used)

    def unsettled(self, entry: Entry) -> bool:
        """Whether a pipeline has not settled the whole file, as far as any has said what it knows: read is not settled."""
        with self._noted:
            known = [positions.get(entry.name) for positions in self._settled.values()]
        return any(position is None or not (position.gone or position.offset >= entry.size) for position in known)

    def settled(self, pipeline: str, positions: Known) -> None:
        """Note what a pipeline has settled; `sweep` acts on it. Never blocks on the file system."""
        with self._noted:
            self._settled.setdefault(pipeline, {}).update(positions)

    def sweep(self, reader: int, reading: set[str], now: float) -> None:
        """Remove what every pipeline has settled, or knows to be gone. A crash in between leaves the file for the next time.

        `reading` are the streams that `reader` has not done with: a name that recurs may be gone in one generation and
        rescued in the next. Nothing is removed before all pipelines have had time to say what they know.
        """
        with self._lock:
            self._since = self._since or now
            self._reading[reader] = reading
            with self._noted:
                settled = [dict(known) for known in self._settled.values()]
            if not settled or not now - self._since >= REGISTER_S:
                return
            for key, entry in list(self._all().items()):
                wanted = any(entry.name in names for names in self._reading.values())
                try:
                    if all(_is_done(entry, known.get(entry.name), wanted) for known in settled):
                        Path(entry.path).unlink(missing_ok=True)
                        del self._all()[key]
                except OSError as error:
                    self._say(f"rescued file cannot be removed: {error.strerror}", entry.size)

    def leave(self, reader: int) -> None:
        """A reader has ended; what it had not settled stays until the next start."""
        with self._lock:
            self._reading.pop(reader, None)

    def _at_risk(self, entry: Entry, directory: Directory) -> bool:
        if self._keep_files is None:
            return True
        there = [other.order for other in directory.entries.values() if other.folder == entry.folder]
        newer = sum(order > entry.order for order in there)
        return self._keep_files - newer <= max(self._last_files, self._keep_files // 10)

    def _keep(self, entry: Entry) -> None:
        self.path.mkdir(0o750, parents=True, exist_ok=True)  # the switch's own file may be closed to others
        target = str(self.path / f"{_short(entry.folder)}-{entry.device}-{entry.inode}-{Path(entry.path).name}")
        try:
            if not Path(target).exists():
                os.link(entry.path, target)
            else:
                _copy(entry.path, target)
        except OSError as error:
            if error.errno not in _LINK_REFUSED:
                raise
            _copy(entry.path, target)
        sync_directory(self.path)
        self._all()[entry.name, entry.inode] = msgspec.structs.replace(entry, path=target)
        self._log.info("file at risk rescued", extra={"file": entry.name, "bytes": entry.size})

    def _all(self) -> dict[tuple[str, int], Entry]:
        if self._kept is None:
            self._kept = {}
            try:
                names = sorted(path.name for path in self.path.iterdir())
            except FileNotFoundError:
                names = []
            except OSError as error:
                self._say(f"rescue directory cannot be read: {error.strerror}", 0)
                names = []
            for name in names:
                entry = self._recall(name)
                if entry is not None:
                    self._kept[entry.name, entry.inode] = entry
        return self._kept

    def _recall(self, name: str) -> Entry | None:
        found = _NAME.match(name)
        folder = self._folders.get(found.group(1)) if found else None
        if found is None or folder is None:
            return None
        path = self.path / name
        if name.endswith(_PARTIAL):
            path.unlink(missing_ok=True)
            return None
        status = path.stat()
        file = found.group(4)
        base = plain_name(file)
        begins = starts_at(base, self._zone)
        full = f"{folder}/{base}"
        order = (begins if begins is not None else status.st_mtime, base, full)
        return Entry(
            name=full, base=base, path=str(path), folder=folder, order=order, starts_at=begins, compressed=file != base,
            device=int(found.group(2)), inode=int(found.group(3)), size=status.st_size, mtime_ns=status.st_mtime_ns,
        )  # fmt: skip

    def _say(self, phrase: str, used: int) -> None:
        if phrase != self._said:
            self._said = phrase
            self._log.error(phrase, extra={"directory": str(self.path), "bytes": used})


def sync_directory(path: Path) -> None:
    """Make names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy(path: str, target: str) -> None:
    partial = target + _PARTIAL
    with Path(path).open("rb") as source, Path(partial).open("wb") as copy:
        shutil.copyfileobj(source, copy, COPY_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
    Path(partial).rename(target)


def holds(kept: Entry, entry: Entry) -> bool:
    """Whether the second name still leads to all of the file: always for a link, until the file changes for a copy."""
    if (kept.inode, kept.device) != (entry.inode, entry.device):  # the name has another bearer now
        return False
    try:
        found = Path(kept.path).stat()
        return found.st_size == entry.size or (found.st_ino, found.st_dev) == (entry.inode, entry.device)
    except OSError:
        return False


def _is_done(entry: Entry, position: Position | None, wanted: bool) -> bool:
    """Whether one pipeline needs the rescued file no more. `wanted`: some reader has still to read a stream of that name."""
    if position is None or (position.gone and wanted):
        return False
    if position.gone:
        return True
    if not position.offset:
        return False
    try:
        source = open_source(entry.path, compressed=entry.compressed)
    except OSError:
        return False
    try:
        if check(position.proof, position.offset, source.read_at) is None:
            return False
    finally:
        source.close()
    size = gzip_size(entry.path) if entry.path.endswith(GZIP_SUFFIX) else Path(entry.path).stat().st_size
    return position.offset >= size


def _short(folder: str) -> str:
    return hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
