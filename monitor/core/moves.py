"""The only place that moves a breaker: by probes, by time, and by what the judge of traffic rules.

Whose policy it is that decides, the machine is the same (core/breaker), and three rules stand above every policy: what one observation
leads to is one change, and the next comes MIN_DWELL_MS later unless it opens; under some words of an operator nothing opens
(core/overlay); an opening by consumers' reports is theirs to end, while they report (core/recovery).
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from monitor.core import recovery
from monitor.core.active import Judge, Judged
from monitor.core.breaker import TRANSITIONS, Course, Event, Opening, count_trial, enter, forgive, step, target
from monitor.core.endpoint import Endpoint
from monitor.core.observation import TrafficRuling
from monitor.core.outcome import Outcome, Result
from monitor.core.overlay import may_open
from monitor.core.policies.choice import COOLDOWN_SPREAD_PERCENT, Chosen, resolved
from monitor.core.policies.consecutive import ConsecutiveSettings
from monitor.core.policies.opening import OpeningSettings
from monitor.core.policies.policy import Change, Member, Trials
from monitor.core.policies.probed import next_course
from monitor.core.record import ActiveMemory, Breaker, BreakerState, Override, ProbeStatistics, Record, Source, Transition
from monitor.core.subject import Subject

# Bound once: reading a member from its enum costs a tenth of a microsecond, and this is done for each probe.
_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
_SUCCESS = Outcome.SUCCESS


class Moved(msgspec.Struct, frozen=True):
    """The breaker afterwards, how it came there, and what the active policy remembers."""

    breaker: BreakerState
    transitions: tuple[Transition, ...] = ()
    active: ActiveMemory | None = None
    held: Transition | None = None
    """What an operator's METRICS_ONLY has kept from happening."""


def by_probe(subject: Subject, record: Record, probes: ProbeStatistics, result: Result, now_ms: int) -> Moved:
    """After one more conclusive result, which `probes` contain already."""
    success = probes.run_outcome is _SUCCESS
    breaker = _counted(record, success, now_ms)
    closed = breaker.state is _CLOSED
    if closed and success and subject.endpoint.active is None and subject.pool.active is None:
        return Moved(breaker)  # The policy is `consecutive`, and has nothing to say.
    if not closed and recovery.by_reports(breaker, *_reporting(subject), now_ms):
        return Moved(*_recovered(subject, breaker, probes, now_ms, silent=False), record.active)
    active = resolved(subject.endpoint, subject.pool).active
    if isinstance(active.settings, ConsecutiveSettings):
        return _advanced(subject, active.settings, breaker, probes, result, now_ms=now_ms)
    return _moved(subject, now_ms, _judge(subject, active, breaker, now_ms).probed(breaker, record.active, result, now_ms))


def by_time(subject: Subject, record: Record, now_ms: int) -> Moved:
    """After a time in which nothing came: an opening that is the consumers' to end goes on, trials that have passed count once the
    breaker has stayed HALF_OPEN for long enough, and a policy does its periodic work."""
    breaker, probes = record.breaker, record.probes
    if breaker.state is not _CLOSED and recovery.by_reports(breaker, *_reporting(subject), now_ms):
        return Moved(*_recovered(subject, breaker, probes, now_ms, silent=record.silent or not probes.results), record.active)
    if subject.endpoint.paused:
        return Moved(breaker, (), record.active)
    active = resolved(subject.endpoint, subject.pool).active
    if not isinstance(active.settings, ConsecutiveSettings):
        return _moved(subject, now_ms, _judge(subject, active, breaker, now_ms).passed(breaker, record.active, now_ms))
    if breaker.state is _HALF_OPEN and probes.run_outcome is _SUCCESS:
        return _advanced(subject, active.settings, breaker, probes, None, now_ms=now_ms)
    return Moved(breaker)


