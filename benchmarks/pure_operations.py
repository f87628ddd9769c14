"""What the pure decisions cost: `python benchmarks/pure_operations.py` prints microseconds, CPU time, the best of several runs.

Nothing is stubbed: the same functions as in a worker, on states as they are after hours of steady probing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from timeit import Timer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from monitor.core.balancer import Candidate, weigh
from monitor.core.breaker import Event, step
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.evaluate import settle
from monitor.core.outcome import Outcome, Result
from monitor.core.state import Breaker, BreakerState, EndpointState, Evidence

START_MS = 1_700_000_000_000
ENDPOINT = Endpoint(id="shop-1", url="http://127.0.0.1:9001/", pool="shop")
POOL = Pool(name="shop")


def best_us(operation: Callable[[], object]) -> float:
    """Microseconds of CPU per call: the best of seven runs of about 0.1 s."""
    timer = Timer(operation, timer=process_time)
    number = max(1, int(0.1 / max(timer.timeit(3) / 3, 1e-7)))
    return min(timer.repeat(7, number)) / number * 1e6


def success(at_ms: int, duration_ms: float) -> Result:
    return Result(outcome=Outcome.SUCCESS, at_ms=at_ms + 5, started_ms=at_ms, scheduled_ms=at_ms, duration_ms=duration_ms, status=200)


def steady_state(results: int) -> tuple[EndpointState, int]:
    state, now_ms = EndpointState(), START_MS
    for n in range(results):
        state = settle(ENDPOINT, POOL, state, None, success(now_ms, 5.0 + n % 7), now_ms + 6).state
        now_ms += ENDPOINT.interval_ms
    return state, now_ms


def candidates(n: int) -> list[Candidate]:
    """A pool as it is on a bad day: one in twenty is open, latencies differ."""
    return [
        Candidate(
            f"shop-{i}",
            100,
            Breaker.OPEN if i % 20 == 19 else Breaker.CLOSED,
            evidence=Evidence(3.5, 3.5, 10.0 + i % 50, 3.5, START_MS),
        )
        for i in range(n)
    ]


def main() -> None:
    state, now_ms = steady_state(3_000)
    seen = success(now_ms, 6.0)
    print(f"settle, steady success    {best_us(lambda: settle(ENDPOINT, POOL, state, None, seen, now_ms + 6)):10.2f} us")
    tripped = BreakerState()
    cost = best_us(lambda: step(tripped, Event.TRIP, endpoint_id="shop-1", pool=POOL, now_ms=now_ms, reason="", evidence={}))
    print(f"breaker step              {cost:10.2f} us")
    for n in (10, 100, 1000):
        members = candidates(n)
        published = weigh(POOL, members, None, 0, START_MS).weights
        cost = best_us(lambda members=members, published=published: weigh(POOL, members, published, START_MS, START_MS + 500))
        print(f"weigh, pool of {n:<5}      {cost:10.2f} us")


if __name__ == "__main__":
    main()
