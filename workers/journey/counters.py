"""What a process counts and measures between two heartbeats."""

from __future__ import annotations

from collections import Counter

from monitor.core.outcome import Result

LATENESS_MAX = 10_000
"""Lateness samples kept between two heartbeats; later ones are counted but not sampled."""


class Counters:
    """Increments for /metrics, and the lateness of probe starts since the last heartbeat."""

    def __init__(self) -> None:
        self._increments: Counter[str] = Counter()
        self._lateness_ms: list[int] = []

    def add(self, name: str, by: int = 1) -> None:
        """Count an event, or several."""
        if by:
            self._increments[name] += by

    def probe(self, result: Result, lateness_ms: int) -> None:
        """Count a result by its outcome, and how late its probe began."""
        self._increments["probes_" + result.outcome.value.lower()] += 1
        if len(self._lateness_ms) < LATENESS_MAX:
            self._lateness_ms.append(lateness_ms)

    def take(self) -> dict[str, int]:
        """The increments since the last call."""
        taken, self._increments = dict(self._increments), Counter()
        return taken

    def put_back(self, increments: dict[str, int]) -> None:
        """They could not be written: count them again with the next heartbeat."""
        self._increments.update(increments)

    def take_lateness(self) -> tuple[int, int]:
        """Median and 99th percentile of the lateness (ms) since the last call; zeros without a probe."""
        values, self._lateness_ms = sorted(self._lateness_ms), []
        if not values:
            return 0, 0
        return values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)]