def by_ruling(subject: Subject, record: Record, ruling: TrafficRuling, now_ms: int) -> Moved:
    """After a ruling that nothing speaks against (`refusal`). METRICS_ONLY keeps what would open it."""
    before = record.breaker
    breaker = enter(
        before,
        ruling.event,
        now_ms=now_ms,
        rule=ruling.rule,
        reason=ruling.reason,
        evidence=ruling.evidence,
        open_until_ms=now_ms + ruling.open_ms if ruling.open_ms else 0,
        opens=ruling.opens,
        hard=ruling.hard,
    )
    breaker = replace(breaker, source=Source.PASSIVE, policy=ruling.policy)
    transition = _transition(subject.endpoint, before, breaker)
    if (held := _held(subject, transition, before)) is not None:
        return Moved(before, (), record.active, held)
    return Moved(breaker, (transition,), record.active)


def refusal(subject: Subject, record: Record, ruling: TrafficRuling, now_ms: int, *, tilted: bool) -> str:
    """Why a ruling does not count, or does not yet; "" where it does."""
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
    if new is _OPEN and not may_open(subject.override) and subject.override is not Override.METRICS_ONLY:
        return f"under {subject.override} nothing opens the breaker"
    if recovery.dwells(before, new, now_ms):
        return f"it changed less than {recovery.MIN_DWELL_MS} ms ago"
    if ruling.event is Event.TRIAL:
        return "when trials begin is not the judge's to say"
    return ""


def due_ms(subject: Subject, record: Record, now_ms: int) -> int:
    """When time alone may change the breaker; 0: never. What has been missed comes at once."""
    breaker, endpoint = record.breaker, subject.endpoint
    if breaker.state is _CLOSED and record.active is None:
        return 0
    went = by_time(subject, record, now_ms)
    if went.transitions:
        return now_ms + 1
    due = [] if breaker.state is _CLOSED else [recovery.due_ms(endpoint, breaker, now_ms)]
    if went.active is not None and not endpoint.paused and not (due and recovery.by_reports(breaker, *_reporting(subject), now_ms)):
        due.append(_judge(subject, resolved(endpoint, subject.pool).active, breaker, now_ms).due_ms(breaker, went.active, now_ms))
    return min((ms for ms in due if ms > now_ms), default=0)


def _counted(record: Record, success: bool, now_ms: int) -> BreakerState:
    """The breaker with the newest result counted, before a policy is consulted."""
    breaker = record.breaker
    if success and breaker.state is _CLOSED:
        return forgive(breaker, record.probes.last_failure_ms, now_ms) if breaker.opens else breaker
    if success and breaker.state is _HALF_OPEN and breaker.trials is None:
        return count_trial(breaker)
    return recovery.count_probe(breaker, success) if breaker.hard else breaker


def _advanced(
    subject: Subject, settings: ConsecutiveSettings, breaker: BreakerState, probes: ProbeStatistics, result: Result | None, *, now_ms: int
) -> Moved:
    """Consult the rule until it has nothing more to say; one result may end both a cooldown and its only trial."""
    transitions: tuple[Transition, ...] = ()
    before, held = breaker, None
    while (course := next_course(settings, breaker, probes, result, now_ms)) is not None:
        after = step(breaker, course, endpoint_id=subject.endpoint.id, policy="consecutive", times=settings.times, now_ms=now_ms)
        transition = _transition(subject.endpoint, breaker, after)
        if not _may(subject, before, after.state, now_ms):
            held = _held(subject, transition, breaker)
            break
        transitions = (*transitions, transition)
        breaker = after
        if len(transitions) == len(Breaker):  # A rule that goes round in circles is stopped, and consulted again at the next result.
            break
    return Moved(breaker, transitions, None, held)


def _held(subject: Subject, transition: Transition, breaker: BreakerState) -> Transition | None:
    """The word of an opening that METRICS_ONLY has kept from happening."""
    if subject.override is not Override.METRICS_ONLY or transition.new != _OPEN:
        return None
    return replace(transition, kind="metrics_only", reason=f"would have opened: {transition.reason}", gen=breaker.gen)


