"""The one entry to the pure decisions about an endpoint: what a result changes, why, and what follows from it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core import evidence as evidence_
from monitor.core import flapping, history
from monitor.core.breaker import count_trial, forgive, step, target
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.history import RowWrite
from monitor.core.outcome import Outcome, Result
from monitor.core.policies import POLICIES
from monitor.core.policies.policy import Ruling, Seen
from monitor.core.record import Breaker, BreakerState, EndpointState, LastResult, Override, Transition
from monitor.core.verdict import verdict

AUTOMATIC: Final = "AUTO"
"""How a transition names the absence of an override."""
STEADY: Final = "steady"
FLAPPING: Final = "flapping"

# Bound once: reading a member from its enum costs a tenth of a microsecond, and this is done for each probe.
_SUCCESS, _FAILURE, _INCONCLUSIVE = Outcome.SUCCESS, Outcome.FAILURE, Outcome.INCONCLUSIVE
_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN


class Decision(msgspec.Struct, frozen=True):
    """What one result leads to. `weigh` is true when the pool's weights, or what is published beside them, might move."""

    state: EndpointState
    transitions: tuple[Transition, ...]
    writes: tuple[RowWrite, ...]
    interval_ms: int
    weigh: bool


def decide(  # noqa: PLR0917 - what a decision is about comes in the order of the journey.
    endpoint: Endpoint,
    pool: Pool,
    state: EndpointState,
    override: Override | None,
    result: Result,
    now_ms: int,
    *,
    tilted: bool = False,
) -> Decision:
    """Return the state after `result`, the changes with their reasons, and the bytes of history to write.

    An inconclusive result, and any result while `tilted`, is recorded (as inconclusive) and judges nothing.
    A result older than the newest settled one is dropped.
    """
    if _overtaken(endpoint, state, result) and not tilted:
        return Decision(state, (), (), next_interval_ms(endpoint, state), False)
    outcome = _INCONCLUSIVE if tilted else result.outcome
    minute, hour, day, rows = history.count(state, endpoint, result, outcome)
    writes = (history.sample_write(endpoint, result, outcome), *rows)
    recorded = replace(state, last=_last(state.last, result), minute=minute, hour=hour, day=day)
    if outcome is _INCONCLUSIVE:
        return Decision(recorded, (), writes, next_interval_ms(endpoint, recorded), False)
    after, transitions = _conclude(endpoint, pool, recorded, override, result, now_ms)
    return Decision(after, transitions, writes, next_interval_ms(endpoint, after), bool(transitions) or _moved(state, after))


def _conclude(  # noqa: PLR0917 - as in `settle`.
    endpoint: Endpoint, pool: Pool, state: EndpointState, override: Override | None, result: Result, now_ms: int
) -> tuple[EndpointState, tuple[Transition, ...]]:
    """What a conclusive result changes in the evidence, the breaker and the flapping of a state that has recorded it."""
    outcome = result.outcome
    success = outcome is _SUCCESS
    same = outcome is state.run_outcome
    run_length = state.run_length + 1 if same else 1
    evidence = evidence_.fold(state.evidence, evidence_.tau_ms(endpoint), success, result.duration_ms, now_ms)
    breaker = _breaker_before(state, success, now_ms)
    breaker, transitions = _advance(Seen(endpoint, pool, breaker, outcome, run_length, evidence, result, now_ms), override)
    closed = bool(transitions) and breaker.state is _CLOSED

    changes = flapping.remember(state.changes, success)
    results = state.results + 1 if state.results < flapping.OUTCOMES else flapping.OUTCOMES
    flaps = state.flapping
    if flaps or changes + 1 & changes:  # Otherwise the outcomes changed once at most, as nearly always.
        value = flapping.value_percent(changes, results)
        flaps = flapping.is_flapping(flaps, value)
        if flaps is not state.flapping:
            transitions = (*transitions, _flapping_transition(endpoint, flaps, value, breaker.gen, now_ms))

    after = replace(
        state,
        breaker=breaker,
        run_outcome=outcome,
        run_length=run_length,
        run_since_ms=state.run_since_ms if same else now_ms,
        last_success_ms=now_ms if success else state.last_success_ms,
        last_failure_ms=state.last_failure_ms if success else now_ms,
        last_failure_text=state.last_failure_text if success else result.text,
        evidence=evidence_.restart(evidence) if closed else evidence,
        changes=changes,
        results=results,
        flapping=flaps,
        flapping_since_ms=state.flapping_since_ms if flaps is state.flapping else now_ms if flaps else 0,
        warm_up_since_ms=now_ms if closed else state.warm_up_since_ms,
    )
    return after, transitions


