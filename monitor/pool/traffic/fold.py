"""One step of the judge: what is known, and what was reported since, make what is known afterwards and what is ruled."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core.endpoint import Pool
from monitor.core.evidence import grade
from monitor.core.history import MINUTE, RowWrite, row_write
from monitor.core.observation import TrafficRuling
from monitor.core.policies.call import Call
from monitor.core.policies.choice import resolved
from monitor.core.record import Breaker, BreakerState, Override
from monitor.core.reports import REPORT_SLOT_MS
from monitor.core.tilt import SKEW_MAX_MS
from monitor.pool.compose import MemberState
from monitor.pool.traffic.intake import Intake
from monitor.pool.traffic.judge import Player, agreed, play
from monitor.pool.traffic.observers import SHARE_FADE_MS, guarded
from monitor.pool.traffic.shapes import (
    NO_HEAD,
    NO_TRAFFIC,
    WEIGHING_MS,
    EndpointTraffic,
    TrafficEvidence,
    TrafficHead,
    TrafficMinute,
    faded,
    forgotten,
)
from monitor.pool.traffic.slots import Second, Seen, in_order, merged

JUDGE_MS: Final = 500
"""A pool of which consumers report is judged so often."""
QUIET_MS: Final = 1_000
"""So often where they have stopped, until everything that was known of them has gone; a new report waits no longer than that."""
REPORTING_MS: Final = 3_000
"""Consumers have stopped where none has reported for so long."""
LAG_MS: Final = 2_000
"""Policies are played up to what was reported last, and at least to the present less this: reports come that much later than calls."""
AGREEING_MAX: Final = 4
"""Of so many observers it is known that they saw an endpoint fail; two are asked for."""
WEIGH_MS: Final = 4_000
"""A pool whose members' traffic moved is weighed within this time."""
SUSPECT_PERCENT: Final = 80
"""A pool below this has trouble of its own."""
SUCCESS_STEP_PERCENT: Final = 5
"""A pool is weighed anew, and its rules evaluated, when the success of its calls has moved by such a step."""


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What one step leads to.

    `fields` are those that have changed; `gone` those of endpoints that are members no more. `rulings` wait for the endpoints' records,
    those of earlier steps among them. `refused` are entries that cannot be read: their ids, what they say, and why. `unreadable` are
    memories of policies that begin anew, by endpoint, with the reason. `weigh` is true where the pool's weights or facts might move.
    `next_ms` is when to judge again, None: when somebody reports.
    """

    head: TrafficHead
    fields: dict[str, EndpointTraffic]
    gone: tuple[str, ...]
    rulings: dict[str, TrafficRuling]
    counters: dict[str, int]
    refused: tuple[tuple[str, bytes, str], ...]
    unreadable: dict[str, str]
    weigh: bool
    next_ms: int | None
    rows: tuple[tuple[str, RowWrite], ...] = ()
    """Minutes that were closed, by endpoint."""


def fold(  # noqa: PLR0917 - a step is made of this.
    pool: Pool,
    states: Sequence[MemberState],
    head: TrafficHead,
    fields: Mapping[str, EndpointTraffic],
    entries: Sequence[tuple[str, bytes]],
    now_ms: int,
    seq: int,
) -> Folded:
    """Fold entries (their ids and bodies) into what is known of the pool's traffic, and let its policies judge. `seq` is the version that
    this will have."""
    if head.at_ms - now_ms > SKEW_MAX_MS:  # The time has stepped back: what is remembered lies ahead of it.
        head, fields = NO_HEAD, {name: replace(NO_TRAFFIC, kind=field.kind, gen=-1) for name, field in fields.items()}
    ids = {state.endpoint.id for state in states}
    intake = Intake(head.observers, ids, now_ms)
    for entry_id, data in entries:
        intake.entry(entry_id, data)
    observers = guarded(intake.observers, now_ms)
    credible = {name for name, one in observers.items() if not one.quarantined_ms}

    seconds = [(slot_ms, _credible(found, credible)) for slot_ms, found in sorted(intake.seconds.items())]
    known = {state.endpoint.id: _known(state, fields) for state in states}
    rows: list[tuple[str, RowWrite]] = []
    for endpoint_id, field in known.items():
        known[endpoint_id], closed = _counted(
            field, [(slot_ms, found[endpoint_id]) for slot_ms, found in seconds if endpoint_id in found], now_ms
        )
        rows += [(endpoint_id, row) for row in closed]

    players = _players(pool, states, known, now_ms)
    for player in players:
        player.field = _slow_too(player, seconds)
        player.agreed = agreed(player.field, player.record, now_ms - SHARE_FADE_MS, credible)
    timed, judged_ms = _calls(players, seconds, intake, observers.keys() - credible, head.judged_ms, now_ms)
    play(players, timed, max(judged_ms, now_ms - LAG_MS))
    for player in players:
        known[player.member.id] = player.result(seq, now_ms)
    for endpoint_id in ids - {player.member.id for player in players}:
        if known[endpoint_id].kind:  # Its passive policy is switched off.
            known[endpoint_id] = forgotten(known[endpoint_id])

    spoken = any(intake.seconds.values()) or bool(intake.trials)
    head = replace(
        head,
        at_ms=now_ms,
        judged_ms=max(judged_ms, now_ms - LAG_MS),
        reported_ms=now_ms if spoken else head.reported_ms,
        observers=observers,
    )
    head = _pool_calls(head, states, known, now_ms)
    told, urgent = _told(head, known, now_ms)
    weigh = told != head.told and (urgent != head.told.partition("/")[0] or now_ms - head.weighed_ms >= WEIGH_MS)
    if weigh:
        head = replace(head, told=told, weighed_ms=now_ms)
    return Folded(
        head=head,
        fields={name: field for name, field in known.items() if field != fields.get(name, NO_TRAFFIC)},
        gone=tuple(sorted(fields.keys() - ids)),
        rulings={name: field.ruling.says for name, field in known.items() if field.ruling},
        counters={name: n for name, n in intake.counters.items() if n},
        refused=tuple(intake.refused),
        unreadable={player.member.id: player.unreadable for player in players if player.unreadable},
        weigh=weigh,
        next_ms=_next_ms(head, known, players, now_ms),
        rows=tuple(rows),
    )


def _credible(found: Mapping[str, list[Seen]], credible: set[str]) -> dict[str, Second]:
    kept = {name: [one for one in some if one.observer in credible] for name, some in found.items()}
    return {name: merged(some) for name, some in kept.items() if some}


def _known(state: MemberState, fields: Mapping[str, EndpointTraffic]) -> EndpointTraffic:
    """What is known of a member, whatever it was called: a name changes nothing of what was seen."""
    field = fields.get(state.endpoint.id) or fields.get(state.record.renamed_from, NO_TRAFFIC)
    breaker = state.record.breaker
    if breaker.state is not Breaker.CLOSED or breaker.gen <= field.closed_gen:
        return field
    evidence = replace(field.evidence, calls={}, slow=0.0)  # What was seen before it opened counts no more; how fast it answers stays true.
    return replace(field, closed_gen=breaker.gen, evidence=evidence)


def _counted(field: EndpointTraffic, seconds: Sequence[tuple[int, Second]], now_ms: int) -> tuple[EndpointTraffic, list[RowWrite]]:
    """The field with these seconds among its statistics, and with who saw it fail; and the minutes that they close."""
    if not seconds:
        return field, []
    evidence, failing = faded(field.evidence, now_ms), dict(field.failing)
    calls, latency, slow = dict(evidence.calls), dict(evidence.latency), evidence.slow
    for slot_ms, second in seconds:
        for word, n in second.calls.items():
            calls[word] = calls.get(word, 0.0) + n
        for bucket, count in second.latency.items():
            latency[bucket] = latency.get(bucket, 0.0) + count
        slow += second.slow
        failing |= {name: max(slot_ms, failing.get(name, 0)) for name in second.failing}
    minute, closed = _by_minute(field.minute, seconds)
    return replace(field, evidence=TrafficEvidence(calls, slow, latency, now_ms), failing=_last(failing), minute=minute), closed


def _last(failing: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(failing.items(), key=lambda item: (-item[1], item[0]))[:AGREEING_MAX])


def _slow_too(player: Player, seconds: Sequence[tuple[int, Mapping[str, Second]]]) -> EndpointTraffic:
    """A member's field with those who saw it slow, as its policy judges that, among those who saw it fail."""
    field, limit_ms = player.field, player.chosen.policy.slow_ms(player.chosen.settings, player.member)
    if not limit_ms:
        return field
    failing = dict(field.failing)
    for slot_ms, found in seconds:
        if second := found.get(player.member.id):
            failing |= {name: max(slot_ms, failing.get(name, 0)) for name in second.slower(limit_ms)}
    return replace(field, failing=_last(failing))


