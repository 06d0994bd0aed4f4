"""The kernel's word that a file came or went, as a hint to look sooner.

It is never the truth: polling is, and goes on where the kernel has no watches left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

_KINDS: list[type[FileSystemEvent]] = [FileCreatedEvent, FileDeletedEvent, FileMovedEvent, DirDeletedEvent, DirMovedEvent]
"""Create, delete and move only: modify events cost 7 % of a core at 500 appends a second (design: polling)."""


class Watch(FileSystemEventHandler):
    """One observer over the folders of a reader; `wake` is called from its thread."""

    def __init__(self, wake: Callable[[], object], log: logging.Logger) -> None:
        self._wake = wake
        self._log = log
        self._observer = Observer()
        self._watched: dict[str, ObservedWatch] = {}
        self._started = False
        self._failed = False

    def follow(self, folders: Collection[str]) -> None:
        """Watch exactly these folders. Where the kernel refuses, that is said once and polling must do."""
        for folder in self._watched.keys() - set(folders):
            self._observer.unschedule(self._watched.pop(folder))
        for folder in set(folders) - self._watched.keys():
            if self._failed:
                return
            try:
                if not self._started:
                    self._observer.start()
                    self._started = True
                self._watched[folder] = self._observer.schedule(self, folder, event_filter=_KINDS)
            except FileNotFoundError:
                continue
            except (OSError, RuntimeError) as error:
                self._failed = True
                extra = {"directory": folder, "reason": str(error)}
                self._log.warning("kernel gives no more watches, polling goes on", extra=extra)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """See FileSystemEventHandler."""
        try:
            self._wake()
        except RuntimeError:
            return  # the loop has ended; so will this observer

    def close(self) -> None:
        """Stop watching, without waiting for the observer's threads."""
        if self._started:
            self._observer.stop()
