"""A worker takes no more probes than it can begin with, and none whose lease has ended."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from monitor.clock import FakeClock
from monitor.probes.network import LAG_MAX_S
from monitor.store.port import Lease
from tests.waiting import wait_for
from workers import tasks
from workers.journey.counters import Counters
from workers.runtime.services import PROBES_IN_FLIGHT_MAX, Runtime, Services


class Worker:
    """A runtime whose services are what admission reads, and nothing else."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.runtime = Runtime()
        self.counters = Counters()
        self.probing = SimpleNamespace(in_flight=0)
        self.soon = SimpleNamespace(close=lambda: self.closed.append(threading.current_thread()))
        self.closed: list[threading.Thread] = []
        self.runtime._services = cast(Any, SimpleNamespace(clock=self.clock, probing=self.probing, counters=self.counters, soon=self.soon))
        self.admitted: list[bool] = []

    def lease(self, ms: int) -> list[tuple[str, int, int]]:
        now_ms = self.clock.now_ms()
        return [("e", now_ms + ms, now_ms)]

    def ask(self, ms: int = 10_000) -> threading.Thread:
        leases = self.lease(ms)
        thread = threading.Thread(target=lambda: self.admitted.append(self.runtime.admit(leases)), daemon=True)
        thread.start()
        return thread

    def settled(self) -> bool:
        """Let the loop turn a few times, and say whether an answer came."""
        for _ in range(3):
            self.runtime.loop.run(asyncio.sleep(0.03), None)
        return bool(self.admitted)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.runtime.stop()
    loop = worker.runtime.loop.loop()
    loop.call_soon_threadsafe(loop.stop)


def test_an_idle_worker_takes_at_once(worker: Worker) -> None:
    worker.ask().join(5)
    assert worker.admitted == [True]


def test_a_full_worker_waits_until_there_is_room(worker: Worker) -> None:
    worker.probing.in_flight = PROBES_IN_FLIGHT_MAX
    thread = worker.ask()
    assert not worker.settled()
    worker.probing.in_flight -= 1
    thread.join(5)
    assert worker.admitted == [True]


def test_what_has_waited_until_its_lease_ended_is_not_taken(worker: Worker) -> None:
    worker.probing.in_flight = PROBES_IN_FLIGHT_MAX
    thread = worker.ask(ms=1_000)
    assert not worker.settled()
    worker.clock.advance(1_000)
    thread.join(5)
    assert worker.admitted == [False]
    assert not worker.runtime.admit([])


def test_a_busy_loop_is_waited_for(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop stands still, and time passes: it has enough to do. Then it comes at once: there is room."""
    standing, go_on = threading.Event(), threading.Event()
    turn, turns = worker.runtime.loop.turn, []

    def counted() -> None:
        turns.append(worker.clock.monotonic_ms())
        turn()

    monkeypatch.setattr(worker.runtime.loop, "turn", counted)

    def stand_still() -> None:
        standing.set()
        go_on.wait(5)

    worker.runtime.loop.loop().call_soon_threadsafe(stand_still)
    assert standing.wait(5)
    thread = worker.ask()
    wait_for(lambda: turns)
    assert worker.admitted == []
    worker.clock.advance(int(LAG_MAX_S * 1000) + 1)
    go_on.set()
    thread.join(5)
    assert worker.admitted == [True]
    assert len(turns) == 2, "a turn that came too late says that the loop is busy"


def test_a_worker_that_is_told_to_stop_takes_nothing_more(worker: Worker) -> None:
    worker.probing.in_flight = PROBES_IN_FLIGHT_MAX
    thread = worker.ask()
    assert not worker.settled()
    worker.runtime.stop()
    thread.join(5)
    assert worker.admitted == [False]
    worker.runtime.loop.turn()
    assert len(worker.closed) == 1, "nor does it claim what falls due"
    assert threading.current_thread() not in worker.closed


def test_leases_that_have_ended_are_dropped_and_counted_by_the_loops_thread(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms, threads = worker.clock.now_ms(), []
    add = worker.counters.add
    monkeypatch.setattr(worker.counters, "add", lambda *event: (threads.append(threading.current_thread()), add(*event)))
    worker.runtime.services.current = functools.partial(Services.current, worker.runtime.services)  # type: ignore[method-assign]
    monkeypatch.setattr(tasks, "RUNTIME", worker.runtime)
    assert tasks._leases([("a", now_ms, now_ms - 2), ("b", now_ms + 1, now_ms - 2)]) == [Lease("b", now_ms + 1, now_ms - 2)]
    worker.runtime.loop.turn()
    assert worker.counters.take() == {"hints_expired": 1}
    assert threading.current_thread() not in threads, "a heartbeat takes the counts meanwhile"
