"""Changes of endpoints, for one watcher: an iterator and an async iterator at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from monitor.client.records import Change


class Watch:
    """Begins with every endpoint now known (`old` None), then gives each change; ends when it or its view is closed.

    A watcher that is slow loses no final state and costs no memory: changes of one endpoint that wait for it are merged
    into one, from the first `old` to the last `new`.
    """

    def __init__(self, pool: str | None, on_close: Callable[[Watch], None]) -> None:
        self._pool = pool
        self._on_close = on_close
        self._waiting: dict[str, Change] = {}
        self._changed = threading.Condition()
        self._wakers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._closed = False

    def push(self, changes: Iterable[Change]) -> None:
        """Called by the view, from its own thread."""
        with self._changed:
            for change in changes:
                if self._pool is None or change.pool == self._pool:
                    self._merge(change)
            self._wake()

    def close(self) -> None:
        """End the iteration, also for whoever waits in it."""
        with self._changed:
            self._closed = True
            self._wake()
        self._on_close(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Change:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    raise StopIteration
                self._changed.wait()
            return self._pop()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Change:
        waker = asyncio.get_running_loop(), asyncio.Event()
        while True:
            with self._changed:
                if self._waiting:
                    return self._pop()
                if self._closed:
                    raise StopAsyncIteration
                self._wakers.append(waker)
            try:
                await waker[1].wait()
            finally:
                with self._changed:
                    if waker in self._wakers:
                        self._wakers.remove(waker)
            waker[1].clear()

    def _merge(self, change: Change) -> None:
        key = f"{change.pool}\0{change.id}"
        waiting = self._waiting.pop(key, None)
        old = waiting.old if waiting else change.old
        if old != change.new:
            self._waiting[key] = Change(change.pool, change.id, old, change.new, change.why)

    def _pop(self) -> Change:
        return self._waiting.pop(next(iter(self._waiting)))

    def _wake(self) -> None:
        self._changed.notify_all()
        for loop, event in self._wakers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        self._wakers.clear()
