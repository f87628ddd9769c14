"""More work than the machine can do: what cannot be done is left, what is done is done in time, and all is on time soon afterwards."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.core.process import decode_process
from tests.acceptance.system import CLOCK, HEARTBEAT_MS, Process, System, eventually
from tests.acceptance.targets import Targets
from tests.registering import register

INTERVAL_MS = 1_000
TIMES = 3
"""How many times what the machine can do is registered."""
FIRST = 6_000
FIRST_MAX = 96_000
"""So many are registered, and twice as many until the machine cannot do them: what it can do is measured under them."""
OVERLOADED = 0.9
"""A machine that does less than this part of what it is asked for can do no more."""
LATE_P99_MAX_MS = 5_000
WAIT_MAX_MS = 20_000
MEMORY_MAX_MB = 500
ON_TIME_WITHIN_S = 20
HANGING = 2_000
HEALTHY = 100


class Open:
    """A port whose connections are taken and closed at once: the cheapest target that there is."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def port() -> Iterator[int]:
    with contextlib.closing(Open()) as target:
        yield target.port


def tcp(port: int, first: int, last: int) -> dict[str, object]:
    """Endpoints e<first> to e<last - 1>, each in a pool with some others."""
    endpoints = [
        {"id": f"e{number}", "url": f"tcp://127.0.0.1:{port}", "pool": f"p{number % 20}", "interval": f"{INTERVAL_MS}ms", "timeout": "1s"}
        for number in range(first, last)
    ]
    return {"endpoints": endpoints}


def probes_per_second(system: System, seconds: float) -> float:
    """How many results are committed."""

    def made() -> tuple[int, int]:
        counters = system.execute(lambda store: store.counters())
        return sum(value for name, value in counters.items() if name in {"probes_success", "probes_failure"}), CLOCK.monotonic_ms()

    first, from_ms = made()
    passes(seconds)
    last, to_ms = made()
    return (last - first) * 1_000 / (to_ms - from_ms)


def passes(seconds: float) -> None:
    until_ms = CLOCK.monotonic_ms() + seconds * 1_000
    eventually(lambda: CLOCK.monotonic_ms() >= until_ms, seconds + 5)


def lateness_p99_ms(system: System) -> int:
    hearts = system.execute(lambda store: store.heartbeats(HEARTBEAT_MS * 20))
    return max(decode_process(heart).lateness_p99_ms for heart in hearts.values())


def overdue_ms(system: System) -> int:
    return system.execute(lambda store: store.due_overdue())[1]


def memory_mb(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1_024


@pytest.mark.timeout(240)
def test_three_times_the_load_that_can_be_done(system: System, port: int) -> None:
    processes = system.start("beat", "worker", "alert-worker")
    first, can_do = 0, float("inf")
    while can_do > OVERLOADED * first * 1_000 / INTERVAL_MS:
        first, before = 2 * first or FIRST, first
        assert first <= FIRST_MAX, f"{before} endpoints are no overload here: {can_do:.0f} probes/s"
        system.register(tcp(port, before, first))
        passes(6)
        can_do = probes_per_second(system, 5)
    count = max(first, int(TIMES * can_do * INTERVAL_MS / 1_000))
    system.register(tcp(port, first, count))
    passes(5)

    late, waits, memory = [], [], []
    for _ in range(20):
        passes(1)
        late.append(lateness_p99_ms(system))
        waits.append(overdue_ms(system))
        memory.append(max((memory_mb(process), process.name) for process in processes))
    counters = Counter(system.execute(lambda store: store.counters()))
    seen = f"{count} endpoints, {can_do:.0f} probes/s; late {late}; overdue {waits}; memory {max(memory)}; {dict(counters)}"
    print(seen)
    assert max(late) <= LATE_P99_MAX_MS, seen
    assert max(waits) <= WAIT_MAX_MS, seen
    assert max(memory)[0] <= MEMORY_MAX_MB, seen
    assert counters["prober_errors"] == 0, seen
    assert counters["probes_inconclusive"] <= counters["probes_success"] // 100, f"our own load is taken for the targets': {seen}"

    few = {f"e{number}" for number in range(100)}
    system.execute(lambda store: register(store, [], [f"e{number}" for number in range(count) if f"e{number}" not in few], []))
    passes(ON_TIME_WITHIN_S)
    eventually(lambda: lateness_p99_ms(system) < INTERVAL_MS and overdue_ms(system) < INTERVAL_MS, 3, "all to be on time again")


@pytest.mark.timeout(180)
def test_two_thousand_that_hang_delay_none_of_a_hundred_that_do_not(system: System, targets: Targets) -> None:
    healthy = [f"healthy{number}" for number in range(HEALTHY)]
    hanging = [f"hanging{number}" for number in range(HANGING)]
    for name in hanging:
        targets.mode[name] = "hang"
    system.start("beat", "worker", "alert-worker")
    common = {"interval": f"{INTERVAL_MS * 2}ms", "timeout": "2s"}
    endpoints = [{"id": name, "url": targets.url(name), "pool": name[:-1], **common} for name in healthy + hanging]
    system.register({"endpoints": endpoints})
    eventually(lambda: all(targets.seen[name] for name in healthy), 20)
    passes(10)
    began_ms = CLOCK.now_ms()
    passes(20)
    slots = (CLOCK.now_ms() - began_ms) // (INTERVAL_MS * 2)
    missed = {name: missing for name in healthy if (missing := slots - targets.since(name, began_ms)) > 1}
    assert not missed, f"of {slots} slots were missed: {missed}"
    found = system.execute(lambda store: store.endpoints(healthy))
    late = sorted(
        (at_ms - found[name].phase_ms) % (INTERVAL_MS * 2) for name in healthy for at_ms in targets.seen[name] if at_ms >= began_ms
    )
    p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    assert p50 < 200, f"half of them are later than {p50} ms"
    assert p99 < INTERVAL_MS, f"late by {late[-20:]} ms"
    assert not [name for name in healthy if system.breaker_events(name)]
    assert all(msgspec.to_builtins(system.record(name).probes.last)["outcome"] == "SUCCESS" for name in healthy)
