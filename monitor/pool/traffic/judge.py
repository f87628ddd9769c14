"""The passive policies of a pool's members, played in order of time.

Whatever moves a breaker is the record's to say (core/decide): what a policy makes of calls is a ruling, and the member stands where the
ruling leads to until its record shows it, or shows something else: then its memory begins anew. One observer alone ejects nobody where
there are others, unless probes fail as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from monitor.core.active import decoder
from monitor.core.breaker import TRANSITIONS, Event
from monitor.core.errors import DECODE_ERRORS
from monitor.core.observation import TrafficRuling
from monitor.core.outcome import Outcome
from monitor.core.policies.call import Call
from monitor.core.policies.choice import Chosen
from monitor.core.policies.policy import Change, IllegalError, Member, Step
from monitor.core.record import Breaker, BreakerState, Override, Record
from monitor.pool.traffic.shapes import EndpointTraffic, Ruling, encode

RULING_MAX_AGE_MS: Final = 10_000
"""A ruling that no record shows after so long is given up, and judged anew."""
TICKS_MAX: Final = 1_000
"""So many times one step lets a pool's policies do what is due."""
_EVENTS: Final[Mapping[tuple[Breaker, Breaker], Event]] = {
    (old, new): event for (old, event), new in TRANSITIONS.items() if event is not Event.READMITTED or old is Breaker.OPEN
}
_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN


class Player:
    """A member of the pool while its policy is played."""

    __slots__ = ("agreed", "chosen", "field", "held", "member", "record", "refused", "ruled", "unreadable", "waits")

    def __init__(  # noqa: PLR0917 - all that is known of it.
        self, endpoint_id: str, chosen: Chosen, record: Record, mode: Override | None, field: EndpointTraffic, now_ms: int
    ) -> None:
        self.chosen = chosen
        self.record = record
        self.agreed = False
        """Whether enough observers see it fail, or slow, or probes fail."""
        self.held = ""
        self.refused = False
        """Whether the last step was held."""
        self.ruled: tuple[Event, Change, BreakerState] | None = None
        self.unreadable = ""
        self.field, breaker = _settled(field, chosen, record, now_ms)
        self.waits = self.field.ruling is not None
        """Whether a ruling is in flight, so that there is no other."""
        memory = self._memory(now_ms)
        if memory is None:
            memory = chosen.policy.begin(chosen.settings, now_ms)
        elif not self.waits:
            breaker = _stood(breaker, self.field)
        self.member: Member[Any] = Member(endpoint_id, breaker, memory, mode)

    def _memory(self, now_ms: int) -> Any:
        field, chosen, breaker = self.field, self.chosen, self.record.breaker
        if field.kind != chosen.kind or not bytes(field.memory):
            return None
        ours = field.gen == breaker.gen or self.waits
        tried = breaker.state is _HALF_OPEN and field.gen == breaker.gen - 1
        if not (ours or tried):
            return None
        try:
            memory = decoder(chosen.policy.memory).decode(field.memory)
        except DECODE_ERRORS as error:
            self.unreadable = str(error)
            return None
        return memory if ours else _admitted(self.record, chosen, memory, now_ms)

    @property
    def due_ms(self) -> int:
        """When its policy has something to do without a call; 0: never."""
        due: int = self.chosen.policy.due_ms(self.chosen.settings, self.member)
        return due

    def take(self, step: Step[Any], *, timed: bool = False) -> bool:
        """Go where a step leads; whether it has changed the breaker."""
        old, new = self.member, step.member
        self.refused = False
        if new.breaker.state is old.breaker.state:
            self.member = new
            return False
        event = _EVENTS.get((old.breaker.state, new.breaker.state))
        if self.waits or event is None or event is Event.TRIAL or not step.changes:  # When trials begin is the record's to say.
            self.member = replace(new, breaker=old.breaker)
            return False
        change = step.changes[-1]
        if event is Event.TRIP and not self.agreed:
            self.held = f"{change.reason}; but one observer alone sees it"
            self.refused = True
            if timed:  # What was due is done.
                self.member = replace(new, breaker=old.breaker)
            return False
        self.member, self.waits, self.held = new, True, ""
        self.ruled = event, change, new.breaker
        return True

    def result(self, seq: int, now_ms: int) -> EndpointTraffic:
        """What is to be kept of it, with its ruling."""
        ruling = self.field.ruling
        if self.ruled:
            event, change, breaker = self.ruled
            says = TrafficRuling(
                seq=max(seq, self.record.traffic_seq + 1),
                gen=self.record.breaker.gen,
                event=event,
                policy=self.chosen.kind,
                rule=change.rule,
                reason=change.reason,
                evidence=change.evidence,
                hard=change.hard,
                open_ms=max(0, breaker.open_until_ms - breaker.since_ms),
                opens=breaker.opens,
            )
            ruling = Ruling(says, breaker, now_ms)
        gen = ruling.says.gen + 1 if ruling else self.record.breaker.gen
        memory = msgspec.Raw(encode(self.member.memory))
        breaker = self.member.breaker
        standing = breaker.trial_successes, breaker.opens, breaker.forgiven_ms
        return replace(self.field, kind=self.chosen.kind, memory=memory, gen=gen, standing=standing, ruling=ruling, held=self.held)


