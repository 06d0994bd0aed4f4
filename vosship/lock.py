"""One agent a data directory, and only on a disk whose locks and fsync can be relied on.

It does not know what lies in the directory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vosship.errors import ConfigError

LOCK_FILE = "agent.lock"

DIRECTORY_MODE = 0o750
"""Of a data directory that we make: calls lie in it, and of dead lines what privacy rules hide. As the manual makes it."""

AGENT = "run"
"""What holds a data directory until it is stopped; whatever else holds one (`dead replay`, `run --once`) ends by itself."""

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre", "afs", "9p"})
"""File systems on which SQLite's locks and fsync cannot be relied on (SQLite documentation, "How to corrupt", 2.1)."""


class HeldError(ConfigError):
    """Another process uses the data directory; `work` is what it said of itself (an older version nothing: an agent)."""

    def __init__(self, data_dir: Path, process: str, work: str) -> None:
        self.work = work
        if work == AGENT:
            super().__init__(f"process {process} is running on {data_dir}", hint="one agent a data_dir; stop that one first")
        else:
            super().__init__(
                f"process {process} is using {data_dir} for `vosship {work}`", hint="it ends by itself; try again then"
            )


def lock(data_dir: Path, work: str = AGENT) -> int:
    """Take `data_dir` for this process, and say in it what for; closing the returned descriptor gives it back.

    Raises HeldError naming the process that holds it, ConfigError when it cannot be written.
    """
    path = data_dir / LOCK_FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        hint = "run as the agent's user, who must own everything below data_dir" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"cannot write {path}: {error.strerror}", path="data_dir", hint=hint) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        process, held_for = _told(fd)
        os.close(fd)
        raise HeldError(data_dir, process, held_for) from error
    os.truncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} {work}\n".encode(), 0)
    return fd


def holder(data_dir: Path) -> int | None:
    """The process that runs on `data_dir`, None when none does."""
    try:
        fd = os.open(data_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        process, _ = _told(fd)
        return int(process) if process.isdigit() else 0
    else:
        return None
    finally:
        os.close(fd)


def _told(fd: int) -> tuple[str, str]:
    """The holder's process id and what it does."""
    process, _, work = os.pread(fd, 100, 0).decode("ascii", "replace").strip().partition(" ")
    return process or "unknown", work or AGENT


def refuse_network(data_dir: Path) -> None:
    """Raise ConfigError when `data_dir` lies on a network file system."""
    place, best, kind = str(data_dir.resolve()), "", ""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    if kind in _NETWORK:
        raise ConfigError(
            f"{data_dir} is on a network file system ({kind} at {best}): its locks and fsync cannot be relied on",
            path="data_dir",
            hint="use a local disk",
        )
