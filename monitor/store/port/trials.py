"""Trials: who may try a HALF_OPEN endpoint is published with its pool; each trial is a token that is leased."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from monitor.pool.trials import TrialState


class Refusal(StrEnum):
    """Why no trial is granted."""

    NONE = "none"
    """Users may not try it."""
    BUSY = "busy"
    """Enough others do."""
    SPENT = "spent"
    """Enough others have."""


class Ended(StrEnum):
    """What became of a trial's result."""

    COUNTED = "counted"
    RELEASED = "released"
    """It judges nobody; its permit is free."""
    STALE = "stale"
    """The breaker has moved on."""
    LOST = "lost"
    """Its lease is over, or it was ended before."""


class Grant(msgspec.Struct, frozen=True):
    """A trial of the breaker's generation `gen`, until `until_ms` in server time."""

    gen: int
    lease_ms: int
    until_ms: int


class TrialEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial went. An `outcome` other than success, failure and timeout gives the permit back."""

    endpoint: str
    gen: int
    token: str
    outcome: str
    duration_ms: float = 0.0
    code: int | None = None
    observer: str = ""


class TrialPort(Protocol):
    """Consumers run the same scripts by themselves (docs/reference/keys.md)."""

    async def grant_trial(self, pool: str, endpoint_id: str, token: str) -> Grant | Refusal:
        """Lease a trial. Of one token it is granted once, however often it is asked for."""

    async def end_trial(self, pool: str, end: TrialEnd) -> Ended:
        """End a trial; a result that counts is among the pool's reports by the same step."""

    async def trials_of(self, pool: str) -> dict[str, TrialState]:
        """The endpoints of a pool that users may try now, with what became of the permits and who holds a token."""
