"""Trials by users: the terms that are published for each HALF_OPEN endpoint whose trials are consumers' requests, and what became of them.

Who may try is decided with the breaker (core/recovery); a script grants each trial as a leased token, so that however many consumers
there are, no more than `concurrent` of their requests try an endpoint at any instant, and a consumer that dies takes no permit along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from monitor.core.policies.policy import CONCURRENT_MAX
from monitor.core.record import Breaker
from monitor.pool.compose import MemberState

RAMP: Final = (1, 2, CONCURRENT_MAX)
"""How many after no success, after one, and after more."""


class TrialTerms(msgspec.Struct, frozen=True):
    """Of the breaker's generation `gen`, so many trials in all, so many at a time, each within its lease."""

    gen: int
    permitted: int
    concurrent: int
    lease_ms: int

    @property
    def text(self) -> str:
        """As it stands in the published hash."""
        return f"{self.gen} {self.permitted} {self.concurrent} {self.lease_ms}"

    def at_once(self, ok: int) -> int:
        """How many may try it now, after so many trials that succeeded."""
        return min(self.concurrent, CONCURRENT_MAX, RAMP[min(ok, len(RAMP) - 1)])


class TrialCount(msgspec.Struct, frozen=True):
    """What became of the permits of one generation; one that was lost, or came back unused, is free again."""

    lost: int = 0
    ok: int = 0
    failed: int = 0


class LiveToken(msgspec.Struct, frozen=True):
    """A trial that goes on: who holds it, and until when."""

    holder: str
    until_ms: int


class TrialState(msgspec.Struct, frozen=True):
    """The trials of one endpoint now."""

    terms: TrialTerms
    count: TrialCount
    live: tuple[LiveToken, ...]


def trial_terms(states: Iterable[MemberState]) -> dict[str, TrialTerms]:
    """The terms of those members that users may try; an operator's word over an endpoint ends its trials."""
    found = {}
    for state in states:
        breaker = state.record.breaker
        if breaker.state is Breaker.HALF_OPEN and breaker.trials is not None and state.override is None:
            trials = breaker.trials
            found[state.endpoint.id] = TrialTerms(breaker.gen, trials.permitted, min(trials.concurrent, CONCURRENT_MAX), trials.lease_ms)
    return found


def terms_ttl_ms(states: Iterable[MemberState], now_ms: int) -> int:
    """How long published terms stand if nobody publishes anything after them: until each HALF_OPEN must have ended, and a lease more."""
    trials = [state.record.breaker.trials for state in states]
    return max((max(one.until_ms - now_ms, 0) + one.lease_ms for one in trials if one is not None), default=0)


def read_terms(text: bytes) -> TrialTerms | None:
    """What stands in the published hash; None for what is none."""
    numbers = _numbers(text, 4)
    return TrialTerms(*numbers) if numbers else None


def read_state(terms: TrialTerms, counted: bytes, live: Sequence[tuple[str, int]], now_ms: int) -> TrialState:
    """The trials of an endpoint, from its count and its tokens ("gen:holder/…") with the ends of their leases."""
    gen, _, *count = _numbers(counted, 5) or (-1, 0)
    found = [(member.partition(":"), until_ms) for member, until_ms in live]
    tokens = [LiveToken(holder(token), until_ms) for (of, _, token), until_ms in found if of == str(terms.gen) and until_ms > now_ms]
    return TrialState(terms, TrialCount(*count) if gen == terms.gen else TrialCount(), tuple(tokens))


def holder(token: str) -> str:
    """Who holds a token: what stands before its last stroke."""
    return token.rpartition("/")[0]


def _numbers(text: bytes, count: int) -> tuple[int, ...]:
    parts = text.split(b" ")
    fits = len(parts) == count and all(part.isdigit() and len(part) <= 15 for part in parts)
    return tuple(map(int, parts)) if fits else ()
