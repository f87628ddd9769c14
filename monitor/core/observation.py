"""What can happen to an endpoint: one type for each kind of source, each with its own fence.

| observation | source | fence |
|---|---|---|
| Result | a probe, from a location | the lease's token, checked by the commit |
| OperatorWord | a person | the digest of the word that it replaces, checked by the store |
| TimePassed | time itself: nothing came, a `for` has passed | the lease of the re-evaluation queue |
| SourceReport | consumers' outcomes, check-ins, alerts from outside | its sequence, larger than every one before |

All of them move the record's version, so that of two decisions made from one record only the first is written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from monitor.core.outcome import Result
from monitor.core.record import Override


class OperatorWord(msgspec.Struct, frozen=True, kw_only=True):
    """An operator has set an override, or taken it back (None)."""

    override: Override | None
    reason: str
    by: str
    replaces: Override | None = None


class ResultPace(msgspec.Struct, frozen=True):
    """How results come in where an endpoint lives: its own and its neighbours', whatever their outcome."""

    age_ms: int = 0
    """Time since the last of them."""
    gap_ms: int = 0
    """The last pause between two of them that was longer than LEASE_SLACK_MS (core.schedule); a shorter one makes nobody silent."""
    since_ms: int = 0
    """When that pause ended."""


class TimePassed(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came. `pace` tells whether anybody got results meanwhile."""

    pace: ResultPace = ResultPace()


class SourceKind(StrEnum):
    """Kinds of sources beside probes, operators and time."""

    OUTCOMES = "outcomes"
    """What a consumer's own requests saw."""
    CHECK_IN = "check-in"
    ALERT = "alert"
    """A condition that somebody else has found."""


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a source that is no probe has to tell. `sequence` grows with each report of the source named `source`."""

    kind: SourceKind
    source: str
    sequence: int
    at_ms: int
    ok: int = 0
    failed: int = 0


Observation: TypeAlias = Result | OperatorWord | TimePassed | SourceReport
