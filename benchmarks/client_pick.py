"""What one pick costs: `python -m benchmarks.client_pick`.

Prints nanoseconds per pick (median and worst of the repeats, the loop's own cost taken off), the floor (an empty Python method,
and the dictionary look-up with `next` alone), and what a new version costs to build.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable

from monitor.client import HealthView, PublishedEndpoint, Snapshot
from monitor.client.view import Fetch, View
from monitor.client.wheel import equal_weights, wheel

CALLS = 200_000
REPEATS = 15


def pool_of(count: int) -> Snapshot:
    endpoints = tuple(
        PublishedEndpoint(
            id=f"shop-{index}", url=f"http://10.0.0.1:{index + 1}/health", addr="10.0.0.1", port=index + 1, labels={"team": "shop"},
            weight=weight, breaker="CLOSED", override=None, gen=0, verdict="HEALTHY", since_ms=0, open_until_ms=0, latency_ms=3, reason="",
        )
        for index, weight in enumerate(equal_weights(count))
    )  # fmt: skip
    return Snapshot(pool="shop", epoch=1, ver=1, ts_ms=0, panic=0.0, shed=0.0, endpoints=endpoints)


class Floor:
    def pick(self, pool: str) -> str:
        return pool


def nanoseconds(call: Callable[[str], object]) -> tuple[float, float]:
    """Median and worst, over the repeats, of one call's mean."""
    samples = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        for _ in itertools.repeat(None, CALLS):
            pass
        empty = time.perf_counter_ns() - start
        start = time.perf_counter_ns()
        for _ in itertools.repeat(None, CALLS):
            call("shop")
        samples.append((time.perf_counter_ns() - start - empty) / CALLS)
    return statistics.median(samples), max(samples)


def build_microseconds(snapshot: Snapshot) -> float:
    samples = []
    for _ in range(20):
        view = View(os.urandom)
        start = time.perf_counter_ns()
        view.offer(snapshot, Fetch(0, None, 0))
        samples.append((time.perf_counter_ns() - start) / 1_000)
    return statistics.median(samples)


def main() -> None:
    print(f"{'endpoints':>9}  {'pick ns':>8}  {'worst ns':>8}  {'new version us':>14}")
    for count in (3, 10, 100, 1_000):
        snapshot = pool_of(count)
        median, worst = nanoseconds(HealthView.from_snapshots([snapshot]).pick)
        print(f"{count:>9}  {median:>8.0f}  {worst:>8.0f}  {build_microseconds(snapshot):>14.0f}")
    wheels = {"shop": wheel([(object(), weight) for weight in equal_weights(10)], os.urandom)}
    empty, bare = nanoseconds(Floor().pick)[0], nanoseconds(lambda pool: next(wheels[pool]))[0]
    print(f"floor: an empty method {empty:.0f} ns; a function with the look-up and next() {bare:.0f} ns")


if __name__ == "__main__":
    main()
