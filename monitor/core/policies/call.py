"""What a policy judges: calls, in the words of `watchkeeper breaker replay`, of consumers' reports and of probes alike."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

COUNT_MAX: Final = 2**53 - 1
"""The largest count, and the latest time: what every language's JSON still reads as written."""


class CallOutcome(StrEnum):
    """How a call ended. Which of them count, and as what, is each policy's own rule."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    """A bulkhead or a limit of the caller's own refused it."""
    SHORT_CIRCUITED = "short_circuited"
    """A breaker refused it."""
    IGNORED = "ignored"
    """It ended in a way that says nothing about the endpoint, as a bad request does."""
    CANCELLED = "cancelled"


FAILED: Final = frozenset({CallOutcome.FAILURE, CallOutcome.TIMEOUT})
"""The outcomes that speak against an endpoint, where a source has no rule of its own."""


class Call(msgspec.Struct, frozen=True):
    """`count` equal calls that ended in the same millisecond.

    `code` is an HTTP status where there was one. `local_origin`: the caller's side found the error (it could not connect, it waited
    too long), not the endpoint's answer (Envoy outlier detection, split_external_local_origin_errors).
    """

    outcome: CallOutcome
    count: int = 1
    duration_ms: float = 0.0
    code: int | None = None
    local_origin: bool = False
