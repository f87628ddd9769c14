"""The consumer's own breaker, for when nobody judges any more: consecutive failures of its own requests.

It decides only while the published state has expired; before that the published weights hold, which rest on far more
evidence than one consumer has. It never takes out more than half of a pool.
"""

from __future__ import annotations

FAILURE_THRESHOLD = 5
"""Envoy's consecutive_5xx."""
OPEN_MS = 5_000
OPEN_MAX_MS = 60_000


class LocalBreaker:
    """Counts of one consumer. An endpoint out comes back by itself; one more failure then puts it out for twice as long."""

    def __init__(self) -> None:
        self.streaks: dict[str, int] = {}
        """Endpoint id -> failures in a row; absent when there is none."""
        self._out_until_ms: dict[str, int] = {}
        self._opens: dict[str, int] = {}

    def report(self, endpoint_id: str, ok: bool, now_ms: int) -> bool:
        """Count one request. True when the endpoint has just been put out."""
        if self.is_out(endpoint_id, now_ms):
            return False
        if ok:
            self.forget(endpoint_id)
            return False
        self.streaks[endpoint_id] = streak = self.streaks.get(endpoint_id, 0) + 1
        if streak < FAILURE_THRESHOLD:
            return False
        opens = self._opens.get(endpoint_id, 0)
        self._opens[endpoint_id] = opens + 1
        self._out_until_ms[endpoint_id] = now_ms + min(OPEN_MS << min(opens, 16), OPEN_MAX_MS)
        return True

    def is_out(self, endpoint_id: str, now_ms: int) -> bool:
        """Whether the local breaker keeps the endpoint out at this time."""
        return now_ms < self._out_until_ms.get(endpoint_id, now_ms)

    def out_of(self, members: list[str], now_ms: int) -> frozenset[str]:
        """Which of a pool's members to leave out: the longest failing first, half of them at most."""
        out = [member for member in members if self.is_out(member, now_ms)]
        out.sort(key=lambda member: (-self.streaks.get(member, 0), member))
        return frozenset(out[: len(members) // 2])

    def forget(self, endpoint_id: str) -> None:
        """Forget an endpoint that is no more."""
        for counts in (self.streaks, self._out_until_ms, self._opens):
            counts.pop(endpoint_id, None)