def _recovered(
    subject: Subject, before: BreakerState, probes: ProbeStatistics, now_ms: int, *, silent: bool
) -> tuple[BreakerState, tuple[Transition, ...]]:
    """The breaker of an opening that is the consumers' to end, after a probe or as time goes on."""
    endpoint, chosen = subject.endpoint, resolved(subject.endpoint, subject.pool)
    terms = _terms(endpoint, chosen.passive, before)
    course = recovery.course(endpoint, before, probes, terms, now_ms, silent=silent)
    if course is None:
        return before, ()
    new = target(before.state, course.event)
    if new is _OPEN and not may_open(subject.override):
        if course.rule != recovery.TRIALS_LOST:
            return before, ()
        reason = f"{course.reason}; but under {subject.override} nothing opens the breaker"
        course = Course(Event.READMITTED, course.source, "disabled", reason)
    elif recovery.dwells(before, new, now_ms):
        return before, ()
    policy = before.policy if course.source is Source.PASSIVE else chosen.active.kind
    breaker = step(before, course, endpoint_id=endpoint.id, policy=policy, times=_times(subject, chosen.active), now_ms=now_ms)
    if breaker.state is _HALF_OPEN and terms is not None:
        breaker = replace(breaker, hard=before.hard, trials=recovery.user_trials(endpoint, terms, now_ms))
    return breaker, (_transition(endpoint, before, breaker),)


def _reporting(subject: Subject) -> tuple[bool, int | None]:
    """Whether anybody judges what consumers report, and when one did."""
    return resolved(subject.endpoint, subject.pool).passive is not None, subject.reported_ms


def _terms(endpoint: Endpoint, passive: Chosen | None, breaker: BreakerState) -> Trials | None:
    """Whom the policy that judges reports lets try a HALF_OPEN endpoint; None where it knows no trials."""
    if passive is None:
        return None
    member = Member(endpoint.id, replace(breaker, state=_HALF_OPEN), passive.policy.begin(passive.settings, 0))
    terms: Trials | None = passive.policy.trials(passive.settings, member)
    return terms


def _times(subject: Subject, active: Chosen) -> Opening:
    """For how long an opening lasts that no source's rule knows: as the active policy's, where it has such settings, or the pool's."""
    if isinstance(active.settings, OpeningSettings):
        return active.settings.times
    return Opening(subject.pool.open_ms, max(subject.pool.open_ms, subject.pool.open_max_ms), COOLDOWN_SPREAD_PERCENT)


def _judge(subject: Subject, active: Chosen, before: BreakerState, now_ms: int) -> Judge:
    return Judge(active, subject.endpoint.id, subject.gathered, lambda new: _may(subject, before, new, now_ms))


def _may(subject: Subject, before: BreakerState, new: Breaker, now_ms: int) -> bool:
    """Whether one of the rules above all policies keeps the breaker from changing so now."""
    return (new is not _OPEN or may_open(subject.override)) and not recovery.dwells(before, new, now_ms)


def _moved(subject: Subject, now_ms: int, judged: Judged) -> Moved:
    last, held = judged.breaker, judged.held
    first_gen = last.gen - len(judged.changes) + 1
    transitions = [_changed(subject.endpoint, change, first_gen + at, last) for at, change in enumerate(judged.changes)]
    would = None
    if held is not None and judged.memory is not None:
        seen = replace(last, since_ms=now_ms, source=Source.ACTIVE, policy=judged.memory.kind)
        would = _held(subject, _changed(subject.endpoint, held, last.gen, seen), last)
    return Moved(last, tuple(transitions), judged.memory, would)


def _changed(endpoint: Endpoint, change: Change, gen: int, last: BreakerState) -> Transition:
    return Transition(
        endpoint=endpoint.id,
        pool=endpoint.pool,
        kind="breaker",
        old=change.old.upper(),
        new=change.new.upper(),
        reason=change.reason,
        at_ms=last.since_ms,
        gen=gen,
        evidence=change.evidence,
        source=last.source,
        policy=last.policy,
        rule=change.rule,
    )


def _transition(endpoint: Endpoint, old: BreakerState, new: BreakerState) -> Transition:
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
