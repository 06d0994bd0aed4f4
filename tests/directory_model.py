"""A model of the switch's CDR directory: what a switch, an operator and an accident do to it, and the account they owe.

Every operation is done to real files and noted in plain Python. The model knows nothing of the agent: whoever uses it
says when the agent looked (`saw`) and when it forgot (`forgot`), and hands over what came out (`check`).
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

FIRST_HOUR = datetime(2026, 4, 26, 0)
"""Hour of the first file. Chosen: the domain's own example day."""

TICK_NS = 10_000_000
"""Time stamps of successive operations lie this far apart, more than any kernel's clock tick (4 ms at 250 Hz)."""

INODE_TRIES = 16
"""Files created before a freed inode is given up. Chosen: ext4 and tmpfs give it, if at all, among the first few."""


class Place(NamedTuple):
    """A whole line where it stands: base name of its file, byte offset, bytes with the newline."""

    base: str
    offset: int
    line: bytes


class Span(NamedTuple):
    """Bytes of a file that were reported as lost."""

    base: str
    offset: int
    end: int


class Account(NamedTuple):
    """What a history came to: `missing`, `invented` and `baseless` must be empty.

    `wasted` are lines lost though nobody took them out of their file: none, where every unread file was held open.
    `unseen` nobody can be asked for.
    """

    missing: list[Place]
    invented: list[Place]
    baseless: list[Span]
    unseen: list[Place]
    wasted: list[Place]


