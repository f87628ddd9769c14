"""The one entry to the pure decisions about an endpoint: what an observation changes, why, and what follows from it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core import evidence as evidence_
from monitor.core import flapping, history, recovery
from monitor.core.breaker import TRANSITIONS, Event, count_trial, enter, forgive, step, target
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.history import RowWrite
from monitor.core.observation import Observation, OperatorWord, ResultPace, TimePassed, TrafficRuling
from monitor.core.outcome import Outcome, Result
from monitor.core.policies.choice import resolved
from monitor.core.policies.policy import Member, Trials
from monitor.core.policies.probed import PROBE_POLICIES
from monitor.core.policies.seen import Ruling, Seen
from monitor.core.record import (
    Breaker,
    BreakerState,
    LastResult,
    Override,
    ProbeStatistics,
    Record,
    Source,
    Standing,
    Transition,
    moved,
)
from monitor.core.schedule import lease_ms, result_age_max_ms, silent_after_ms
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


class Subject(msgspec.Struct, frozen=True):
    """Whom a decision is about: what is registered, and what an operator has said of it.

    `reported_ms` is when a consumer last reported anything on the pool (0: never), where an opening by such reports lasts; else None.
    """

    endpoint: Endpoint
    pool: Pool
    override: Override | None = None
    reported_ms: int | None = None


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
    probes = _judged(record.probes, last, outcome, result.text, now_ms)
    breaker = _breaker_before(record, success, now_ms)
    if breaker.state is not _CLOSED and recovery.by_reports(breaker, subject.reported_ms, now_ms):
        breaker, transitions = _recovered(subject, breaker, probes, now_ms, silent=False)
    else:
        breaker, transitions = _advance(Seen(endpoint, subject.pool, breaker, outcome, probes.run_length, result, now_ms), subject.override)
    if probes.flapping is not record.probes.flapping:
        transitions = (*transitions, _flapping_transition(endpoint, probes, breaker.gen, now_ms))
    closed = bool(transitions) and breaker.state is _CLOSED and record.breaker.state is not _CLOSED
    weighing = evidence_.fold(record.weighing, evidence_.tau_ms(endpoint), success, result.duration_ms, now_ms)
    interval_ms = next_interval_ms(endpoint, breaker, probes)
    past, writes = history.observe(record.history, endpoint, result, outcome, interval_ms)
    after = Record(
        breaker=breaker,
        probes=probes,
        weighing=evidence_.restart(weighing) if closed else weighing,
        traffic_seq=record.traffic_seq,
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


def _judged(probes: ProbeStatistics, last: LastResult, outcome: Outcome, text: str, now_ms: int) -> ProbeStatistics:
    """The statistics with one more conclusive result."""
    success = outcome is _SUCCESS
    same = outcome is probes.run_outcome
    changes = flapping.remember(probes.changes, success)
    results = probes.results + 1 if probes.results < flapping.OUTCOMES else flapping.OUTCOMES
    flaps = probes.flapping
    if flaps or changes + 1 & changes:  # Otherwise the outcomes changed once at most, as nearly always.
        flaps = flapping.is_flapping(flaps, flapping.value_percent(changes, results))
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
    breaker, transitions = _time_for_breaker(subject, after, now_ms)
    if transitions:
        after, weigh = _changed(after, breaker, now_ms), True
    return Decision(after, transitions, writes, endpoint.interval_ms, weigh)


def _time_for_breaker(subject: Subject, record: Record, now_ms: int) -> tuple[BreakerState, tuple[Transition, ...]]:
    """What time alone makes of the breaker: an opening that is the consumers' to end goes on, and trials that have passed count once the
    breaker has stayed HALF_OPEN for long enough."""
    breaker, probes = record.breaker, record.probes
    if breaker.state is _CLOSED:
        return breaker, ()
    if recovery.by_reports(breaker, subject.reported_ms, now_ms):
        return _recovered(subject, breaker, probes, now_ms, silent=record.silent or not probes.results)
    if breaker.state is _HALF_OPEN and probes.run_outcome is _SUCCESS:
        newest = Result(outcome=_SUCCESS, at_ms=probes.last.at_ms, started_ms=probes.last.at_ms, duration_ms=probes.last.duration_ms)
        return _advance(Seen(subject.endpoint, subject.pool, breaker, _SUCCESS, probes.run_length, newest, now_ms), subject.override)
    return breaker, ()


def breaker_due_ms(endpoint: Endpoint, record: Record, now_ms: int) -> int:
    """When time alone may change the breaker; 0: never."""
    return 0 if record.breaker.state is _CLOSED else recovery.due_ms(endpoint, record.breaker, now_ms)


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
    before = record.breaker
    if refused := _refusal(subject, record, ruling, now_ms, tilted):
        return Decision(record, refused=refused)
    breaker = enter(
        before,
        ruling.event,
        now_ms=now_ms,
        rule=ruling.rule,
        reason=ruling.reason,
        evidence=ruling.evidence,
        open_until_ms=ruling.open_until_ms,
        opens=ruling.opens,
        hard=ruling.hard,
    )
    breaker = replace(breaker, source=Source.PASSIVE, policy=ruling.policy)
    if breaker.state is _HALF_OPEN and (terms := _terms(subject, breaker)) is not None:
        breaker = replace(breaker, trials=recovery.user_trials(subject.endpoint, terms, now_ms))
    after = replace(_changed(record, breaker, now_ms), traffic_seq=ruling.seq, override=subject.override, decided_ms=now_ms)
    return Decision(after, (_breaker_transition(subject.endpoint, before, breaker),), (), subject.endpoint.interval_ms, True)


def _refusal(subject: Subject, record: Record, ruling: TrafficRuling, now_ms: int, tilted: bool) -> str:
    """Why the ruling does not count, or does not yet; "" where it does."""
    before = record.breaker
    if ruling.seq <= record.traffic_seq:
        return f"ruling {ruling.seq} of the judge of traffic was heard before"
    if ruling.gen != before.gen:
        return f"it was made for generation {ruling.gen} of the breaker, which is {before.gen}"
    if tilted:
        return "the timeline is tilted"
    if subject.endpoint.paused:
        return "the endpoint is paused"
    new = TRANSITIONS.get((before.state, ruling.event))
    if new is None:
        return f"{ruling.event.value} is no event of {before.state.value}"
    if subject.override is Override.DISABLED and new is _OPEN:
        return "the breaker is disabled"
    if recovery.dwells(before, new, now_ms):
        return f"it changed less than {recovery.MIN_DWELL_MS} ms ago"
    if ruling.event is Event.TRIAL:
        return "when trials begin is not the judge's to say"
    return ""


def _recovered(
    subject: Subject, before: BreakerState, probes: ProbeStatistics, now_ms: int, *, silent: bool
) -> tuple[BreakerState, tuple[Transition, ...]]:
    """The breaker of an opening that is the consumers' to end, after a probe or as time goes on."""
    endpoint, terms = subject.endpoint, _terms(subject, before)
    course = recovery.course(endpoint, before, probes, terms, now_ms, silent=silent)
    if course is None:
        return before, ()
    new = target(before.state, course.event)
    if recovery.dwells(before, new, now_ms) or (subject.override is Override.DISABLED and new is _OPEN):
        return before, ()
    breaker = step(
        before, course.event, endpoint_id=endpoint.id, pool=subject.pool, now_ms=now_ms, reason=course.reason, evidence=course.evidence
    )
    policy = before.policy if course.source is Source.PASSIVE else resolved(endpoint, subject.pool).active.kind
    breaker = replace(breaker, source=course.source, policy=policy, rule=course.rule, hard=course.hard, trial_successes=0)
    if new is _HALF_OPEN and terms is not None:
        breaker = replace(breaker, hard=before.hard, trials=recovery.user_trials(endpoint, terms, now_ms))
    return breaker, (_breaker_transition(endpoint, before, breaker),)


