"""The four comparisons of the policy `envoy`: the hosts of a pool, each beside all others, by one interval.

Each comparison goes over all hosts before the next one begins, so that an earlier one takes what room there is; and what was found
locally is compared among those whom their own answers have not ejected. Hosts are then ejected one by one, so the pool's judgement says
how many of those that are still to come each comparison takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple

from monitor.core.overlay import OVERLAYS
from monitor.core.policies.envoy_state import Gathered, Memory, Rates, Settings
from monitor.core.policies.policy import Member, spread
from monitor.core.record import Breaker

_CLOSED = Breaker.CLOSED


class Comparison(NamedTuple):
    """One way to compare hosts. `enforcing` is the setting with its chance to eject."""

    rule: str
    enforcing: str
    local: bool
    by_percentage: bool


COMPARISONS: Final = (
    Comparison("success_rate", "enforcing_success_rate", local=False, by_percentage=False),
    Comparison("failure_percentage", "enforcing_failure_percentage", local=False, by_percentage=True),
    Comparison("success_rate_local_origin", "enforcing_local_origin_success_rate", local=True, by_percentage=False),
    Comparison("failure_percentage_local_origin", "enforcing_failure_percentage_local_origin", local=True, by_percentage=True),
)
LOCAL_RULES: Final = frozenset(one.rule for one in COMPARISONS if one.local)


class Interval(NamedTuple):
    """A host's calls in the interval that ended at `ended_ms`. `waits`: it may still be ejected for them. `rule`: it has been, by this."""

    member: Member[Memory]
    ended_ms: int
    waits: bool
    rule: str
    total: int
    good: int
    local_total: int
    local_good: int

    def rate(self, volume: int, *, local: bool) -> float | None:
        """The success rate in percent; None of fewer calls than this volume."""
        total, good = (self.local_total, self.local_good) if local else (self.total, self.good)
        return good * 100.0 / total if total and total >= volume else None


class Outlier(NamedTuple):
    """Why a host is ejected."""

    rule: str
    saw: str
    evidence: dict[str, int | float | str]


def has_room(settings: Settings, hosts: int, ejected: int) -> bool:
    """Whether one host more may be ejected."""
    if settings.always_eject_one_host and not ejected:
        return True
    return hosts > 0 and 100.0 * (ejected + 1) / hosts <= settings.max_ejection_percent


def enforced(member: Member[Memory], percent: int, attempt: str) -> bool:
    """Whether an ejection of this chance happens."""
    return percent >= 100 or spread(f"{member.id}:{attempt}", member.breaker.gen, member.seed) * 100 < percent


def may_be_ejected(member: Member[Memory]) -> bool:
    """Whether it is in, and no operator's word keeps it so."""
    return member.breaker.state is _CLOSED and (member.mode is None or OVERLAYS[member.mode].opens)


def awaits_judgement(memory: Memory, ended_ms: int) -> bool:
    """Whether it has calls of the interval that ended then for which it has not been compared."""
    if memory.rolled_ms == ended_ms:
        return not memory.judged
    return (memory.total > 0 or memory.local_total > 0) and memory.seen_ms < ended_ms


def interval_of(settings: Settings, member: Member[Memory], ended_ms: int) -> Interval | None:
    """The interval that ended then, also of a host that has not been looked at since. None where it was ejected, or had no calls."""
    memory, breaker = member.memory, member.breaker
    closed = breaker.state is _CLOSED
    if not closed and breaker.since_ms < ended_ms:
        return None
    rule = "" if closed else breaker.rule
    if memory.rolled_ms == ended_ms:
        if not memory.last_total and not memory.last_local_total:
            return None
        counts = memory.last_total, memory.last_good, memory.last_local_total, memory.last_local_good
        return Interval(member, ended_ms, not memory.judged and may_be_ejected(member), rule, *counts)
    if (memory.total or memory.local_total) and ended_ms - settings.interval_ms <= memory.seen_ms < ended_ms:
        return Interval(member, ended_ms, may_be_ejected(member), rule, memory.total, memory.good, memory.local_total, memory.local_good)
    return None