def _advance(seen: Seen, override: Override | None) -> tuple[BreakerState, tuple[Transition, ...]]:
    """Ask the policy until it has nothing more to say; one result may end both a cooldown and its only trial."""
    policy = POLICIES[seen.pool.policy]
    transitions: tuple[Transition, ...] = ()
    while (ruling := policy.judge(seen)) is not None:
        if override is Override.DISABLED and target(seen.breaker.state, ruling.event) is _OPEN:
            break
        breaker = _step(seen, ruling)
        transitions = (*transitions, _breaker_transition(seen.endpoint, seen.breaker, breaker))
        if len(transitions) == len(Breaker):  # A policy that goes round in circles is stopped, and asked again at the next result.
            return breaker, transitions
        seen = replace(seen, breaker=breaker)
    return seen.breaker, transitions


def _breaker_before(state: EndpointState, success: bool, now_ms: int) -> BreakerState:
    """The breaker with the newest result counted, before the policy is asked."""
    breaker = state.breaker
    if success:
        if breaker.state is _HALF_OPEN:
            return count_trial(breaker)
        if breaker.opens and breaker.state is _CLOSED:
            return forgive(breaker, state.last_failure_ms, now_ms)
    return breaker


def _step(seen: Seen, ruling: Ruling) -> BreakerState:
    return step(
        seen.breaker,
        ruling.event,
        endpoint_id=seen.endpoint.id,
        pool=seen.pool,
        now_ms=seen.now_ms,
        reason=ruling.reason,
        evidence=ruling.evidence,
    )


def _overtaken(endpoint: Endpoint, state: EndpointState, result: Result) -> bool:
    """Older than the newest settled result. By more than a lease can last, it is the clock that went back, and life goes on."""
    behind_ms = state.last.at_ms - result.at_ms
    return 0 < behind_ms <= endpoint.interval_ms + endpoint.attempts_budget_ms


def _last(before: LastResult, result: Result) -> LastResult:
    certificate = result.certificate
    if certificate is not None:
        not_after_ms = certificate.not_after_ms
    else:  # A connection that failed says nothing about the certificate seen before.
        not_after_ms = 0 if result.outcome is _SUCCESS else before.certificate_not_after_ms
    return LastResult(
        result.at_ms,
        result.outcome,
        result.failure,
        result.text,
        result.status,
        result.duration_ms,
        result.attempts,
        result.phases,
        not_after_ms,
        result.ip,
        result.http_version,
        result.body_bytes,
    )


def next_interval_ms(endpoint: Endpoint, state: EndpointState) -> int:
    """The fast interval while a change is pending: a failing run below its threshold, or a recovery; else the usual one."""
    if not endpoint.fast_interval_ms:
        return endpoint.interval_ms
    breaker = state.breaker.state
    if breaker is _CLOSED:
        pending = state.run_outcome is _FAILURE and state.run_length < endpoint.failure_threshold
    else:
        pending = breaker is _HALF_OPEN or state.run_outcome is _SUCCESS
    return endpoint.fast_interval_ms if pending else endpoint.interval_ms


def _moved(before: EndpointState, after: EndpointState) -> bool:
    """Whether the verdict or the graded evidence changed, given that neither breaker nor flapping did."""
    if before.run_outcome is not after.run_outcome and verdict(before, no_data=False) is not verdict(after, no_data=False):
        return True
    return evidence_.grade(before.evidence) != evidence_.grade(after.evidence)


def _breaker_transition(endpoint: Endpoint, old: BreakerState, new: BreakerState) -> Transition:
    return Transition(
        endpoint=endpoint.id,
        pool=endpoint.pool,
        kind="breaker",
        old=old.state.value,
        new=new.state.value,
        reason=new.reason,
        at_ms=new.since_ms,
        gen=new.gen,
        evidence=new.evidence,
    )


def _flapping_transition(endpoint: Endpoint, started: bool, value: float, gen: int, now_ms: int) -> Transition:
    if started:
        reason = f"the outcome changed too often: {value:.1f} % of the last 20 results, more than {flapping.START_PERCENT:g} %"
    else:
        reason = f"the outcome has steadied: {value:.1f} % of the last 20 results, not more than {flapping.STOP_PERCENT:g} %"
    old, new = (STEADY, FLAPPING) if started else (FLAPPING, STEADY)
    return Transition(
        endpoint=endpoint.id,
        pool=endpoint.pool,
        kind="flapping",
        old=old,
        new=new,
        reason=reason,
        at_ms=now_ms,
        gen=gen,
        evidence={"value_percent": value},
    )


def override_transition(endpoint: Endpoint, old: Override | None, new: Override | None, reason: str, now_ms: int) -> Transition:
    """The record of an operator's word: set, changed, or taken back (AUTO)."""
    return Transition(
        endpoint=endpoint.id,
        pool=endpoint.pool,
        kind="override",
        old=old.value if old else AUTOMATIC,
        new=new.value if new else AUTOMATIC,
        reason=reason,
        at_ms=now_ms,
    )
