"""An event loop whose time passes only when nothing is left to do, so that hours run in seconds and a seed runs the same again."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any

EPOCH_MS = 1_700_000_000_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """When no callback is ready, jump to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0

    def time(self) -> float:
        return self._virtual_s

    def _run_once(self) -> None:
        if not self._ready:
            while self._scheduled and self._scheduled[0]._cancelled:
                heapq.heappop(self._scheduled)._scheduled = False
            if not self._scheduled:
                raise RuntimeError("the simulated world stands still: nothing is ready and no timer is set")
            self._virtual_s = max(self._virtual_s, self._scheduled[0]._when)
        super()._run_once()


class LoopClock:
    """The loop's time as a machine's clock, which may be wrong by `skew_ms`."""

    tilted = False

    def __init__(self, loop: asyncio.AbstractEventLoop, skew_ms: int = 0) -> None:
        self._loop = loop
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000) + self.skew_ms

    def monotonic_ms(self) -> int:
        return int(self._loop.time() * 1000)


def run(main: Coroutine[Any, Any, None], loop: VirtualLoop) -> None:
    """Run `main` to its end in virtual time and leave no task behind."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
