"""An event loop whose time passes only when nothing is left to do, and processes in it that can be killed.

Hours run in seconds and a seed runs the same again. A killed process stops where it stands: none of its coroutines is ever resumed
or closed, so no `finally` and no `except` of it runs. Whatever it has sent before is on its way all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

NOBODY = contextvars.Context()
"""For what belongs to no process: the network, the weather, the world outside."""


class Life:
    """One process from its start to its end. Its tasks are kept here: a task that nobody holds would be closed by the collector."""

    __slots__ = ("alive", "died_s", "ended", "loop", "name", "part", "served_s", "tasks")

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.loop = loop
        self.part: Any = None
        """What runs in it."""
        self.alive = True
        self.died_s = float("inf")
        self.served_s = 0.0
        """When the server last did something that it had asked for, seconds."""
        self.ended: asyncio.Future[None] = loop.create_future()
        self.tasks: list[asyncio.Task[Any]] = []
        loop.lives.append(self)

    def __repr__(self) -> str:
        return f"<{self.name} {'alive' if self.alive else 'dead'}>"

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that belongs to this process, with everything that it starts itself."""
        return self.loop.create_task(work, context=self.context())

    def context(self) -> contextvars.Context:
        """A context in which whatever runs belongs to this process."""
        context = NOBODY.copy()
        context.run(_life.set, self)
        return context

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            self.died_s = self.loop.time()
        self.alive = False
        if not self.ended.done():
            self.ended.set_result(None)


_life: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """When no callback is ready, jump to the next timer; callbacks of the dead are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self._virtual_s = 0.0
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._virtual_s

    def now_ms(self) -> int:
        """Milliseconds since the world began."""
        return round(self._virtual_s * 1000)

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise RuntimeError("the simulated world stands still: nothing is ready and no timer is set")
            self._virtual_s = max(self._virtual_s, timers[0]._when)
        while timers and timers[0]._when <= self._virtual_s:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            owner = handle._context.get(_life)
            if not handle._cancelled and (owner is None or owner.alive):
                handle._run()

    def _check_closed(self) -> None:
        """What the dead still hold may call after the end: it is taken, and never run."""

    def _write_to_self(self) -> None: ...

    def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **kwargs: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **kwargs)
    context = kwargs.get("context")
    life = context.get(_life) if context is not None else _life.get()
    if life is not None:
        life.tasks.append(task)
        if len(life.tasks) % 256 == 0:
            life.tasks[:] = [one for one in life.tasks if not one.done()]
    return task


def current_life() -> Life | None:
    """The process that the running code belongs to."""
    return _life.get()


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run `main` to its end in virtual time, then let everything else go: every process dies with it."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.set_exception_handler(lambda *_: None)
        _bury(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _bury(loop: VirtualLoop) -> None:
    """Take the dead's coroutines apart while nothing of them can reach anybody (Link refuses the dead, and the loop runs no more)."""
    tasks = [task for life in loop.lives for task in life.tasks if not task.done()]
    tasks += [task for task in asyncio.all_tasks(loop) if task not in tasks]
    for life in loop.lives:
        life.kill()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        for _ in range(3):
            with contextlib.suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