def _by_minute(minute: TrafficMinute, seconds: Sequence[tuple[int, Second]]) -> tuple[TrafficMinute, list[RowWrite]]:
    """The present minute, and those that were closed. A second that comes after its minute was closed counts in the present one."""
    closed = []
    for slot_ms, second in seconds:
        start_ms = slot_ms // MINUTE.length_ms * MINUTE.length_ms
        if start_ms > minute.start_ms:
            if minute.start_ms:
                closed.append(row_write(MINUTE, minute.row()))
            minute = TrafficMinute(start_ms)
        ok, failed = second.ok, second.failed
        latency = dict(minute.latency)
        for bucket, n in second.latency.items():
            latency[bucket] = latency.get(bucket, 0) + n
        other = minute.other + sum(second.calls.values()) - ok - failed
        minute = TrafficMinute(minute.start_ms, minute.ok + ok, minute.failed + failed, other, latency)
    return minute, closed


def _pool_calls(head: TrafficHead, states: Sequence[MemberState], known: Mapping[str, EndpointTraffic], now_ms: int) -> TrafficHead:
    """The head with the calls of all members that take traffic: a failure of one that is ejected is not the pool's."""
    closed = [known[state.endpoint.id].evidence.for_weights(now_ms) for state in states if state.record.breaker.state is Breaker.CLOSED]
    ok = sum(one.ok for one in closed)
    return replace(head, ok=ok, failed=sum(one.total for one in closed) - ok)


