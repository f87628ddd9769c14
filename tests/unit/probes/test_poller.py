"""Who waits for a socket is told, however many others are ready too, and the event loop has its turn between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter

from monitor.probes.poller import EVENTS_MAX, READ, SLICE_S, EpollPoller

SOCKETS = 3 * EVENTS_MAX


def test_many_that_are_always_ready_and_slow_starve_neither_one_another_nor_the_loop() -> None:
    told: Counter[int] = Counter()
    turns: list[int] = []

    class Slow:
        def __init__(self, number: int) -> None:
            self.number = number

        def on_ready(self, _: int) -> None:
            told[self.number] += 1
            time.sleep(SLICE_S / EVENTS_MAX)

    async def main() -> None:
        poller = EpollPoller(asyncio.get_running_loop())
        with contextlib.ExitStack() as stack:
            for number in range(SOCKETS):
                one, other = socket.socketpair()
                stack.enter_context(one)
                stack.enter_context(other).send(b"x")  # Nobody reads it: it stays ready.
                poller.watch(one.fileno(), READ, Slow(number))
            while len(told) < SOCKETS:
                await asyncio.sleep(0)
                turns.append(sum(told.values()))
            poller.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    steps = [after - before for before, after in zip([0, *turns], turns, strict=False)]
    assert max(steps) <= 2 * EVENTS_MAX
    assert max(told.values()) - min(told.values()) <= 1
