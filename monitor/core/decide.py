"""The one entry to the pure decisions about an endpoint: what an observation changes, why, and what follows from it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core import evidence as evidence_
from monitor.core import flapping, history, moves
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.history import RowWrite
from monitor.core.observation import Observation, OperatorWord, ResultPace, TimePassed, TrafficRuling
from monitor.core.outcome import Outcome, Result
from monitor.core.record import (
    Breaker,
    BreakerState,
    LastResult,
    Override,
    ProbeStatistics,
    Record,
    Standing,
    Transition,
    moved,
)
from monitor.core.schedule import lease_ms, result_age_max_ms, silent_after_ms
from monitor.core.subject import Subject
from monitor.core.tilt import judging_ms, stepped_ms
from monitor.core.verdict import verdict

AUTOMATIC: Final = "AUTO"
"""How a transition names the absence of an override."""
STEADY: Final = "steady"
FLAPPING: Final = "flapping"

# Bound once: reading a member from its enum costs a tenth of a microsecond, and this is done for each probe.
_SUCCESS, _FAILURE, _INCONCLUSIVE = Outcome.SUCCESS, Outcome.FAILURE, Outcome.INCONCLUSIVE
_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
_PAUSED = Standing.PAUSED


class Decision(msgspec.Struct, frozen=True):
    """What one observation leads to.

    `weigh` is true when the pool's weights, or what is published beside them, might move; `interval_ms` is the time to the next probe.
    `refused` says why the observation changed nothing: it was overtaken by a newer one, or its source had told it before.
    """

    record: Record
    transitions: tuple[Transition, ...] = ()
    writes: tuple[RowWrite, ...] = ()
    interval_ms: int = 0
    weigh: bool = False
    refused: str = ""


def decide(subject: Subject, record: Record, observation: Observation, now_ms: int, *, tilted: bool = False) -> Decision:
    """Return the record after `observation`, the changes with their reasons, and the bytes of history to write.

    An inconclusive result, and any result while `tilted`, is recorded (as inconclusive) and judges nothing. A result older than the
    newest one, and a ruling made for another state of the breaker, change nothing. After a step of time the record's times have moved.
    """
    now_ms = judging_ms(now_ms, record.decided_ms)
    if by_ms := stepped_ms(record.decided_ms, now_ms, tilted=tilted):
        record = moved(record, by_ms)
    if isinstance(observation, Result):
        if not (tilted or by_ms) and _overtaken(subject.endpoint, record, observation):
            interval_ms = next_interval_ms(subject.endpoint, record.breaker, record.probes)
            return Decision(record, interval_ms=interval_ms, refused="overtaken by a newer result")
        return _probed(subject, record, observation, now_ms, tilted)
    if isinstance(observation, TimePassed):
        return _time_passed(subject, record, observation, now_ms)
    if isinstance(observation, OperatorWord):
        return _told(subject, record, observation, now_ms)
    return _ruled(subject, record, observation, now_ms, tilted)


def silent_at_ms(endpoint: Endpoint, record: Record, now_ms: int, pace: ResultPace) -> int:
    """When (ms) an endpoint without a further conclusive result counts as silent: nothing is known of it then.

    An outage of ours is not its silence: where neither it nor a neighbour had a result for as long as its own next one may take (an
    interval and a lease), silence counts from the end of that time, or from now while it lasts.
    """
    delay_ms = 0 if record.probes.last.at_ms else endpoint.initial_delay_ms
    from_ms = record.conclusive_ms + delay_ms
    turn_ms = endpoint.interval_ms + lease_ms(endpoint)
    if pace.age_ms > turn_ms:
        from_ms = max(from_ms, now_ms)
    elif pace.gap_ms > turn_ms:
        from_ms = max(from_ms, pace.since_ms)
    return from_ms + silent_after_ms(endpoint)


def _probed(subject: Subject, record: Record, result: Result, now_ms: int, tilted: bool) -> Decision:
    endpoint = subject.endpoint
    outcome = _INCONCLUSIVE if tilted else result.outcome
    last = _last(record.probes.last, result, outcome)
    since_ms = record.since_ms or now_ms
    if outcome is _INCONCLUSIVE:
        probes = replace(record.probes, last=last)
        interval_ms = next_interval_ms(endpoint, record.breaker, probes)
        past, writes = history.observe(record.history, endpoint, result, outcome, interval_ms)
        after = replace(record, probes=probes, history=past, override=subject.override, since_ms=since_ms, decided_ms=now_ms)
        return Decision(after, (), writes, interval_ms)

    success = outcome is _SUCCESS
    probes = _judged(record.probes, last, outcome, result.text, subject.pool, now_ms)
    went = moves.by_probe(subject, record, probes, result, now_ms)
    breaker, transitions, would_open = went.breaker, went.transitions, record.would_open
    if went.held is not None or would_open:
        would_open, told = _would_open(subject, record, went.held)
        transitions = (*transitions, *told)
    if probes.flapping is not record.probes.flapping:
        transitions = (*transitions, _flapping_transition(subject, probes, breaker.gen, now_ms))
    closed = bool(transitions) and breaker.state is _CLOSED and record.breaker.state is not _CLOSED
    weighing = evidence_.fold(record.weighing, evidence_.tau_ms(endpoint), success, result.duration_ms, now_ms)
    interval_ms = next_interval_ms(endpoint, breaker, probes)
    past, writes = history.observe(record.history, endpoint, result, outcome, interval_ms)
    after = Record(
        breaker=breaker,
        probes=probes,
        weighing=evidence_.restart(weighing) if closed else weighing,
        traffic_seq=record.traffic_seq,
        active=went.active,
        would_open=would_open,
        history=past,
        override=subject.override,
        silent=False,
        outdated=record.outdated and success and breaker.state is not _CLOSED,
        warm_up_since_ms=now_ms if closed else record.warm_up_since_ms,
        since_ms=since_ms,
        decided_ms=now_ms,
    )
    weigh = bool(transitions) or record.silent or _moved(record, after) or record.outdated is not after.outdated
    return Decision(after, transitions, writes, interval_ms, weigh)


def _judged(  # noqa: PLR0917 - one for each part of what a result says.
    probes: ProbeStatistics, last: LastResult, outcome: Outcome, text: str, pool: Pool, now_ms: int
) -> ProbeStatistics:
    """The statistics with one more conclusive result."""
    success = outcome is _SUCCESS
    same = outcome is probes.run_outcome
    changes = flapping.remember(probes.changes, success)
    results = probes.results + 1 if probes.results < flapping.OUTCOMES else flapping.OUTCOMES
    flaps = probes.flapping
    if flaps or changes + 1 & changes:  # Otherwise the outcomes changed once at most, as nearly always.
        flaps = flapping.is_flapping(flaps, flapping.value_percent(changes, results), pool)
    return ProbeStatistics(
        outcome,
        probes.run_length + 1 if same else 1,
        probes.run_since_ms if same else now_ms,
        last,
        now_ms if success else probes.last_success_ms,
        probes.last_failure_ms if success else now_ms,
        probes.last_failure_text if success else text,
        changes,
        results,
        flaps,
        probes.flapping_since_ms if flaps is probes.flapping else now_ms if flaps else 0,
    )


def _time_passed(subject: Subject, record: Record, passed: TimePassed, now_ms: int) -> Decision:
    """Nothing came: an endpoint falls silent, a pause begins or ends, and an operator's word is taken into account."""
    endpoint = subject.endpoint
    # Without a result since it was registered: that was an interval ago, or less where somebody spoke of it meanwhile.
    past, since_ms = record.history, record.since_ms or now_ms - endpoint.interval_ms
    writes: tuple[RowWrite, ...] = ()
    if endpoint.paused is not (past.standing is _PAUSED):
        past, writes = history.pause(past, endpoint, endpoint.paused, now_ms)
        since_ms = now_ms  # Silence is counted from the end of a pause.
        record = replace(record, outdated=record.probes.results > 0)
    after = replace(record, history=past, override=subject.override, since_ms=since_ms, decided_ms=now_ms)
    silent = not endpoint.paused and (record.silent or silent_at_ms(endpoint, after, now_ms, passed.pace) <= now_ms)
    weigh = silent is not record.silent or subject.override is not record.override
    if silent is not record.silent:
        after = replace(after, silent=silent)
    went = moves.by_time(subject, after, now_ms)
    if went.transitions:
        after, weigh = _changed(after, went, now_ms), True
    elif went.active is not after.active:
        after = replace(after, active=went.active)
    would_open, told = _would_open(subject, after, went.held)
    if would_open != after.would_open:
        after = replace(after, would_open=would_open)
    return Decision(after, (*went.transitions, *told), writes, endpoint.interval_ms, weigh)


