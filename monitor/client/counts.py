"""What this consumer saw, as counters in memory, and entries of the contract made of them later.

A counter is kept for each endpoint, outcome, HTTP status and bucket of latency. Whoever reports a call appends it and goes on; the one
who finds TOGETHER calls waiting counts them, unless another does so already. Nobody waits for a lock.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from monitor.core.history import bucket_of
from monitor.core.policies.call import CallOutcome
from monitor.core.reports import CALL_WORDS_MAX, REPORT_ENDPOINTS_MAX, STATUS_MAX, STATUS_MIN, Counters, word_of

COUNTERS_MAX: Final = 50_000
"""So many different counters one second may have; calls that would need another one are dropped, and counted."""
TOGETHER: Final = 64
"""So many calls are counted together, as soon as they wait."""

Cell: TypeAlias = tuple[str, str, int | None, int]
"""Endpoint, outcome (a plain string: the hash of an enum's member is slow), HTTP status, bucket of latency (-1: none is known)."""
Cells: TypeAlias = Mapping[Cell, int]

_SUCCESS: Final = CallOutcome.SUCCESS.value


class Counts:
    """The counters since they were last taken. `dropped` and `refused` only grow."""

    def __init__(self) -> None:
        self._calls: deque[tuple[object, object, float | None, object]] = deque()
        """Calls that are not counted yet: appending is atomic, and costs a tenth of a counter."""
        self._lock = threading.Lock()
        self._cells: dict[Cell, int] = {}
        self.dropped = 0
        """Calls that found no room."""
        self.refused = 0
        """Calls reported with an outcome that is none."""

    def add(self, endpoint_id: object, outcome: object, duration_s: float | None, code: object) -> None:
        """Count one call. Whatever is given, it never raises, and it waits for nobody."""
        self._calls.append((endpoint_id, outcome, duration_s, code))
        if len(self._calls) >= TOGETHER and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    @property
    def waits(self) -> bool:
        """Whether anything was counted since it was last taken."""
        return bool(self._calls or self._cells)

    def take(self) -> Cells:
        """Everything counted so far, which then begins anew."""
        with self._lock:
            self._count()
            taken, self._cells = self._cells, {}
        return taken

    def _count(self) -> None:
        """Count what was appended; under the lock."""
        calls, cells = self._calls, self._cells
        for _ in range(len(calls)):
            endpoint_id, outcome, duration_s, code = calls.popleft()
            bucket = -1
            try:
                if duration_s is not None and outcome == _SUCCESS:
                    bucket = bucket_of(duration_s * 1_000)
                cell: Any = (endpoint_id, outcome, code, bucket)
                if cell in cells:  # What was not checked yet is not among them.
                    cells[cell] += 1
                    continue
            except (TypeError, ValueError, OverflowError):  # A duration, or a name, that is none.
                bucket = -1
            self._begin(endpoint_id, outcome, code, bucket)

    def _begin(self, endpoint_id: object, outcome: object, code: object, bucket: int) -> None:
        """Count what no counter was found for: what is no outcome is refused, and a status that is none is left out."""
        if not isinstance(endpoint_id, str) or not isinstance(outcome, str) or outcome not in frozenset(CallOutcome):
            self.refused += 1
            return
        status = int(code) if isinstance(code, int) and STATUS_MIN <= code <= STATUS_MAX else None
        cell = (endpoint_id, CallOutcome(outcome).value, status, bucket)
        if cell in self._cells or len(self._cells) < COUNTERS_MAX:
            self._cells[cell] = self._cells.get(cell, 0) + 1
        else:
            self.dropped += 1


def entries(cells: Cells, pool_of: Callable[[str], str | None]) -> tuple[dict[str, list[dict[str, Counters]]], int]:
    """What was counted, by pool, in portions as large as an entry may be; and how many calls were of endpoints that no pool has."""
    calls: dict[str, dict[tuple[str, int | None], int]] = defaultdict(lambda: defaultdict(int))
    latency: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for (endpoint_id, outcome, code, bucket), count in cells.items():
        calls[endpoint_id][outcome, code] += count
        if bucket >= 0:
            latency[endpoint_id][bucket] += count
    pools: dict[str, dict[str, Counters]] = defaultdict(dict)
    unknown = 0
    for endpoint_id, found in calls.items():
        pool = pool_of(endpoint_id)
        if pool is None:
            unknown += sum(found.values())
        else:
            pools[pool][endpoint_id] = Counters(calls=_words(found), latency=dict(latency.get(endpoint_id, {})))
    return {pool: list(_portions(found)) for pool, found in pools.items()}, unknown


def _words(found: Mapping[tuple[str, int | None], int]) -> dict[str, int]:
    """Counts by word. Where there are more words than an entry takes the rarest lose their status."""
    words: dict[str, int] = defaultdict(int)
    room = CALL_WORDS_MAX - len({outcome for outcome, _ in found})  # Each may be needed without a status too.
    for (outcome, code), count in sorted(found.items(), key=lambda item: -item[1]) if len(found) > room else found.items():
        words[word_of(CallOutcome(outcome), code if len(words) < room else None)] += count
    return dict(words)


def _portions(counters: dict[str, Counters]) -> Iterator[dict[str, Counters]]:
    ids = list(counters)
    for first in range(0, len(ids), REPORT_ENDPOINTS_MAX):
        yield {endpoint_id: counters[endpoint_id] for endpoint_id in ids[first : first + REPORT_ENDPOINTS_MAX]}
