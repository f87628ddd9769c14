"""What can happen to an endpoint: one type for each kind of source, each with its own fence.

| observation | source | fence |
|---|---|---|
| Result | a probe, from a location | the lease's token, checked by the commit |
| OperatorWord | a person | the digest of the word that it replaces, checked by the store |
| TimePassed | time itself: nothing came, a `for` has passed | the lease of the re-evaluation queue |
| TrafficRuling | the judge of traffic, from what consumers report | a growing sequence, and the breaker's generation that it was made for |

All of them move the record's version, so that of two decisions made from one record only the first is written.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from monitor.core.breaker import Event
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


class TrafficRuling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the judge of traffic says of an endpoint's breaker: its passive policy's next event, or the end of its users' trials.

    It was made for the breaker of generation `gen`; of any other it says nothing, and the judge judges anew. A TRIP and a TRIAL_FAILED
    say with `open_ms` and `opens` how long the policy keeps it open, from when the breaker opens. `policy`, `rule` and `hard` are those of
    BreakerState.
    """

    seq: int
    """Grows with each ruling for this endpoint."""
    gen: int
    event: Event
    policy: str
    rule: str
    reason: str
    evidence: dict[str, int | float | str] = {}
    hard: bool = False
    open_ms: int = 0
    opens: int | None = None
    """None: as before."""


Observation: TypeAlias = Result | OperatorWord | TimePassed | TrafficRuling
