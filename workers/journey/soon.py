"""Work done at its time by the process that made it due, without waiting for beat.

A queue's due time is the truth, and beat claims whatever is due. But it comes by every now and then, and through the
broker; a process that knows when a member falls due claims it itself, by name and at that moment. Whoever is first has it. What a
process that died had in mind, beat finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from monitor.clock import Clock
from monitor.core.errors import StoreError
from monitor.store.port import Lease, Store
from monitor.store.queues import QUEUES, Queue, due_time

TIMERS_MAX = 10_000
"""Timers that one process keeps; what comes beyond them is beat's."""
AHEAD_MAX_MS = 600_000
"""What falls due later than this is beat's as well: a timer for it would more likely outlive its purpose than serve it."""

log = logging.getLogger(__name__)

SoonAt = Callable[[Queue, int, str, int], None]
"""Is told a queue, its slot, a member and when it falls due (ms), so that nobody waits for beat (Soon.at); must return at once."""
Handler = Callable[[int, Sequence[Lease]], Awaitable[None]]
"""Does the work of some claimed members of one slot, as the queue's task does; what it raises is logged."""


class Soon:
    """One per process, on its event loop."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._handlers: dict[Queue, Handler] = {}
        self._timers: dict[tuple[Queue, int, str], tuple[int, asyncio.TimerHandle]] = {}
        self._ripe: dict[tuple[Queue, int], list[str]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, queue: Queue, handler: Handler) -> None:
        """Let this process do the work of a queue."""
        self._handlers[queue] = handler

    def at(self, queue: Queue, slot: int, member: str, due_ms: int) -> None:
        """Claim the member at `due_ms` and do the queue's work with it; of several times the earliest counts.

        Nothing happens where the process has no handler for the queue, keeps too many timers, or the time is too far ahead.
        """
        now_ms, due_ms = self._clock.now_ms(), due_time(due_ms)
        key = (queue, slot, member)
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= due_ms:
                return
            known[1].cancel()
        elif queue not in self._handlers or due_ms - now_ms > AHEAD_MAX_MS or len(self._timers) >= TIMERS_MAX:
            return
        timer = asyncio.get_running_loop().call_later(max(0, due_ms - now_ms) / 1000, self._ripen, key)
        self._timers[key] = due_ms, timer

    def close(self) -> None:
        """Claim nothing from now on: a lease of a process that ends would only keep beat from what falls due."""
        self._handlers.clear()
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _ripen(self, key: tuple[Queue, int, str]) -> None:
        """Members that ripen in one turn of the loop are claimed together."""
        del self._timers[key]
        queue, slot, member = key
        place = (queue, slot)
        if place not in self._ripe:
            self._ripe[place] = []
            asyncio.get_running_loop().call_soon(self._start, place)
        self._ripe[place].append(member)

    def _start(self, place: tuple[Queue, int]) -> None:
        members, handler = self._ripe.pop(place), self._handlers.get(place[0])
        if handler is None:  # Closed meanwhile.
            return
        size = QUEUES[place[0]].chunk
        for first in range(0, len(members), size):
            task = asyncio.ensure_future(self._work(handler, *place, members[first : first + size]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self, handler: Handler, queue: Queue, slot: int, members: Sequence[str]) -> None:
        try:
            leases = await self._store.claim(queue, slot, len(members), QUEUES[queue].lease_ms, members)
            if leases:
                await handler(slot, leases)
        except StoreError as error:
            log.warning("%d members of %s wait for beat: %s", len(members), queue, error)
        except Exception:
            log.exception("members of %s could not be served", queue)