def _would_open(subject: Subject, record: Record, held: Transition | None) -> tuple[tuple[str, ...], tuple[Transition, ...]]:
    """The rules that would have opened it under METRICS_ONLY, with the newest, and what is told of that: of each rule once."""
    if subject.override is not Override.METRICS_ONLY:
        return (), ()
    if held is None or held.rule in record.would_open:
        return record.would_open, ()
    return (*record.would_open, held.rule), (held,)


def _told(subject: Subject, record: Record, word: OperatorWord, now_ms: int) -> Decision:
    """The record of an operator's word: set, changed, or taken back (AUTO)."""
    if word.override is word.replaces:
        return Decision(record, refused="it is so already")
    transition = Transition(
        endpoint=subject.endpoint.id,
        pool=subject.endpoint.pool,
        kind="override",
        old=word.replaces.value if word.replaces else AUTOMATIC,
        new=word.override.value if word.override else AUTOMATIC,
        reason=word.reason,
        at_ms=now_ms,
        gen=record.breaker.gen,
        actor=word.by,
    )
    return Decision(replace(record, override=word.override, decided_ms=now_ms), (transition,), (), subject.endpoint.interval_ms, True)


def _ruled(subject: Subject, record: Record, ruling: TrafficRuling, now_ms: int, tilted: bool) -> Decision:
    """What the judge of traffic says, once, and of the very breaker that it has judged."""
    if refused := moves.refusal(subject, record, ruling, now_ms, tilted=tilted):
        return Decision(record, refused=refused)
    went = moves.by_ruling(subject, record, ruling, now_ms)
    would_open, told = _would_open(subject, record, went.held)
    after = _changed(record, went, now_ms) if went.transitions else record
    after = replace(after, would_open=would_open, traffic_seq=ruling.seq, override=subject.override, decided_ms=now_ms)
    return Decision(after, (*went.transitions, *told), (), subject.endpoint.interval_ms, bool(went.transitions))


