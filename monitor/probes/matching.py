"""Where others' bytes are matched: on the event loop while that is cheap at the worst, else on threads beside it.

RE2 lets go of the interpreter while it matches, so that the loop goes on. A match that has begun cannot be stopped: it ends at its
own time, which pattern.py bounds, and until then the probe that asked for it gets no other. One that may last for long never stands
in the way of those that cannot.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

from monitor.core.durations import format_duration
from monitor.probes.network import Count

T = TypeVar("T")

LOOP_WORK_MAX = 500_000
"""Instructions times bytes that are matched on the loop: 3 ms at the worst, some microseconds as a rule."""
QUICK_WORK_MAX = 25_000_000
"""A match of so much is over after 0.2 s at the worst."""
THREADS_MAX = 4
"""Threads for matches that are quick, and as many for those that may not be."""
NICE = 10
"""How far these threads stand back behind the loop where all want a processor."""
SHARE_MIN = 0.5
"""A match that had a processor for less of its time than this was held up by us."""


def _let_the_process_end() -> None:
    """A match that ends while the interpreter does would abort it all: Python ends its thread inside of C++, which does not allow that.

    That thread waits for the end of the process instead.
    """
    with contextlib.suppress(OSError, AttributeError):  # where C++ has another library
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p))


atexit.register(_let_the_process_end)


class Late(NamedTuple):
    """There is no verdict by the deadline.

    `ours` is true where the match had too little of a processor for anything to follow about the text.
    """

    ours: bool

    def text(self, size: int, timeout_ms: int) -> str:
        """What to say of it; `size` is that of the text."""
        if self.ours:
            return f"no processor was free to match {size} bytes within {format_duration(timeout_ms)}"
        return f"timeout after {format_duration(timeout_ms)}: {size} bytes were still being matched, for which the pattern is too costly"


class _Match(Generic[T]):
    """One match, from the moment it is asked for; `ended` is where its loop hears of it."""

    def __init__(self, judge: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._judge = judge
        self._future: Future[T] = Future()
        self.ended: asyncio.Future[T] = asyncio.wrap_future(self._future, loop=loop)
        self._begun = perf_counter()
        self._cpu_clock = 0
        self._cpu_begun = 0.0
        self.cpu_s = 0.0

    def execute(self) -> None:
        """On a thread: find the verdict, unless nobody waits for it any more."""
        if not self._future.set_running_or_notify_cancel():
            return
        self._cpu_begun = time.thread_time()
        if sys.platform == "linux":
            self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        try:
            verdict = self._judge()
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self.cpu_s = time.thread_time() - self._cpu_begun
            self._future.set_result(verdict)

    def give_up(self) -> Late:
        """Why there is no verdict by now. What has not begun never will; what has goes on."""
        if self._future.cancel():
            return Late(ours=True)
        had_s = time.clock_gettime(self._cpu_clock) - self._cpu_begun if self._cpu_clock else 0.0
        return Late(ours=had_s < (perf_counter() - self._begun) * SHARE_MIN)


class _Threads:
    """At most THREADS_MAX threads, started when needed, that hold up no process that ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._matches: SimpleQueue[_Match[Any] | None] = SimpleQueue()
        self._started = 0

    def take(self, match: _Match[Any]) -> None:
        if self._started < THREADS_MAX:
            self._started += 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        self._matches.put(match)

    def close(self) -> None:
        for _ in range(self._started):
            self._matches.put(None)

    def _serve(self) -> None:
        if sys.platform == "linux":  # Elsewhere it would hold for the whole process.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while (match := self._matches.get()) is not None:
            match.execute()


class Matching:
    """The threads of one event loop; they are counted for what they cost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: Count) -> None:
        self._loop = loop
        self._count = count
        self._quick, self._slow = _Threads("match"), _Threads("match-slow")
        self._running: dict[object, _Match[Any]] = {}

    async def run(self, who: object, work: int, judge: Callable[[], T], deadline: float) -> T | Late:
        """What `judge` finds, on a thread; `deadline` is on perf_counter's scale. One at a time for each `who`, an earlier one first."""
        earlier = self._running.get(who)
        if earlier is not None and not await _done(earlier.ended, deadline):
            return self._late(earlier)
        match = _Match(judge, self._loop)
        self._running[who] = match
        match.ended.add_done_callback(lambda _: self._forget(who, match))
        (self._quick if work <= QUICK_WORK_MAX else self._slow).take(match)
        if await _done(match.ended, deadline):
            return match.ended.result()
        return self._late(match)

    def close(self) -> None:
        """Let the threads end; what they match ends with the process at the latest."""
        for match in self._running.values():
            match.ended.cancel()
        self._quick.close()
        self._slow.close()

    def _late(self, match: _Match[Any]) -> Late:
        self._count("matches_late", 1)
        return match.give_up()

    def _forget(self, who: object, match: _Match[Any]) -> None:
        if self._running.get(who) is match:
            del self._running[who]
        if match.cpu_s:
            self._count("matches_beside_loop", 1)
            self._count("matching_cpu_us", int(match.cpu_s * 1e6))


async def _done(ended: asyncio.Future[Any], deadline: float) -> bool:
    await asyncio.wait({ended}, timeout=max(0.0, deadline - perf_counter()))
    return ended.done()