class DirectoryModel:
    """One directory. Operations return the base name they worked on, or None where there was nothing to work on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, bytes] = {}
        """Base name to present content, oldest first by name."""
        self.archived: set[str] = set()
        """Base names that are there as `.gz` only."""
        self.removed: dict[str, bytes] = {}
        """Last content of names that were deleted, for `restore`."""
        self.written: set[Place] = set()
        """Every whole line that ever stood somewhere."""
        self.owed: set[Place] = set()
        """Whole lines the agent has seen: each must come out, or be named as lost."""
        self.overgrown: set[Place] = set()
        """Owed lines whose place other bytes had taken between two looks (see `saw`)."""
        self.uncompared: dict[str, bytes] = {}
        """Content of the files that had their settled size when the agent started (see `saw`); empty it when it has read all."""
        self._seen: dict[str, tuple[int, bytes]] = {}
        self._overwritten: dict[str, tuple[int, list[Place]]] = {}
        self.withdrawn: set[Place] = set()
        """Whole lines that were taken out of a file, by cutting it short or writing over it."""
        self.same_inodes = 0
        self._largest: dict[str, int] = {}
        self._halves: set[tuple[str, int, bytes]] = set()
        self._hour = FIRST_HOUR
        self._count = 0
        self._clock_ns = folder.stat().st_mtime_ns

    # -- what a switch does ----------------------------------------------------------------------------------------

    def new_hour(self) -> str:
        """The switch opens its next file, empty as yet."""
        base = f"{self._hour:%Y%m%d%H}.txt"
        self._hour += timedelta(hours=1)
        self._put(base, b"", append=False)
        return base

    def skip_hour(self) -> None:
        """An hour in which the switch writes no file."""
        self._hour += timedelta(hours=1)

    def append(self, lines: int = 1, *, width: int = 40, cut_bytes: int = 0, base: str | None = None) -> str:
        """Lines at the end of the newest file (or `base`), the last `cut_bytes` bytes still missing (`finish` adds them)."""
        base = base or self.newest() or self.new_hour()
        text = b"".join(self.line(width) for _ in range(lines))
        self._put(base, text[: len(text) - cut_bytes], append=True)
        return base

    def finish(self, base: str | None = None) -> str | None:
        """The newline that a half last line lacks."""
        base = base or self.newest()
        if base is None or base in self.archived or self.files[base].endswith(b"\n") or not self.files[base]:
            return None
        self._put(base, b"\n", append=True)
        return base

    def delete_oldest(self) -> str | None:
        """What the switch does past SERVER_CDR_FILE_WRITE_MAX."""
        return self.delete(min(self.files, default=None))

    def go_back(self) -> str | None:
        """The clock is set back: lines are appended to the last file but one, under a name that recurs."""
        names = sorted(self.files.keys() - self.archived)
        return self.append(base=names[-2]) if len(names) > 1 else None

    # -- what an operator or an accident does ----------------------------------------------------------------------

    def delete(self, base: str | None) -> str | None:
        """Remove a file, whatever its form."""
        if base is None or base not in self.files:
            return None
        self.removed[base] = self.files.pop(base)
        (self.path(base)).unlink()
        self.archived.discard(base)
        self._stamp(None)
        return base

    def recreate(self, base: str | None, lines: int = 2) -> str | None:
        """Delete and create again with other content, in the same inode if the file system gives it: nobody holds it open.

        `same_inodes` counts how often it did.
        """
        if base is None or base not in self.files:
            return None
        inode = self._inode(base)
        self.delete(base)
        refused = []
        for number in range(INODE_TRIES):
            trial = self.folder / f".trial{number}"
            trial.touch()
            if trial.stat().st_ino == inode:
                trial.rename(self.path(base))
                self.same_inodes += 1
                break
            refused.append(trial)
        for trial in refused:
            trial.unlink()
        self._put(base, b"".join(self.line(40 + 20 * number) for number in range(lines)), append=False)
        return base

    def patch(self, base: str, number: int) -> str:
        """Another line of the same length in the place of the `number`th, in the same inode."""
        lines = self.files[base].splitlines(keepends=True)
        lines[number] = self.line(len(lines[number]))
        self._put(base, b"".join(lines), append=False)
        return base

    def rewrite(self, base: str | None, lines: int = 3) -> str | None:
        """Other content in the same inode."""
        if base is None or base not in self.files or base in self.archived:
            return None
        self._put(base, b"".join(self.line(40) for _ in range(lines)), append=False)
        return base

    def truncate(self, base: str | None, share: float) -> str | None:
        """Keep only the beginning."""
        if base is None or base not in self.files or base in self.archived:
            return None
        self._put(base, self.files[base][: int(len(self.files[base]) * share)], append=False)
        return base

    def restore(self, base: str | None) -> str | None:
        """Put a deleted file back from a copy: same content, another inode."""
        if base is None or base in self.files or base not in self.removed:
            return None
        self._put(base, self.removed[base], append=False)
        return base

    def copy_over(self, base: str | None) -> str | None:
        """Replace a file by a copy of itself, as a backup tool or an editor does."""
        if base is None or base not in self.files or base in self.archived:
            return None
        copy = self.folder / ".copy"
        copy.write_bytes(self.files[base])
        copy.rename(self.path(base))
        self._stamp(self.path(base))
        return base

    def compress(self, base: str | None) -> str | None:
        """What `gzip FILE` does: the archive is complete before the plain file goes."""
        if base is None or base not in self.files or base in self.archived:
            return None
        plain = self.path(base)
        (self.folder / (base + ".gz")).write_bytes(gzip.compress(self.files[base], 1))
        plain.unlink()
        self.archived.add(base)
        self._stamp(self.path(base))
        return base

    # -- looking at it ---------------------------------------------------------------------------------------------

    def newest(self) -> str | None:
        """The name that sorts last, unless it is archived."""
        base = max(self.files, default=None)
        return None if base in self.archived else base

    def path(self, base: str) -> Path:
        """Where a present file is."""
        return self.folder / (base + ".gz" if base in self.archived else base)

    def line(self, width: int) -> bytes:
        """A line like no other, `width` bytes with its newline."""
        self._count += 1
        return (b"%08d|" % self._count).ljust(width - 1, b"x") + b"\n"

    # -- the account -----------------------------------------------------------------------------------------------

    def saw(self, *, held: bool = False, settled: Mapping[str, int] | None = None) -> None:
        """The agent has looked at the directory as it is now: from here on it owes every line in it.

        Two things it cannot be asked for. Lines that were cut off since the last look and whose place in the same inode
        other bytes have taken by now: it was not looking, and sees a file that grew, or that lost only its end. Where it
        `held` the file open it knows how the file began, so then only a file that kept a beginning is excused. And at a
        start, when `settled` is how far each file is: one of exactly that size is not compared before its turn, so what
        is in it is owed only once the agent has read to the end, or sees it change.
        """
        if settled is not None:
            self.uncompared = {base: text for base, text in self.files.items() if settled.get(base) == len(text) > 0}
        for kept, lines in self._overwritten.values():
            if kept or not held:
                self.overgrown.update(lines)
        self._overwritten.clear()
        for base, content in self.files.items():
            if self.uncompared.get(base) != content:
                self.owed.update(places(base, 0, content))
        self.overgrown -= {place for base, content in self.files.items() for place in places(base, 0, content)}
        self._seen = {base: (self._inode(base), content) for base, content in self.files.items()}

    def forgot(self, *, noted: bool = False) -> None:
        """The agent lost its memory of what it had seen; what it owes is what it sees next.

        With `noted` it still owes what it had seen of files that were not there any more when it last looked.
        """
        self.owed = {place for place in self.owed - self.overgrown if noted and place.base not in self._seen}
        self.overgrown.clear()
        self._seen.clear()
        self._overwritten.clear()

    def check(self, delivered: Iterable[Place], halves: Iterable[Place], lost: Iterable[Span]) -> Account:
        """Hold what came out against what was written.

        `delivered` are whole lines, `halves` unterminated ones, `lost` the spans reported as lost.
        """
        delivered, halves, lost = set(delivered), set(halves), list(lost)
        owed = self.owed - delivered - self.overgrown
        missing = [place for place in owed if not _accounted(place, delivered, halves, lost)]
        ends = {(half.base, _end(half)) for half in halves}
        invented = [place for place in delivered - self.written if place[:2] not in ends]  # its beginning had been taken
        invented += [half for half in halves if tuple(half) not in self._halves and half[:2] not in ends]
        baseless = [span for span in lost if span.end > self._largest.get(span.base, 0) or span.end <= span.offset]
        unseen = sorted(self.written - self.owed - delivered)
        wasted = [place for place in owed - self.withdrawn if not _accounted(place, delivered, halves, [])]
        return Account(sorted(missing), sorted(invented), baseless, unseen, wasted)

    def _inode(self, base: str) -> int:
        return self.path(base).stat().st_ino

    def _put(self, base: str, data: bytes, *, append: bool) -> None:
        path = self.path(base)
        with path.open("ab" if append else "r+b" if path.exists() else "wb") as file:
            file.write(data)
            file.truncate()
        content = self.files.get(base, b"") + data if append else data
        if not append:
            self.withdrawn.update(set(places(base, 0, self.files.get(base, b""))) - set(places(base, 0, content)))
        self.files[base] = content
        self.files = dict(sorted(self.files.items()))
        self._largest[base] = max(self._largest.get(base, 0), len(content))
        self.written.update(places(base, 0, content))
        inode, before = self._seen.get(base, (0, b""))
        if inode == path.stat().st_ino:  # what stood at the last look and where other bytes stand now
            kept = next((at for at, (old, new) in enumerate(zip(before, content, strict=False)) if old != new), len(content))
            self._overwritten[base] = kept, [line for line in places(base, 0, before) if kept < _end(line) <= len(content)]
        start = content.rfind(b"\n") + 1
        if content[start:]:
            self._halves.add((base, start, content[start:]))
        self._stamp(path)

    def _stamp(self, path: Path | None) -> None:
        self._clock_ns += TICK_NS
        for touched in (path, self.folder):
            if touched is not None:
                os.utime(touched, ns=(self._clock_ns, self._clock_ns))


def places(base: str, offset: int, data: bytes) -> list[Place]:
    """The whole lines in a stretch of content that begins at `offset`."""
    found = []
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            found.append(Place(base, offset, line))
        offset += len(line)
    return found


def _end(place: Place) -> int:
    return place.offset + len(place.line)


def _accounted(place: Place, delivered: set[Place], halves: set[Place], lost: list[Span]) -> bool:
    """Whether a line that did not come out whole came out in parts (a half that was written on), or was lost from somewhere on.

    Bytes before a lost span came out as part of other lines, those that a cut file was continued with: blocks tile.
    """
    end = _end(place)
    if place in delivered or any(span.base == place.base and span.offset < end <= span.end for span in lost):
        return True
    for half in halves:
        if half[:2] == place[:2] and half.line and place.line.startswith(half.line):
            size = len(half.line)
            if _accounted(Place(place.base, place.offset + size, place.line[size:]), delivered, halves, lost):
                return True
    return False
