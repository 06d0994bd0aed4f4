"""One DuckDB session in a scratch directory, bounded in memory, gone when it ends.

It knows no table.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vosship.errors import ConfigError, FatalError

MEMORY_MB = 600
"""What DuckDB may use; beyond it, its tables and hash tables go to disk (chosen: 1 GB for the whole process)."""


@contextlib.contextmanager
def session(scratch: Path | None = None, memory_mb: int = MEMORY_MB) -> Iterator[tuple[Any, Path]]:
    """A connection and the directory it works in. Raises ConfigError without DuckDB, FatalError when the disk is full."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError("comparing copies needs DuckDB", hint="pip install 'vosship[reconcile]'") from error
    if scratch is not None and not scratch.is_dir():
        raise ConfigError(f"there is no directory {scratch}", path="--scratch")
    with tempfile.TemporaryDirectory(prefix="vosship-reconcile-", dir=scratch) as name:
        work = Path(name)
        db = duckdb.connect(str(work / "work.duckdb"))
        try:
            db.execute(f"SET memory_limit = '{memory_mb}MB'")
            db.execute(f"SET threads = {max(1, min(4, os.cpu_count() or 1))}")
            db.execute("SET temp_directory = ?", [str(work / "spill")])
            db.execute("SET preserve_insertion_order = false")
            db.execute("SET enable_progress_bar = false")
            yield db, work
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            hint = f"is there room in {work.parent}? --scratch names another"
            raise FatalError(f"the comparison failed: {error}", hint=hint) from error
        finally:
            db.close()
