"""How probes are judged by a policy that was made for calls: each conclusive probe is one call, and each success asks for its permit.

A probe that fails while the breaker is OPEN asks for nothing: it would only open again what is open. The policy's own periodic work is done
at its own times, in order, before whatever comes next; where nothing comes, at the next time that changes the breaker (`due_ms`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from monitor.core.errors import DECODE_ERRORS
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.choice import Chosen
from monitor.core.policies.policy import Change, Member, Step
from monitor.core.record import ActiveMemory, Breaker, BreakerState, Source

TICKS_MAX: Final = 1_000
"""Periodic work that is made up for at most; after a longer time without any the policy begins anew."""
GATHER_TICKS_MAX: Final = 10
"""The same for each of the others that it is compared with."""
AHEAD_TICKS_MAX: Final = 100
"""How many of its next times are played in advance, to find the one that changes the breaker."""

CALLS: Final[Mapping[FailureClass, tuple[CallOutcome, bool]]] = MappingProxyType(
    {
        FailureClass.RESOLVE: (CallOutcome.FAILURE, True),
        FailureClass.CONNECT: (CallOutcome.FAILURE, True),
        FailureClass.TLS: (CallOutcome.FAILURE, True),
        FailureClass.TIMEOUT: (CallOutcome.TIMEOUT, True),
        FailureClass.STATUS: (CallOutcome.FAILURE, False),
        FailureClass.PROTOCOL: (CallOutcome.FAILURE, False),
        FailureClass.ASSERTION: (CallOutcome.FAILURE, False),
        FailureClass.POLICY: (CallOutcome.FAILURE, True),
    }
)
"""The call that a failed probe is, and whether it is of local origin: no answer was there to judge."""


class Judged(msgspec.Struct, frozen=True):
    """The breaker and the policy's memory after a probe, or after a time without one, and the changes between."""

    breaker: BreakerState
    memory: ActiveMemory | None
    changes: tuple[Change, ...] = ()
    held: Change | None = None
    """An opening that may not be."""


def call_of(result: Result) -> Call:
    """The call that a conclusive probe is. A status goes with a failure only where no policy could take it for a success: what a probe
    wants is for its expectations to say."""
    if result.outcome is Outcome.SUCCESS:
        return Call(CallOutcome.SUCCESS, duration_ms=result.duration_ms)
    outcome, local_origin = CALLS[result.failure] if result.failure is not None else (CallOutcome.FAILURE, False)
    code = result.status if result.failure is FailureClass.STATUS and 500 <= result.status < 600 else None
    return Call(outcome, duration_ms=result.duration_ms, code=code, local_origin=local_origin)