def _changed(record: Record, went: moves.Moved, now_ms: int) -> Record:
    """The record once its breaker has changed without a probe."""
    breaker = went.breaker
    if breaker.state is not _CLOSED:
        return replace(record, breaker=breaker, active=went.active)
    weighing = evidence_.restart(record.weighing)
    return replace(record, breaker=breaker, active=went.active, weighing=weighing, outdated=False, warm_up_since_ms=now_ms)


def _overtaken(endpoint: Endpoint, record: Record, result: Result) -> bool:
    """Older than the newest result that was decided on. By more than a claim can last, it is the clock that went back, and life goes on."""
    return 0 < record.probes.last.at_ms - result.at_ms <= result_age_max_ms(endpoint)


def _last(before: LastResult, result: Result, outcome: Outcome) -> LastResult:
    failure, status, not_after_ms, stale = before.failure, before.status, before.certificate_not_after_ms, before.stale
    if outcome is not _INCONCLUSIVE:
        failure, status, stale = result.failure, result.status, result.stale
        if result.certificate is not None:
            not_after_ms = result.certificate.not_after_ms
        elif outcome is _SUCCESS:  # A connection that failed says nothing about the certificate seen before.
            not_after_ms = 0
    return LastResult(
        result.at_ms,
        outcome,
        failure,
        result.text,
        status,
        result.duration_ms,
        result.attempts,
        result.phases,
        not_after_ms,
        result.ip,
        result.http_version,
        result.body_bytes,
        stale,
    )


def next_interval_ms(endpoint: Endpoint, breaker: BreakerState, probes: ProbeStatistics) -> int:
    """The fast interval while a change is pending: a failing run below its threshold, or a recovery; else the usual one."""
    if not endpoint.fast_interval_ms:
        return endpoint.interval_ms
    if breaker.state is _CLOSED:
        pending = probes.run_outcome is _FAILURE and probes.run_length < endpoint.failure_threshold
    else:
        pending = breaker.state is _HALF_OPEN or probes.run_outcome is _SUCCESS
    return endpoint.fast_interval_ms if pending else endpoint.interval_ms


def _moved(before: Record, after: Record) -> bool:
    """Whether the verdict or the graded evidence changed, given that neither breaker nor flapping did."""
    old, new = before.probes, after.probes
    changed = old.run_outcome is not new.run_outcome or old.last.stale is not new.last.stale
    if changed and verdict(before, no_data=False) is not verdict(after, no_data=False):
        return True
    return evidence_.grade(before.weighing) != evidence_.grade(after.weighing)


def _flapping_transition(subject: Subject, probes: ProbeStatistics, gen: int, now_ms: int) -> Transition:
    endpoint, pool = subject.endpoint, subject.pool
    started, value = probes.flapping, flapping.value_percent(probes.changes, probes.results)
    if started:
        reason = f"the outcome changed too often: {value:.1f} % of the last 20 results, more than {pool.flapping_start_percent} %"
    elif pool.flapping_start_percent:
        reason = f"the outcome has steadied: {value:.1f} % of the last 20 results, not more than {pool.flapping_stop_percent} %"
    else:
        reason = "flapping is switched off in its pool"
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
