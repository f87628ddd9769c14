"""What a trip policy is: it reads what was seen and names the machine's next event, or none.

A policy holds no state. What it needs to know beyond the run of equal outcomes is a field of `Seen`, folded from the results
before the policy is called; so a new policy adds statistics and a row to `POLICIES`, and the machine stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from monitor.core.breaker import Event
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome, Result
from monitor.core.record import BreakerState


class Scope(StrEnum):
    """Where an option is written."""

    ENDPOINT = "endpoint"
    POOL = "pool"


class PolicyOption(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a policy: the manifest, the command line and the reference know it from here.

    `attribute` is the field of Endpoint or Pool that holds it; `unit` is "ms" for durations and "" for whole numbers, and `low`,
    `high` and `default` are in that unit. `source` is where the rule comes from.
    """

    name: str
    attribute: str
    scope: Scope
    default: int
    low: int
    high: int
    unit: str = ""
    help: str
    source: str


class Seen(msgspec.Struct, frozen=True):
    """What a policy judges: everything already contains the newest result."""

    endpoint: Endpoint
    pool: Pool
    breaker: BreakerState
    run_outcome: Outcome | None
    run_length: int
    result: Result
    now_ms: int


class Ruling(msgspec.Struct, frozen=True):
    """An event and why, in words for a person and in numbers for a program."""

    event: Event
    reason: str
    evidence: dict[str, int | float | str]


class Policy(Protocol):
    """One way to judge; `options` are the settings that it reads."""

    @property
    def name(self) -> str:
        """What a pool's setting `policy` calls it."""

    @property
    def options(self) -> Sequence[PolicyOption]:
        """The settings that it reads, for manifests, command line and reference."""

    def judge(self, seen: Seen) -> Ruling | None:
        """Name the next event. Called again after each change, until it has nothing more to say about this result."""
