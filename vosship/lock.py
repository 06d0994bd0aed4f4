"""One agent a data directory, and only on a disk whose locks and fsync can be relied on.

It does not know what lies in the directory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vosship.errors import ConfigError

LOCK_FILE = "agent.lock"

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre", "afs", "9p"})
"""File systems on which SQLite's locks and fsync cannot be relied on (SQLite documentation, "How to corrupt", 2.1)."""


def lock(data_dir: Path) -> int:
    """Take `data_dir` for this process; closing the returned descriptor gives it back.

    Raises ConfigError naming the process that holds it.
    """
    try:
        fd = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write below {data_dir}: {error.strerror}", path="data_dir") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 100, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise ConfigError(f"process {holder} is running on {data_dir}", hint="one agent a data_dir; stop that one first") from error
    os.truncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
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
        text = os.pread(fd, 100, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(fd)


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