def _terms(subject: Subject, breaker: BreakerState) -> Trials | None:
    """Whom the policy that judges reports lets try a HALF_OPEN endpoint; None where it knows no trials."""
    passive = resolved(subject.endpoint, subject.pool).passive
    if passive is None or passive.settings is None:
        return None
    member = Member(subject.endpoint.id, replace(breaker, state=_HALF_OPEN), passive.policy.begin(passive.settings, 0))
    terms: Trials | None = passive.policy.trials(passive.settings, member)
    return terms


def _changed(record: Record, breaker: BreakerState, now_ms: int) -> Record:
    """The record once its breaker has changed without a probe."""
    if breaker.state is not _CLOSED:
        return replace(record, breaker=breaker)
    weighing = evidence_.restart(record.weighing)
    return replace(record, breaker=breaker, weighing=weighing, outdated=False, warm_up_since_ms=now_ms)


def _advance(seen: Seen, override: Override | None) -> tuple[BreakerState, tuple[Transition, ...]]:
    """Consult the policy until it has nothing more to say; one result may end both a cooldown and its only trial."""
    policy = PROBE_POLICIES[seen.pool.policy]
    transitions: tuple[Transition, ...] = ()
    before = seen.breaker
    while (ruling := policy.judge(seen)) is not None:
        new = target(seen.breaker.state, ruling.event)
        if (override is Override.DISABLED and new is _OPEN) or recovery.dwells(before, new, seen.now_ms):
            break
        breaker = _step(seen, ruling)
        transitions = (*transitions, _breaker_transition(seen.endpoint, seen.breaker, breaker))
        if len(transitions) == len(Breaker):  # A policy that goes round in circles is stopped, and consulted again at the next result.
            return breaker, transitions
        seen = replace(seen, breaker=breaker)
    return seen.breaker, transitions


def _breaker_before(record: Record, success: bool, now_ms: int) -> BreakerState:
    """The breaker with the newest result counted, before the policy is consulted."""
    breaker = record.breaker
    if success:
        if breaker.state is _HALF_OPEN:
            return count_trial(breaker)
        if breaker.opens and breaker.state is _CLOSED:
            return forgive(breaker, record.probes.last_failure_ms, now_ms)
    return recovery.count_probe(breaker, success) if breaker.hard else breaker


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
        source=new.source,
        policy=new.policy,
        rule=new.rule,
    )


def _flapping_transition(endpoint: Endpoint, probes: ProbeStatistics, gen: int, now_ms: int) -> Transition:
    started, value = probes.flapping, flapping.value_percent(probes.changes, probes.results)
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
