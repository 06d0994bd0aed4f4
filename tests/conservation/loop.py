"""An event loop that moves only when told: virtual time, and work for threads done at once or held back.

It knows nothing of the agent that runs on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

STEPS = 100_000
"""More turns than any step needs. Chosen: a loop that is still busy after that never ends."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """`step` runs everything that can run now; `advance` moves the clock. Nothing sleeps and nothing runs in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.holding: set[str] = set()
        """Names of functions that wait for `release` instead of being run at once."""
        self.dropping: set[str] = set()
        """Names of functions that are not run any more."""
        self._held: list[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def time(self) -> float:
        """Virtual seconds."""
        return self.at

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Call it here and now, unless it is held."""
        done = self.create_future()
        name = getattr(func, "__name__", "")
        if name in self.dropping:
            done.cancel()
        elif name in self.holding:
            self._held.append((done, func, args))
        else:
            self._call(done, func, args)
        return done

    def release(self, count: int = 1) -> None:
        """Run so many of the held calls, oldest first."""
        for _ in range(min(count, len(self._held))):
            self._call(*self._held.pop(0))

    def step(self) -> None:
        """Run until nothing is ready."""
        for _ in range(STEPS):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]  # the only way to know; there since Python 3.4
                return
        raise AssertionError("the agent never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, one due timer after the other, as a clock would."""
        end = self.at + seconds
        while True:
            self.step()
            due = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]  # likewise
            if not due or min(due) > end:
                break
            self.at = max(self.at, min(due))
        self.at = end
        self.step()

    @staticmethod
    def _call(done: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if done.cancelled():
            return
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001  an executor hands on whatever it was
            done.set_exception(error)
        else:
            done.set_result(result)
