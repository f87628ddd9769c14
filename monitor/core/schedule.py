"""When a registered endpoint is probed: what the registry stores as its plan, and the grid that both stores keep.

The plan is made here; the scripts in lua/ and the memory store only read it. Due times are even and the tokens of leases odd,
so that one score says which of the two it is: a due time is its place on the grid, rounded up to an even millisecond.
"""

from __future__ import annotations

import msgspec

from monitor.core.endpoint import Endpoint

FIRST_WITHIN_MS = 60_000
"""The first probe of a longer interval comes within this time, spread over it by the id as all probes are over their interval."""
LEASE_SLACK_MS = 5_000
"""How much longer than its attempts a claim lasts: the way through the queue, and the commit."""
SILENT_INTERVALS = 3
FRESH_MS = 15_000
"""How long what was published, or vouched for, is fresh without a further word."""


def lease_ms(endpoint: Endpoint) -> int:
    """How long a claim of the endpoint lasts."""
    return endpoint.attempts_budget_ms + LEASE_SLACK_MS


def result_age_max_ms(endpoint: Endpoint) -> int:
    """How long after its slot a result may be decided on: it may begin late by an interval, and no claim lasts longer than its lease. What
    seems later than that comes from a clock that went back."""
    return endpoint.interval_ms + lease_ms(endpoint)


def silent_after_ms(endpoint: Endpoint) -> int:
    """Time without a conclusive result after which nothing is known of an endpoint: three intervals and one lease."""
    return SILENT_INTERVALS * endpoint.interval_ms + lease_ms(endpoint)


def vouched_ms(interval_ms: int) -> int:
    """How long one result of an endpoint with this interval vouches for its pool: three may be missing, and FRESH_MS pass, before anybody
    is told."""
    return max(FRESH_MS, SILENT_INTERVALS * interval_ms)


class Plan(msgspec.Struct, frozen=True):
    """`delay_ms` is how long the first probe waits."""

    interval_ms: int
    phase_ms: int
    lease_ms: int
    delay_ms: int

    @classmethod
    def of(cls, endpoint: Endpoint) -> Plan:
        """The plan of an endpoint as it is registered now."""
        return cls(endpoint.interval_ms, endpoint.phase_ms, lease_ms(endpoint), endpoint.initial_delay_ms)

    @property
    def grace_ms(self) -> int:
        """How long a new pool counts as judged before its first result."""
        return self.delay_ms + vouched_ms(self.interval_ms)

    @property
    def soon_ms(self) -> int:
        """Within which time a probe comes that nobody has waited for yet: the first, and the first after a change."""
        return min(self.interval_ms, FIRST_WITHIN_MS)

    def soon(self, from_ms: int) -> int:
        """The first time at or after `from_ms` on its grid, or on that of a minute with the same phase where the interval is longer."""
        return _even(from_ms + (self.phase_ms - from_ms) % self.soon_ms)

    def after(self, base_ms: int, interval_ms: int = 0) -> int:
        """The first time after `base_ms` on the grid of this plan, or on that of another interval with the same phase."""
        interval_ms = interval_ms or self.interval_ms
        return _even(base_ms - (base_ms - self.phase_ms) % interval_ms + interval_ms)

    def slot_at(self, score: int, now_ms: int) -> int:
        """What an endpoint with this score is probed for at `now_ms`: its due time, or the end of a lease that nobody finished; where it
        has missed a slot since then, the present slot. What was missed is unknown: no result may speak for it."""
        if now_ms - score < self.interval_ms:
            return score
        latest_ms = now_ms - (now_ms - self.phase_ms) % self.interval_ms
        return latest_ms - latest_ms % 2

    def lease_from(self, start_ms: int) -> int:
        """The token of a lease that starts at `start_ms`."""
        token_ms = start_ms + self.lease_ms
        return token_ms + 1 - token_ms % 2

    def __str__(self) -> str:
        return f"{self.interval_ms}:{self.phase_ms}:{self.lease_ms}:{self.delay_ms}"


def _even(due_ms: int) -> int:
    return due_ms + due_ms % 2


def is_claimed(score: int, now_ms: int) -> bool:
    """Whether a score of the due set is a lease that has not run out."""
    return score % 2 == 1 and score > now_ms
