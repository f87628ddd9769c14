"""The policies played in virtual time, from seeds: how soon each opens, how often without reason, and what a call costs.

Every call is played one by one through the functions of production, in the order and at the time at which it ends. Figures are of
independent failures, which real ones are not; "bursts" shows the difference.
"""

from __future__ import annotations

import contextlib
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from benchmarks.lab import QUICK, Report, Scale, say
from benchmarks.operations import Row, cost
from monitor.core.policies import POLICIES
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.options import read_settings
from monitor.core.policies.policy import Member, Policy
from monitor.core.record import Breaker, BreakerState

SUCCESS, GRAY, HARD = Call(CallOutcome.SUCCESS, duration_ms=10.0), Call(CallOutcome.FAILURE), Call(CallOutcome.TIMEOUT)
WARM_S = 40
CALLS_MAX = {1: 2_000, 1_000: 30_000}
"""By calls a second: a policy that has seen so many has not found what fails."""


@dataclass(frozen=True)
class Contestant:
    """A policy with settings, and how its failures look: gray ones, unless it tells the difference."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    bad: Call = GRAY


CONTESTANTS = (
    Contestant("cusum, hard failures", "cusum", {}, HARD),
    Contestant("cusum, gray failures", "cusum", {}),
    Contestant("hystrix (20 calls, 50 %)", "hystrix", {}),
    Contestant("resilience4j (100 calls, 50 %)", "resilience4j", {}),
    Contestant("resilience4j (20 calls, 50 %)", "resilience4j", {"sliding_window_size": 20, "minimum_number_of_calls": 20}),
    Contestant("envoy (5 in a row)", "envoy", {"max_ejection_percent": 100}),
)


class Pool:
    """Members of one pool, played as production plays them: what is due first, then the calls."""

    def __init__(self, contestant: Contestant, members: int) -> None:
        self.policy: Policy = POLICIES[contestant.kind]
        self.settings = read_settings(self.policy.settings, contestant.settings)
        self.members = [Member(f"e{n}", BreakerState(), self.policy.begin(self.settings, 0)) for n in range(members)]
        self.bad = contestant.bad
        self.opened: dict[int, int] = {}
        self._gathered: tuple[int, Any] = (-1, None)

    def end(self, place: int, good: bool, now_ms: int, times: int = 1) -> bool:
        """So many equal calls of one member end; whether it has opened."""
        self.pass_time(now_ms)
        call = SUCCESS if good else self.bad
        call = call if times == 1 else Call(call.outcome, times, call.duration_ms)
        step = self.policy.observe(self.settings, self.members[place], call, self.gathered(now_ms), now_ms)
        self._take(place, step)
        return self.members[place].breaker.state is not Breaker.CLOSED

    def pass_time(self, now_ms: int) -> None:
        while True:
            due = [due_ms for member in self.members if 0 < (due_ms := self.policy.due_ms(self.settings, member)) <= now_ms]
            if not due:
                return
            at_ms = min(due)
            for place, member in enumerate(self.members):
                if self.policy.due_ms(self.settings, member) == at_ms:
                    self._take(place, self.policy.tick(self.settings, member, at_ms))
            if self.policy.relative:
                self._gathered = (-1, None)
                for place, member in enumerate(self.members):
                    self._take(place, self.policy.compare(self.settings, member, self.gathered(at_ms), at_ms))

    def gathered(self, now_ms: int) -> Any:
        """As the judge of traffic has it: once for each second."""
        if not self.policy.relative:
            return None
        if self._gathered[0] != now_ms // 1000:
            self._gathered = now_ms // 1000, self.policy.gather(self.settings, self.members, now_ms)
        return self._gathered[1]

    def _take(self, place: int, step: Any) -> None:
        self.members[place] = step.member
        for change in step.changes:
            if change.new in ("open", "ejected"):
                self.opened.setdefault(place, change.at_ms)


def warm(contestant: Contestant, members: int, rate: int) -> Pool:
    """A pool that has had good calls for a while."""
    pool = Pool(contestant, members)
    for second in range(WARM_S):
        for place in range(members):
            pool.end(place, True, second * 1000, rate)
    return pool


def calls_to_detect(contestant: Contestant, share: float, rate: int, seed: int) -> tuple[int, float] | None:
    """Calls, and seconds, from the first that may fail until the breaker is open; None: it has not opened after CALLS_MAX."""
    draw = random.Random(f"{seed} {share} {rate}")
    pool = warm(contestant, 1, rate)
    begin_ms = WARM_S * 1000 + draw.randrange(1000)
    for n in range(begin_ms - WARM_S * 1000 if rate >= 1000 else 0):  # The second in which it begins to fail began well.
        pool.end(0, True, WARM_S * 1000 + n)
    for n in range(1, CALLS_MAX[rate] + 1):
        now_ms = begin_ms + n * 1000 // rate
        if pool.end(0, draw.random() >= share, now_ms):
            return n, (pool.opened[0] - begin_ms) / 1000
    return None


def detection(runs: int, rate: int) -> Report:
    rows: list[Row] = []
    for contestant in CONTESTANTS:
        row: Row = {"policy": contestant.name}
        for share in (1.0, 0.9, 0.7, 0.5, 0.4, 0.3):
            found = [calls_to_detect(contestant, share, rate, seed) for seed in range(1 if share == 1.0 and rate == 1 else runs)]
            seen = [calls for calls, _ in filter(None, found)]
            row[f"{share:.0%}".replace("%", " %")] = (
                mean(seen) if len(seen) > 0.9 * len(found) else f"{len(found) - len(seen)} of {len(found)} never"
            )
        rows.append(row)
    notes = [
        f"Mean calls until it opens, from when so many begin to fail; {runs} runs. never: not in {CALLS_MAX[rate]:,} calls.",
        "One second of gray failures never trips cusum: at 1,000 calls a second it takes the rest of that second, and some calls more.",
    ]
    return Report(f"Calls until a breaker opens, at {rate:,} a second", rows, notes)


def mean(values: Sequence[float]) -> float:
    return float(f"{statistics.mean(values):.3g}")


def false_ejections(calls: int) -> Report:
    rows: list[Row] = []
    for contestant in CONTESTANTS:
        row: Row = {"policy": contestant.name}
        for share in (0.02, 0.05, 0.1):
            draw = random.Random(f"false {share}")
            pool, opened = warm(contestant, 1, 1_000), 0
            for n in range(calls):
                if pool.end(0, draw.random() >= share, WARM_S * 1000 + n):
                    opened += 1
                    pool = warm(contestant, 1, 1_000)
                    pool.pass_time(WARM_S * 1000 + n)
            row[f"{share:.0%}".replace("%", " %")] = opened
        rows.append(row)
    return Report(
        f"Openings in {calls:,} calls of which so many fail, at 1,000 a second",
        rows,
        ["An endpoint alone, so that cusum compares with 5 %."],
    )


def shared(seconds: int) -> Report:
    """All of ten members fail alike: nobody is worse. Then three of ten are worse."""
    rows: list[Row] = []
    for contestant in CONTESTANTS:
        row: Row = {"policy": contestant.name}
        for title, shares in (
            ("all at 80 %", [0.8] * 10),
            ("all at 100 %", [1.0] * 10),
            ("3 of 10 at 50 %", [0.5] * 3 + [0.0] * 7),
            ("1 at 100 %, 9 at 80 %", [1.0] + [0.8] * 9),
        ):
            draw = random.Random(f"shared {title}")
            pool = warm(contestant, 10, 20)
            for n in range(seconds * 20):
                now_ms = WARM_S * 1000 + n * 50
                for place, share in enumerate(shares):
                    if place not in pool.opened:
                        pool.end(place, draw.random() >= share, now_ms)
            row[title] = f"{len(pool.opened)} of 10"
        rows.append(row)
    return Report(f"Members of a pool of ten that are ejected within {seconds} s, at 20 calls a second each", rows)


def bursts(runs: int) -> Report:
    """An endpoint that is all right but for a moment in which nothing answers."""
    rows: list[Row] = []
    for contestant in CONTESTANTS:
        row: Row = {"policy": contestant.name}
        for length_ms in (100, 300, 1_000, 2_000, 5_000):
            opened = 0
            for seed in range(runs):
                pool = warm(contestant, 1, 100)
                begin_ms = WARM_S * 1000 + random.Random(f"burst {seed}").randrange(1000)
                for now_ms in range(WARM_S * 1000, begin_ms + length_ms + 2_000, 10):
                    pool.end(0, not begin_ms <= now_ms < begin_ms + length_ms, now_ms)
                opened += bool(pool.opened)
            row[f"{length_ms / 1000:g} s"] = f"{100 * opened / runs:.0f} %"
        rows.append(row)
    return Report(f"Bursts of nothing but failures, at 100 calls a second: how many of {runs} open the breaker", rows)


def steps() -> Report:
    """What one call costs, success after success a millisecond apart, and once a second."""
    rows: list[Row] = []
    for kind in POLICIES:
        for title, gap_ms in (("at 1,000 calls a second", 1), ("at 1 call a second", 1_000)):
            pool = Pool(Contestant(kind, kind, {}), 3)
            for second in range(WARM_S):
                for place in range(3):
                    pool.end(place, True, second * 1000, 100)
            stepped = partial(_stepped, pool.policy, pool.settings, pool.members[0], pool.gathered(WARM_S * 1000), gap_ms)
            rows.append(cost(f"{kind}, {title}", "step()", step=stepped()))
    for name, step in _peers():
        rows.append(cost(name, "step()", step=step))
    return Report(
        "A call's step through a policy", rows, ["Ticks that fall due between two calls are in it. Peers: a call through their breaker."]
    )


def _stepped(policy: Policy, settings: Any, member: Member[Any], gathered: Any, gap_ms: int) -> Any:
    times = count(WARM_S * 1000, gap_ms)
    observe, due, tick = policy.observe, policy.due_ms, policy.tick

    def step() -> None:
        nonlocal member
        now_ms = next(times)
        while 0 < (due_ms := due(settings, member)) <= now_ms:
            member = tick(settings, member, due_ms).member
        member = observe(settings, member, SUCCESS, gathered, now_ms).member

    return step


def _peers() -> Iterable[tuple[str, Any]]:
    """The breakers of other Python packages, where they are installed."""
    with contextlib.suppress(ImportError):
        import pybreaker  # type: ignore[import-not-found]  # noqa: PLC0415

        yield "pybreaker, a successful call", partial(pybreaker.CircuitBreaker(fail_max=5).call, int)
    with contextlib.suppress(ImportError):
        from purgatory import SyncCircuitBreakerFactory  # type: ignore[import-not-found]  # noqa: PLC0415

        breaker = SyncCircuitBreakerFactory(default_threshold=5)("shop")(int)
        yield "purgatory, a successful call", breaker


def breakers(scale: Scale) -> list[Report]:
    quick = scale is QUICK
    say("policies in virtual time")
    runs, calls = (20, 20_000) if quick else (100, 1_500_000)
    reports = [steps()]
    reports += [detection(runs, rate) for rate in (1, 1_000)]
    say("false ejections")
    reports.append(false_ejections(calls))
    say("pools and bursts")
    return [*reports, shared(20 if quick else 120), bursts(10 if quick else 50)]
