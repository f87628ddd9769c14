"""The score of the policy `cusum`: Page's sequential test (1954), against what the other members of the pool show.

A call that is bad adds ln(p1/p0), one that is good takes ln 2 away, and the sum never falls below 0; at h it trips. p0 is the rate of bad
calls that is still all right: that of the others and a margin on top. p1 is half-way from there to 1, which is why a good call takes ln 2
whatever p0 is. h = ln(calls a day / false ejections a day), so that chance alone trips as often as was asked for, however often we look.

Two such tests run for each endpoint: of failures over all calls, and of slow answers over all successes.

Calls that ended in the same millisecond have no order, and those of a report all carry one time: their sum is added, then 0 is the least.
A second adds no more than h/2, so that one bad second never trips; only hard failures (no connection, no answer in time) may add more by
themselves. p0 and h are those of the second's first call.

Scores are kept as shares of h: 1 trips. So two seconds that add a half each trip although h has grown a little between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from typing import Final

from monitor.core.history import quantiles
from monitor.core.medians import medians
from monitor.core.policies.cusum_state import NO_RUN, Memory, Others, Past, Peers, Run, Second

WINDOW_S: Final = 30
"""Calls older than this are forgotten, except by a score that they are part of."""
DAY_S: Final = 86_400
CALLS_PER_DAY_MIN: Final = DAY_S
"""An endpoint with less than a call a second is judged as if it had one: h is 11.4 at least (with one false ejection a day), 5 failures."""
SECOND_SHARE_MAX: Final = 0.5
"""How much of h one second adds at most."""
LN_2: Final = log(2)
REFRESH_S: Final = 5
"""How old a 90th percentile may be."""
_PERIOD_S: Final = 2 * REFRESH_S
"""How long durations count fully; half as much for each such time after that."""
DURATIONS_MIN: Final = 10
"""An endpoint with fewer successes says nothing about what is slow."""
NOBODY: Final = Others()
_NO_CALLS: Final[tuple[int, ...]] = (0,) * WINDOW_S


def up(p0: float) -> float:
    """What a bad call adds: ln(p1/p0). Nothing where all others' calls are bad."""
    return log((1.0 + p0) / (2.0 * p0))


def height(calls: int, false_ejections_per_day: float) -> float:
    """The score that trips an endpoint which had so many calls in the window's seconds before the newest."""
    return log(max(CALLS_PER_DAY_MIN, calls * (DAY_S / (WINDOW_S - 1))) / false_ejections_per_day)


def extended(run: Run, at: int, counts: tuple[int, int, int], p0: float, h: float) -> Run:
    """The run with calls of one millisecond of the second `at`: so many bad ones, hard ones among them, and good ones."""
    bad, hard, good = counts
    if not bad and not run.score:
        return NO_RUN
    rise, fall = up(p0) / h, good * (LN_2 / h)
    score = run.score + bad * rise - fall
    if score <= 0.0:
        return NO_RUN
    hard_score = max(0.0, run.hard_score + hard * rise - fall) if hard or run.hard_score else 0.0
    since = run.since if run.score else at
    return Run(score, min(run.low, score), hard_score, since, run.bad + bad, run.hard + hard, run.good + good)


def capped(run: Run) -> float:
    """The score, as far as one second may raise it: at 1 it trips."""
    return min(run.score, run.low + max(SECOND_SHARE_MAX, run.hard_score))


def runs(memory: Memory) -> tuple[Run, Run]:
    """Both tests with the calls of the newest millisecond."""
    instant, past, at, failing, slowness = memory.instant, memory.past, memory.second.at, memory.failing, memory.slowness
    if instant.failures or failing.score:
        failing = extended(failing, at, (instant.failures, instant.hard, instant.successes), past.p0, past.threshold)
    if instant.slow or slowness.score:
        slowness = extended(slowness, at, (instant.slow, 0, instant.successes - instant.slow), past.slow_p0, past.threshold)
    return failing, slowness


def next_second(run: Run) -> Run:
    """The run when another second begins."""
    score = capped(run)
    return Run(score, score, 0.0, run.since, run.bad, run.hard, run.good) if score else NO_RUN


def percentile_90(durations: dict[int, int]) -> float:
    """In milliseconds; 0 where there are too few to tell."""
    if sum(durations.values()) < DURATIONS_MIN:
        return 0.0
    return quantiles(durations, (0.9,))[0] or 0.0


def faded(durations: dict[int, int], before: int, now: int) -> dict[int, int]:
    """The counts of durations when the second `now` begins: halved with each period that has ended since `before`."""
    periods = now // _PERIOD_S - before // _PERIOD_S
    if not periods or not durations:
        return durations
    halves = ((bucket, count >> periods) for bucket, count in durations.items())
    return {bucket: count for bucket, count in halves if count}