def judge(settings: Settings, intervals: Sequence[Interval], hosts: int, ejected: int) -> Gathered:
    """The pool's rates, and how many hosts each comparison ejects."""
    admitted = []
    waiting = [one for one in intervals if one.waits]
    external = local = _rates(settings, intervals, local=False)
    for comparison in COMPARISONS:
        if comparison.local and not comparison.by_percentage:
            out = {one.member.id for one in intervals if one.waits} - {one.member.id for one in waiting}
            local = _rates(settings, [one for one in intervals if _is_in(one, out)], local=True)
        staying, before = [], ejected
        for one in waiting:
            if has_room(settings, hosts, ejected) and _stands_out(settings, comparison, one, local if comparison.local else external):
                ejected += 1
            else:
                staying.append(one)
        waiting = staying
        admitted.append(ejected - before)
    return Gathered(hosts, ejected - sum(admitted), external, local, (admitted[0], admitted[1], admitted[2], admitted[3]))


def find_outlier(settings: Settings, interval: Interval, gathered: Gathered) -> Outlier | None:
    """The first comparison that ejects this host."""
    for comparison, admitted in zip(COMPARISONS, gathered.admitted, strict=True):
        rates = gathered.local if comparison.local else gathered.external
        if admitted and _stands_out(settings, comparison, interval, rates):
            return _outlier(settings, comparison, interval, rates)
    return None


def _is_in(one: Interval, out: set[str]) -> bool:
    return one.member.id not in out and (not one.rule or one.rule in LOCAL_RULES)


def _rates(settings: Settings, intervals: Sequence[Interval], *, local: bool) -> Rates:
    """Mean and threshold in doubles, added host by host, as Envoy's own."""
    volume = settings.failure_percentage_request_volume
    enough = sum(one.rate(volume, local=local) is not None for one in intervals)
    by_percentage = enough >= max(1, settings.failure_percentage_minimum_hosts)
    volume = settings.success_rate_request_volume
    rates = [rate for one in intervals if (rate := one.rate(volume, local=local)) is not None]
    if len(rates) < max(1, settings.success_rate_minimum_hosts):
        return Rates(by_percentage=by_percentage)
    total = squares = 0.0
    for rate in rates:
        total += rate
    mean = total / len(rates)
    for rate in rates:
        squares += (rate - mean) * (rate - mean)
    threshold = mean - settings.success_rate_stdev_factor / 1000.0 * sqrt(squares / len(rates))
    return Rates(mean, threshold, by_percentage)


def _stands_out(settings: Settings, comparison: Comparison, interval: Interval, rates: Rates) -> bool:
    """Whether this comparison ejects this host where there is room."""
    if comparison.by_percentage:
        rate = interval.rate(settings.failure_percentage_request_volume, local=comparison.local)
        out = rate is not None and rates.by_percentage and 100.0 - rate >= settings.failure_percentage_threshold
    else:
        rate = interval.rate(settings.success_rate_request_volume, local=comparison.local)
        out = rate is not None and rate < rates.threshold
    return out and enforced(interval.member, getattr(settings, comparison.enforcing), f"{comparison.rule}:{interval.ended_ms}")


def _outlier(settings: Settings, comparison: Comparison, interval: Interval, rates: Rates) -> Outlier:
    calls = interval.local_total if comparison.local else interval.total
    rate = interval.rate(1, local=comparison.local) or 0.0
    if comparison.by_percentage:
        threshold = settings.failure_percentage_threshold
        saw = f"{100.0 - rate:.4g} % of {calls} calls failed, and {threshold} % or more eject"
        return Outlier(comparison.rule, saw, {"calls": calls, "failure_percent": 100.0 - rate, "failure_percent_threshold": threshold})
    saw = (
        f"{rate:.4g} % of {calls} calls succeeded, and less than {rates.threshold:.4g} % ejects where the hosts' mean is {rates.mean:.4g} %"
    )
    evidence: dict[str, int | float | str] = {
        "calls": calls,
        "success_percent": rate,
        "success_percent_threshold": rates.threshold,
        "success_percent_mean": rates.mean,
    }
    return Outlier(comparison.rule, saw, evidence)