class Judge:
    """One policy beside one endpoint. `may(state)` says whether the breaker may change to it now; what may not be is as if it had not
    been seen, and comes again. `gathered` is what the policy knows of the pool."""

    def __init__(self, chosen: Chosen, endpoint_id: str, gathered: Any, may: Callable[[Breaker], bool]) -> None:
        self._chosen = chosen
        self._id = endpoint_id
        self._gathered = gathered
        self._may = may
        self._held: Change | None = None

    def probed(self, breaker: BreakerState, memory: ActiveMemory | None, result: Result, now_ms: int) -> Judged:
        """After one more conclusive probe, and whatever was due before it."""
        member, changes = self._due(member_of(self._chosen, self._id, breaker, memory, now_ms), now_ms)
        if member.breaker.state is Breaker.CLOSED:
            step = self._observed(member, result, now_ms)
        elif result.outcome is Outcome.SUCCESS or member.breaker.state is Breaker.HALF_OPEN:
            asked: Step[Any] = self._chosen.policy.acquire(self._chosen.settings, member, now_ms)
            if asked.member.breaker.state is Breaker.OPEN:
                step = Step(member)
            else:
                seen = self._observed(asked.member, result, now_ms)
                step = Step(seen.member, asked.changes + seen.changes)
        else:
            step = Step(member)
        if step.changes and not self._may(step.member.breaker.state):
            self._hold(step)
            step = Step(member)
        return self._judged(step.member, (*changes, *step.changes), now_ms)

    def passed(self, breaker: BreakerState, memory: ActiveMemory | None, now_ms: int) -> Judged:
        """After a time in which no probe came."""
        member, changes = self._due(member_of(self._chosen, self._id, breaker, memory, now_ms), now_ms)
        return self._judged(member, changes, now_ms)

    def due_ms(self, breaker: BreakerState, memory: ActiveMemory | None, now_ms: int) -> int:
        """The next time after now at which the policy's periodic work changes the breaker; 0: none of the next AHEAD_TICKS_MAX. Where it
        compares members, what they will be like is not known: then it is the next time of all."""
        member = member_of(self._chosen, self._id, breaker, memory, now_ms)
        policy, settings = self._chosen.policy, self._chosen.settings
        if policy.relative:
            next_ms: int = policy.due_ms(settings, member)
            return next_ms
        for _ in range(AHEAD_TICKS_MAX):
            due_ms: int = policy.due_ms(settings, member)
            if not due_ms:
                return 0
            step = self._tick(member, due_ms)
            if step.changes:
                return due_ms
            member = step.member
        return 0

    def _due(self, member: Member[Any], now_ms: int) -> tuple[Member[Any], tuple[Change, ...]]:
        policy, settings = self._chosen.policy, self._chosen.settings
        changes: tuple[Change, ...] = ()
        for _ in range(TICKS_MAX):
            due_ms = policy.due_ms(settings, member)
            if not 0 < due_ms <= now_ms:
                return member, changes
            step = self._tick(member, due_ms)
            if step.changes and not self._may(step.member.breaker.state):
                self._hold(step)
                if step.member.breaker.state is not Breaker.OPEN:
                    return member, changes  # It is too early, and due until it may be.
                break
            member, changes = step.member, (*changes, *step.changes)
        return replace(member, memory=policy.begin(settings, now_ms)), changes

    def _hold(self, step: Step[Any]) -> None:
        if step.member.breaker.state is Breaker.OPEN:
            self._held = step.changes[-1]

    def _tick(self, member: Member[Any], due_ms: int) -> Step[Any]:
        policy, settings = self._chosen.policy, self._chosen.settings
        step: Step[Any] = policy.tick(settings, member, due_ms)
        if not policy.relative:
            return step
        compared: Step[Any] = policy.compare(settings, step.member, self._gathered, due_ms)
        return Step(compared.member, step.changes + compared.changes)

    def _observed(self, member: Member[Any], result: Result, now_ms: int) -> Step[Any]:
        step: Step[Any] = self._chosen.policy.observe(self._chosen.settings, member, call_of(result), self._gathered, now_ms)
        return step

    def _judged(self, member: Member[Any], changes: tuple[Change, ...], now_ms: int) -> Judged:
        kind, breaker = self._chosen.kind, member.breaker
        if changes:
            breaker = replace(breaker, since_ms=now_ms, source=Source.ACTIVE, policy=kind)
        return Judged(breaker, ActiveMemory(kind, msgspec.Raw(msgspec.json.encode(member.memory))), changes, self._held)


def gather(chosen: Chosen, members: Iterable[tuple[str, BreakerState, ActiveMemory | None]], now_ms: int) -> Any:
    """What a policy that compares members must know of a pool: of each its id, breaker and memory, as they were last written. Their
    periodic work is done up to now; None where the policy looks at no other member."""
    policy, settings = chosen.policy, chosen.settings
    if not policy.relative:
        return None

    def ticked(member: Member[Any]) -> Member[Any]:
        for _ in range(GATHER_TICKS_MAX):
            due_ms = policy.due_ms(settings, member)
            if not 0 < due_ms <= now_ms:
                break
            member = policy.tick(settings, member, due_ms).member
        return member

    return policy.gather(settings, [ticked(member_of(chosen, *member, now_ms)) for member in members], now_ms)


def member_of(chosen: Chosen, endpoint_id: str, breaker: BreakerState, memory: ActiveMemory | None, now_ms: int) -> Member[Any]:
    """The endpoint as the policy sees it. Where the memory is another policy's, or cannot be read, it begins anew."""
    if memory is not None and memory.kind == chosen.kind:
        try:
            return Member(endpoint_id, breaker, decoder(chosen.policy.memory).decode(memory.memory))
        except DECODE_ERRORS:
            pass
    return Member(endpoint_id, breaker, chosen.policy.begin(chosen.settings, now_ms))


@cache
def decoder(memory: type[Any]) -> msgspec.json.Decoder[Any]:
    """What reads a policy's memory."""
    return msgspec.json.Decoder(memory)