def shifted(seconds: tuple[int, ...], newest: int, gap: int) -> tuple[int, ...]:
    """The seconds before the one that begins now, `gap` seconds after `newest` was counted."""
    if gap == 1:
        return (*seconds, newest) if len(seconds) < WINDOW_S - 1 else (*seconds[1:], newest)
    if not gap:
        return seconds
    return (*seconds, newest, *(0,) * (gap - 1))[1 - WINDOW_S :] if gap < WINDOW_S else ()


def shifted_if_any(seconds: tuple[int, ...], newest: int, gap: int, length: int) -> tuple[int, ...]:
    """As `shifted`, to that length; empty where nothing was counted."""
    if not newest and not seconds:
        return seconds
    later = shifted(seconds, newest, gap)
    if not any(later):
        return ()
    return (0,) * (length - len(later)) + later


# The pool ---------------------------------------------------------------------------------------------------------


def added_up(members: Iterable[tuple[Second, Past]], at: int) -> Peers:
    """What the members show together in the WINDOW_S seconds that end with `at`."""
    calls, failures, slow = [_NO_CALLS], [_NO_CALLS], [_NO_CALLS]
    p90s_ms = []
    count = 0
    for second, past in members:
        count += 1
        if past.p90_ms:
            p90s_ms.append(past.p90_ms)
        end = WINDOW_S - (at - second.at)
        if not 0 < end <= WINDOW_S:
            continue
        calls.append(_column(past.calls, second.successes + second.failures, end))
        if second.failures or past.failures:
            failures.append(_column(past.failures, second.failures, end))
        if second.slow or past.slow:
            slow.append(_column(past.slow, second.slow, end))
    all_calls, all_failures, all_slow = (tuple(map(sum, zip(*columns, strict=True))) for columns in (calls, failures, slow))
    total = Others(sum(all_calls), sum(all_failures), sum(all_slow))
    return Peers(at, count, all_calls, all_failures, all_slow, medians(p90s_ms), total)


def _column(before: tuple[int, ...], newest: int, end: int) -> tuple[int, ...]:
    """WINDOW_S seconds of which `newest` is the one before place `end`."""
    missing = end - 1 - len(before)
    return (*_NO_CALLS[:missing], *before, newest, *_NO_CALLS[end:]) if missing >= 0 else (*before[-missing:], newest, *_NO_CALLS[end:])


def others(peers: Peers | None, second: Second, past: Past, since: int = 0) -> Others:
    """What is left of the pool's totals without one member, whose calls are `second` and `past`.

    Calls of his that came after the pool was added up are not in its totals, and are not subtracted.
    """
    if peers is None:
        return NOBODY
    begin = peers.at - WINDOW_S + 1
    calls, failures, slow = peers.total.calls, peers.total.failures, peers.total.slow
    if since > begin:
        if since > peers.at:
            return NOBODY
        first, begin = since - begin, since
        calls, failures, slow = sum(peers.calls[first:]), sum(peers.failures[first:]), sum(peers.slow[first:])
    own = second.at - len(past.calls)
    skip, keep = max(0, begin - own), max(0, peers.at + 1 - own)
    if calls:
        calls -= sum(past.calls[skip:keep])
    if failures:
        failures -= sum(past.failures[skip:keep])
    if slow:
        slow -= sum(past.slow[skip:keep])
    if begin <= second.at <= peers.at:
        calls -= second.successes + second.failures
        failures -= second.failures
        slow -= second.slow
    if calls <= 0:
        return NOBODY
    failures = min(max(0, failures), calls)
    return Others(calls, failures, min(max(0, slow), calls - failures))


def reference(bad: int, calls: int, p0_min: float, margin: float) -> float:
    """p0 where the others had so many calls, some of them bad; 1 at most. Where they had none, as if none had been bad."""
    return min(1.0, max(p0_min, bad / calls + margin)) if bad else max(p0_min, margin)


def window_of(second: Second, past: Past, now: int) -> tuple[int, int, int]:
    """Calls, failures and slow answers of the last WINDOW_S seconds, `now` being the last."""
    age = now - second.at
    if age >= WINDOW_S:
        return 0, 0, 0
    skip = max(0, len(past.calls) + 1 + age - WINDOW_S)
    calls, failures, slow = sum(past.calls[skip:]), sum(past.failures[skip:]), sum(past.slow[skip:])
    return calls + second.successes + second.failures, failures + second.failures, slow + second.slow