def _players(pool: Pool, states: Sequence[MemberState], known: Mapping[str, EndpointTraffic], now_ms: int) -> list[Player]:
    players = []
    for state in states:
        chosen = resolved(state.endpoint, pool).passive
        if chosen is not None and chosen.settings is not None:
            mode = state.override.override if state.override else None
            if mode is Override.METRICS_ONLY:  # What it keeps from happening is the record's to say, and to tell.
                mode = None
            players.append(Player(state.endpoint.id, chosen, state.record, mode, known[state.endpoint.id], now_ms))
    return players


def _calls(  # noqa: PLR0917 - what was reported, and whose word does not count.
    players: Sequence[Player],
    seconds: Sequence[tuple[int, Mapping[str, Second]]],
    intake: Intake,
    quarantined: Collection[str],
    judged_ms: int,
    now_ms: int,
) -> tuple[list[tuple[int, dict[str, list[Call]]]], int]:
    """What each policy is to judge, in order of time, and how far that goes. A second that comes after a later one is judged with that."""
    timed: dict[int, dict[str, list[Call]]] = {}
    present_ms = now_ms - now_ms % REPORT_SLOT_MS
    for slot_ms, found in seconds:
        judged_ms = max(judged_ms, min(slot_ms, present_ms))
        calls = timed.setdefault(judged_ms, {})
        for player in players:
            second = found.get(player.member.id)
            if second is not None and (judgeable := _judgeable(player, second, slot_ms)):
                calls.setdefault(player.member.id, []).extend(judgeable)
    by_id = {player.member.id: player for player in players}
    for ended_ms, trial in intake.trials:
        tried = by_id.get(trial.endpoint)
        if tried is None or tried.record.breaker.gen != trial.gen or tried.record.breaker.trials is None:
            intake.counters["trials_stale"] += 1
            continue
        if trial.observer in quarantined:
            intake.counters["trials_unheard"] += 1
            continue
        judged_ms = max(judged_ms, min(ended_ms, now_ms))
        call = Call(trial.outcome, 1, trial.duration_ms, trial.code)
        timed.setdefault(judged_ms, {}).setdefault(trial.endpoint, []).append(call)
        intake.counters["trials"] += 1
    return sorted(timed.items()), judged_ms


def _judgeable(player: Player, second: Second, slot_ms: int) -> list[Call]:
    """What the policy hears of a second: nothing that ended before its breaker last changed, and of a HALF_OPEN endpoint no more calls
    without a token than it has permits, from those who cannot hold one."""
    breaker: BreakerState = player.record.breaker
    runs = player.chosen.policy.counts_runs
    if breaker.state is Breaker.HALF_OPEN:
        trials = breaker.trials
        return in_order(second, trials.permitted, runs=runs) if trials is not None and slot_ms >= breaker.since_ms else []
    if breaker.state is Breaker.CLOSED and slot_ms + REPORT_SLOT_MS <= breaker.since_ms:
        return []
    return in_order(second, runs=runs)


def _told(head: TrafficHead, known: Mapping[str, EndpointTraffic], now_ms: int) -> tuple[str, str]:
    """A text that changes with what is worth weighing the pool for, and its first part, which cannot wait."""
    percent = head.success_percent
    urgent = f"{zlib.crc32(repr(head.quarantined).encode()):08x}{'-' if percent < SUSPECT_PERCENT else '+'}"
    grades = [(name, grade(field.evidence.for_weights(now_ms))) for name, field in known.items() if field.evidence.at_ms]
    return f"{urgent}/{percent // SUCCESS_STEP_PERCENT}/{zlib.crc32(repr(grades).encode()):08x}", urgent


def _next_ms(head: TrafficHead, known: Mapping[str, EndpointTraffic], players: Sequence[Player], now_ms: int) -> int | None:
    if now_ms - head.reported_ms <= REPORTING_MS or any(field.ruling for field in known.values()):
        return now_ms + JUDGE_MS
    fresh = now_ms - head.reported_ms <= WEIGHING_MS + WEIGH_MS
    return now_ms + QUIET_MS if fresh or head.observers or any(player.due_ms for player in players) else None
