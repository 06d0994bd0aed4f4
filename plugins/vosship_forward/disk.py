"""The calls that make bytes durable, in one place so that a test can watch their order or let them fail.

It does not know what the bytes are.
"""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """A real disk."""

    def write(self, fd: int, data: bytes) -> None:
        """Write all of it, or raise OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        """Return when data and length are on disk."""
        os.fdatasync(fd)

    def sync_directory(self, directory: Path) -> None:
        """Return when the directory's entries are on disk."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
