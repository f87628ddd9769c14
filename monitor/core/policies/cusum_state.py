"""What the policy `cusum` remembers: its settings, an endpoint's memory, and what is gathered from a pool."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from monitor.core.medians import Medians
from monitor.core.policies.opening import OpeningSettings
from monitor.core.policies.options import TIME_MAX_MS, Limits


class Settings(OpeningSettings, frozen=True, kw_only=True):
    """What may be set."""

    p0_min: Annotated[
        float, Limits(0.001, 0.5, "Share of failed (or slow) calls that is all right, however few the others have.", "Wald 1945, p0")
    ] = 0.05
    margin: Annotated[
        float, Limits(0.0, 0.5, "By so much more than the others' share an endpoint may fail before that counts against it.", "ours")
    ] = 0.05
    false_ejections_per_day: Annotated[
        float,
        Limits(0.001, 1_000.0, "How often a day chance may trip an endpoint that is all right: the one knob.", "Page 1954, Lorden 1971"),
    ] = 1.0
    slow_multiple: Annotated[
        float, Limits(1.0, 1_000.0, "A success is slow above so many times the others' median 90th percentile.", "ours")
    ] = 3.0
    slow_min_ms: Annotated[float, Limits(1.0, TIME_MAX_MS, "Nothing that takes no longer than this is slow.", "ours")] = 100.0
    trial_closes_at: Annotated[
        int, Limits(1, 100, "So many more good trials than failed ones close it; after hard failures 3 at most.", "ln 0.05 / ln 2")
    ] = 5


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score above 0, and the calls that it was made of: those since the second `since` in which it left 0.

    In the newest second nothing limits `score`; what counts of it is what `low`, its least value then, and `hard_score`, which the hard
    failures of that second alone have made, allow (cusum_score.capped).
    """

    score: float = 0.0
    low: float = 0.0
    hard_score: float = 0.0
    since: int = 0
    bad: int = 0
    hard: int = 0
    good: int = 0


class Second(msgspec.Struct, frozen=True, omit_defaults=True):
    """The calls of the newest second. `slow` are some of the successes."""

    at: int = 0
    successes: int = 0
    failures: int = 0
    slow: int = 0


class Instant(msgspec.Struct, frozen=True, omit_defaults=True):
    """The calls of the newest millisecond, which no score contains yet. `hard` are some of the failures."""

    at_ms: int = 0
    successes: int = 0
    failures: int = 0
    hard: int = 0
    slow: int = 0


class Past(msgspec.Struct, frozen=True, omit_defaults=True):
    """What changes only when a second ends: the seconds before the newest, oldest first, and what it is judged by. `failures` and `slow`
    are as long as `calls`, or empty where there were none.

    `p0`, `slow_p0` and `threshold` (h) hold for the newest second. A success that took longer than `slow_ms` is slow; 0: none is.
    """

    calls: tuple[int, ...] = ()
    failures: tuple[int, ...] = ()
    slow: tuple[int, ...] = ()
    p0: float = 0.0
    slow_p0: float = 0.0
    threshold: float = 0.0
    slow_ms: float = 0.0
    p90_ms: float = 0.0


NO_RUN: Final = Run()


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an endpoint since its breaker's generation `gen` began; OPEN shows what led to it.

    `failing` and `slowness` are the two tests before the newest millisecond. `durations` are successes by core/history's buckets, halved
    every 10 s. `due_ms` is when a trip that waits for what the others show is judged without it; 0: none does. Trials and permits are those
    of HALF_OPEN; of what tripped by being slow, a trial that took longer than `trial_slow_ms` has failed.
    """

    gen: int = 0
    second: Second = Second()
    instant: Instant = Instant()
    failing: Run = NO_RUN
    slowness: Run = NO_RUN
    past: Past = Past()
    durations: dict[int, int] = {}
    not_permitted: int = 0
    due_ms: int = 0
    trial_successes: int = 0
    trial_failures: int = 0
    trial_slow_ms: float = 0.0
    issued: int = 0


class Others(msgspec.Struct, frozen=True):
    """Calls of several members: in the window, or since a second. `slow` are some of the successes."""

    calls: int = 0
    failures: int = 0
    slow: int = 0


class Peers(msgspec.Struct, frozen=True):
    """What all members of a pool show together: calls of each of the last 30 seconds, `at` being the last, and the medians of the members'
    90th percentiles of durations. Who subtracts his own calls has those of the others. `total` is of the whole window."""

    at: int
    members: int
    calls: tuple[int, ...]
    failures: tuple[int, ...]
    slow: tuple[int, ...]
    p90s_ms: Medians
    total: Others
