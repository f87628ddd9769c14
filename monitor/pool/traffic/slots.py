"""One endpoint's second: what all observers saw of it, and its calls in an order that claims nothing.

Of the calls of one second no order is known: failures are spread among the successes as evenly as they go, so that a run of failures is
only as long as it must have been. Where all of a second fail it is a run.

No observer weighs more than twice as much as the middle one of that endpoint and second (or CAP_MIN calls): its counters are scaled down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from statistics import median
from typing import Final, NamedTuple

import msgspec

from monitor.core.history import bucket_ms
from monitor.core.policies.call import FAILED, Call, CallOutcome
from monitor.core.reports import Counters, read_word

CAP_MIN: Final = 10
CAP_OF_MEDIAN: Final = 2
"""Of one endpoint and second nobody counts more calls than so many, or so many times what the middle observer has."""
SPREAD_MAX: Final = 1_000
"""Into so many parts the failures of one second are spread at most."""
PARTS_MIN: Final = 8
"""Into so many at least, where there are as many failures."""
TOGETHER_MAX: Final = 3
"""Where no run is counted, failures are spread into parts of so many, once there are more than so many parts."""
_SUCCESS: Final = CallOutcome.SUCCESS
_ONLY_GOOD: Final = _SUCCESS.value


class Seen(NamedTuple):
    """What one observer counted of one endpoint in one second: so many calls, so many of them failed."""

    observer: str
    counters: Counters
    total: int
    failed: int


class Second(msgspec.Struct, frozen=True):
    """One endpoint's second, over all observers."""

    calls: dict[str, int]
    slow: int
    latency: dict[int, int]
    failing: tuple[str, ...]
    """Observers that saw it fail, sorted."""
    found: Sequence[Seen] = ()
    """What each observer counted."""

    @property
    def ok(self) -> int:
        """Successful calls."""
        return sum(n for word, n in self.calls.items() if read_word(word)[0] is _SUCCESS)

    @property
    def failed(self) -> int:
        """Failures and timeouts."""
        return sum(n for word, n in self.calls.items() if read_word(word)[0] in FAILED)

    def slower(self, than_ms: float) -> list[str]:
        """Observers of whose calls one succeeded later than that."""
        if bucket_ms(max(self.latency, default=0)) <= than_ms:  # As in nearly every second.
            return []
        return [one.observer for one in self.found if bucket_ms(max(one.counters.latency, default=0)) > than_ms]


def seen(observer: str, counters: Counters) -> Seen:
    """Count the calls of one counter. Raises ReportError for a word that is none."""
    calls = counters.calls
    if len(calls) == 1 and _ONLY_GOOD in calls:  # As nearly all of them are.
        return Seen(observer, counters, calls[_ONLY_GOOD], 0)
    total = failed = 0
    for word, n in calls.items():
        total += n
        if read_word(word)[0] in FAILED:
            failed += n
    return Seen(observer, counters, total, failed)


def merged(found: Sequence[Seen]) -> Second:
    """One endpoint's second, with nobody's weight above the cap."""
    cap = max(CAP_MIN, CAP_OF_MEDIAN * int(median([one.total for one in found]))) if len(found) > 1 else 0
    counted = [counters if not cap or total <= cap else _scaled(counters, cap / total) for _, counters, total, _ in found]
    # One loop over all of them: there are some hundred for each endpoint and second.
    calls: defaultdict[str, int] = defaultdict(int)
    for word, n in chain.from_iterable([counters.calls.items() for counters in counted]):
        calls[word] += n
    latency: defaultdict[int, int] = defaultdict(int)
    for bucket, n in chain.from_iterable([counters.latency.items() for counters in counted]):
        latency[bucket] += n
    slow = sum([counters.slow for counters in counted])
    return Second(dict(calls), slow, dict(latency), tuple(sorted({observer for observer, _, _, failed in found if failed})), found)


def _scaled(counters: Counters, by: float) -> Counters:
    calls = {word: int(n * by + 0.5) for word, n in counters.calls.items()}
    latency = {bucket: int(n * by + 0.5) for bucket, n in counters.latency.items()}
    return Counters(calls, int(counters.slow * by + 0.5), latency)


def in_order(second: Second, limit: int | None = None, *, runs: bool = True) -> list[Call]:
    """The calls of one second, at most `limit` of them, for a policy that counts `runs` or one that does not."""
    good, bad, neutral = _sorted(second)
    calls = [*neutral, *_spread(good, bad, runs=runs)]
    if limit is None:
        return calls
    kept: list[Call] = []
    for call in calls:
        if limit > 0:
            kept.append(msgspec.structs.replace(call, count=min(call.count, limit)) if call.count > limit else call)
            limit -= call.count
    return kept


def _sorted(second: Second) -> tuple[list[Call], list[Call], list[Call]]:
    """Successes by duration, what may speak against the endpoint, and the rest."""
    good: list[Call] = []
    bad: list[Call] = []
    neutral: list[Call] = []
    durations = [(bucket_ms(bucket), n) for bucket, n in sorted(second.latency.items()) if n]
    for word, count in sorted(second.calls.items()):
        outcome, code = read_word(word)
        n = count
        if not n:
            continue
        if outcome is not _SUCCESS:
            into = bad if outcome in FAILED or outcome is CallOutcome.REJECTED else neutral
            into.append(Call(outcome, n, 0.0, code))
            continue
        while n and durations:
            duration_ms, known = durations.pop()
            taken = min(n, known)
            good.append(Call(outcome, taken, duration_ms, code))
            n -= taken
            if known > taken:
                durations.append((duration_ms, known - taken))
        if n:
            good.append(Call(outcome, n, 0.0, code))
    return good, bad, neutral


def _spread(good: list[Call], bad: list[Call], *, runs: bool) -> Iterator[Call]:
    """Both, in turns: whichever there is more of begins and ends."""
    successes, failures = _count(good), _count(bad)
    if not (successes and failures):
        return iter((*good, *bad))
    parts = min(successes, failures, SPREAD_MAX if runs else min(SPREAD_MAX, max(PARTS_MIN, -(-failures // TOGETHER_MAX))))
    many, few = (_parts(good, successes, parts + 1), _parts(bad, failures, parts))
    if successes <= failures:
        many, few = (_parts(bad, failures, parts + 1), _parts(good, successes, parts))
    return (call for pair in zip(many, [*few, []], strict=True) for part in pair for call in part)


def _count(calls: Iterable[Call]) -> int:
    return sum(call.count for call in calls)


def _parts(calls: list[Call], total: int, parts: int) -> list[list[Call]]:
    """The calls in so many parts of equal size, as far as that goes."""
    left = [(call, call.count) for call in reversed(calls)]
    found: list[list[Call]] = []
    given = 0
    for number in range(1, parts + 1):
        wanted = total * number // parts - given
        given += wanted
        part: list[Call] = []
        while wanted:
            call, n = left.pop()
            taken = min(n, wanted)
            part.append(call if taken == call.count else msgspec.structs.replace(call, count=taken))
            wanted -= taken
            if n > taken:
                left.append((call, n - taken))
        found.append(part)
    return found