def play(players: Sequence[Player], seconds: Iterable[tuple[int, Mapping[str, Sequence[Call]]]], until_ms: int) -> None:
    """Let calls end at their times, and do between them what is due, up to `until_ms`. Times do not decrease."""
    groups: dict[str, list[Player]] = {}
    for player in players:
        groups.setdefault(player.chosen.kind, []).append(player)
    budget = TICKS_MAX
    for at_ms, calls in seconds:
        for group in groups.values():
            budget = _tick(group, at_ms, budget)
            _observe(group, calls, at_ms)
    for group in groups.values():
        _tick(group, until_ms, budget)


def agreed(field: EndpointTraffic, record: Record, since_ms: int, credible: Collection[str]) -> bool:
    """Whether two observers whose word counts (or all there are) have seen it fail, or slow, since then, or probes do."""
    seen = sum(at_ms >= since_ms and name in credible for name, at_ms in field.failing)
    return seen >= min(2, max(1, len(credible))) or (record.probes.run_outcome is Outcome.FAILURE and not record.silent)


def _observe(group: Sequence[Player], calls: Mapping[str, Sequence[Call]], at_ms: int) -> None:
    policy = group[0].chosen.policy
    gathered = _Gathered(group, at_ms)
    for player in group:
        for call in _one_by_one(player, calls.get(player.member.id, ())):
            settings = player.chosen.settings
            known, count = gathered.of(settings), call.count
            while count and not player.take(policy.observe(settings, player.member, replace(call, count=count), known, at_ms)):
                if not player.refused:
                    break
                count //= 2  # What one observer alone says is heard as far as it ejects nothing.
            else:
                gathered = _Gathered(group, at_ms) if count else gathered


def _tick(group: Sequence[Player], until_ms: int, budget: int) -> int:
    """Do what is due, the earliest first; then hold the members against each other. Returns what is left of the budget."""
    policy = group[0].chosen.policy
    stuck: set[int] = set()
    while budget > 0:
        due = [(player.due_ms, n) for n, player in enumerate(group) if n not in stuck]
        at_ms = min((ms for ms, _ in due if ms > 0), default=0)
        if not 0 < at_ms <= until_ms:
            return budget
        budget -= 1
        for ms, n in due:
            if ms == at_ms:
                player = group[n]
                player.take(policy.tick(player.chosen.settings, player.member, at_ms), timed=True)
                if 0 < player.due_ms <= at_ms:
                    stuck.add(n)
        gathered = _Gathered(group, at_ms)
        for player in group:
            settings = player.chosen.settings
            if player.take(policy.compare(settings, player.member, gathered.of(settings), at_ms), timed=True):
                gathered = _Gathered(group, at_ms)
    return budget


def _one_by_one(player: Player, calls: Iterable[Call]) -> Iterable[Call]:
    """Trials end one after the other, since each may be the last."""
    for call in calls:
        if player.member.breaker.state is _HALF_OPEN:
            yield from [replace(call, count=1)] * call.count
        else:
            yield call


class _Gathered:
    """What is known of the whole group, for each of its members' settings once."""

    def __init__(self, group: Sequence[Player], at_ms: int) -> None:
        self._group = group
        self._at_ms = at_ms
        self._known: dict[int, Any] = {}

    def of(self, settings: Any) -> Any:
        policy = self._group[0].chosen.policy
        if not policy.relative:
            return None
        if id(settings) not in self._known:
            self._known[id(settings)] = policy.gather(settings, [player.member for player in self._group], self._at_ms)
        return self._known[id(settings)]


def _settled(field: EndpointTraffic, chosen: Chosen, record: Record, now_ms: int) -> tuple[EndpointTraffic, BreakerState]:
    """The field once the record has answered its ruling, and the breaker that the policy stands at."""
    ruling, breaker = field.ruling, record.breaker
    if ruling is None:
        return field, breaker
    seq, gen = ruling.says.seq, ruling.says.gen
    same = field.kind == chosen.kind
    if same and breaker.gen == gen and record.traffic_seq < seq and 0 <= now_ms - ruling.at_ms <= RULING_MAX_AGE_MS:
        return field, ruling.breaker
    applied = record.traffic_seq == seq and breaker.gen == gen + 1 and breaker.state is ruling.breaker.state
    return replace(field, ruling=None, gen=breaker.gen if same and applied else -1), breaker


def _stood(breaker: BreakerState, field: EndpointTraffic) -> BreakerState:
    """The record's breaker with what our policy has counted in it since it changed."""
    if field.gen != breaker.gen:
        return breaker
    trial_successes, opens, forgiven_ms = field.standing
    if breaker.state is not _HALF_OPEN:
        trial_successes = breaker.trial_successes
    return replace(
        breaker, trial_successes=trial_successes, opens=min(opens, breaker.opens), forgiven_ms=max(forgiven_ms, breaker.forgiven_ms)
    )


def _admitted(record: Record, chosen: Chosen, memory: Any, now_ms: int) -> Any:
    """The memory of a policy whose opening has ended with trials: as if somebody had asked for a permit. None where it says otherwise."""
    policy, settings = chosen.policy, chosen.settings
    before = replace(record.breaker, state=_OPEN, gen=record.breaker.gen - 1, open_until_ms=0, trials=None)
    try:
        asked = policy.acquire(settings, Member("", before, memory), now_ms).member
        if asked.breaker.state is not _HALF_OPEN:
            return None
        return policy.release(settings, asked, now_ms).member.memory
    except IllegalError:
        return None
