"""What the pure decisions and a consumer's pick cost: CPU time of this process, nothing stubbed.

The functions are those of a worker, on states as they are after hours of steady probing.
"""

from __future__ import annotations

import os
import statistics
from time import process_time
from timeit import Timer

from msgspec.structs import replace

from benchmarks.lab import Report, Scale, say
from monitor.client import HealthView, PublishedEndpoint, Snapshot
from monitor.client.counts import Counts, entries
from monitor.client.view import Fetch, View
from monitor.client.wheel import equal_weights, wheel
from monitor.core.breaker import Course, Event, Opening, step
from monitor.core.decide import decide
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome, Result
from monitor.core.record import Breaker, BreakerState, Evidence, Record, Source
from monitor.core.reports import encode_report
from monitor.core.subject import Subject
from monitor.pool.balancer import Candidate, weigh

START_MS = 1_700_000_000_000
ENDPOINT = Endpoint(id="shop-1", url="http://127.0.0.1:9001/", pool="shop")
POOL = Pool(name="shop")
SUBJECT = Subject(ENDPOINT, POOL)
REPEATS = 11
RUN_S = 0.05

Row = dict[str, str | float]


def cost(name: str, statement: str, **names: object) -> Row:
    """Microseconds of CPU for each time the statement runs: median, best and worst of several runs."""
    timer = Timer(statement, timer=process_time, globals=names)
    number = max(1, int(RUN_S / max(timer.timeit(3) / 3, 1e-7)))
    runs = sorted(run / number * 1e6 for run in timer.repeat(REPEATS, number))
    figures = {"median us": statistics.median(runs), "best us": runs[0], "worst us": runs[-1]}
    return {"operation": name, **{key: float(f"{value:.3g}") for key, value in figures.items()}}


def success(at_ms: int, duration_ms: float) -> Result:
    return Result(outcome=Outcome.SUCCESS, at_ms=at_ms + 5, started_ms=at_ms, scheduled_ms=at_ms, duration_ms=duration_ms, status=200)


def steady_record(results: int) -> tuple[Record, int]:
    """The record after so many successes, and the time after them."""
    record, now_ms = Record(), START_MS
    for n in range(results):
        record = decide(SUBJECT, record, success(now_ms, 5.0 + n % 7), now_ms + 6).record
        now_ms += ENDPOINT.interval_ms
    return record, now_ms


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


def published(count: int) -> Snapshot:
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


def reporting() -> list[Row]:
    """What a report costs its request, counting included; and what becomes of a second's counters later, each."""
    view = HealthView.from_snapshots([published(10)])
    first, *others = published(10).endpoints
    tried = replace(first, weight=10, breaker="HALF_OPEN", trial_share=0.01)
    trying = HealthView.from_snapshots([replace(published(10), endpoints=(tried, *others))])
    rows = [
        cost("pick, one of 10 is tried", "pick('shop')", pick=trying.pick),
        cost("report a success", "report('shop-1', 'success', 0.012, 200)", report=view.report),
        cost("report a failure", "report('shop-2', 'failure', 0.012, 503)", report=view.report),
        cost("pick and report", "report(pick('shop'), 'success', 0.012, 200)", report=view.report, pick=view.pick),
    ]
    counted = Counts()
    for index in range(10_000):
        counted.add(f"shop-{index % 100}", "success", index / 10_000, 200)
    cells = counted.take()
    whole = cost(
        "entries of a second", "encode(entries(cells, pool_of))", encode=encode_report, entries=entries, cells=cells, pool_of=_shop
    )
    each = {name: float(f"{value / len(cells):.3g}") for name, value in whole.items() if not isinstance(value, str)}
    return [*rows, {"operation": "write a counter into its entry", **each}]


def _shop(_: str) -> str:
    return "shop"


def operations(_: Scale) -> list[Report]:
    say("pure operations")
    record, now_ms = steady_record(3_000)
    rows = [
        cost(
            "breaker step",
            "step(state, trip, endpoint_id='shop-1', policy='consecutive', times=times, now_ms=now_ms)",
            step=step, state=BreakerState(), trip=Course(Event.TRIP, Source.ACTIVE, "", ""), now_ms=now_ms,
            times=Opening(5_000, 300_000, 10),
        ),
        cost(
            "decide, steady success",
            "decide(subject, record, result, now_ms + 6)",
            decide=decide, subject=SUBJECT, record=record, result=success(now_ms, 6.0), now_ms=now_ms,
        ),
    ]  # fmt: skip
    for count in (10, 100, 1_000):
        members = candidates(count)
        weights = weigh(POOL, members, None, 0, START_MS).weights
        call = "weigh(pool, members, weights, then_ms, now_ms)"
        names = {"pool": POOL, "members": members, "weights": weights, "then_ms": START_MS, "now_ms": START_MS + 500}
        rows.append(cost(f"weigh, pool of {count}", call, weigh=weigh, **names))
    for count in (3, 10, 100, 1_000):
        snapshot = published(count)
        rows.append(cost(f"pick, pool of {count}", "pick('shop')", pick=HealthView.from_snapshots([snapshot]).pick))
        build = "View(source).offer(snapshot, fetch)"
        rows.append(cost(f"build the view of {count}", build, View=View, source=os.urandom, snapshot=snapshot, fetch=Fetch(0, None, 0)))
    rows += reporting()
    wheels = {"shop": wheel([(object(), weight) for weight in equal_weights(10)], os.urandom)}
    rows.append(cost("floor: an empty method", "pick('shop')", pick=Floor().pick))
    rows.append(cost("floor: look-up and next", "next(wheels['shop'])", wheels=wheels))
    return [Report("Pure operations", rows)]
