"""Plays a recording: virtual time from 0, what is due in order of time, then the event; a step for each event.

At one due time all members that are due tick, in order of `endpoints`; then, where the policy compares, each is judged beside the others,
and what must be known of all is gathered anew after each change.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from monitor.core.policies.policy import IllegalError, Member, Shown
from monitor.core.policies.policy import Step as PolicyStep
from monitor.core.record import Breaker, BreakerState
from monitor.core.replaying.event import EventError, ReplayEvent, Verb, at_ms_seen, read_event
from monitor.core.replaying.recording import Recording

DUE_MAX: Final = 200_000
"""So many times at which something is due may lie between two events: more than a day of Hystrix's snapshots."""
_OPEN: Final = Breaker.OPEN


class ReplayTransition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transition of one endpoint; `at_ms` is when it was due."""

    at_ms: int
    endpoint: str
    old: str = msgspec.field(name="from")
    new: str = msgspec.field(name="to")
    reason: str
    evidence: dict[str, int | float | str] = {}


class Standing(msgspec.Struct, frozen=True):
    """How an endpoint stands at the end."""

    state: str
    failure_rate: float
    slow_rate: float
    calls: int
    failures: int
    slow_calls: int
    not_permitted: int
    open_until_ms: int | None
    ejections: int


class ReplayStep(msgspec.Struct, frozen=True):
    """What one event led to. `transitions` and `events` are those since the step before, of all endpoints, timers included."""

    at_ms: int
    endpoint: str
    state: str
    permitted: bool | None
    failure_rate: float
    slow_rate: float
    calls: int
    failures: int
    slow_calls: int
    not_permitted: int
    open_until_ms: int | None
    ejections: int
    transitions: tuple[ReplayTransition, ...]
    events: tuple[str, ...]
    error: str | None


class Replay(msgspec.Struct, frozen=True):
    """All that is printed."""

    steps: list[ReplayStep]
    final: dict[str, Standing]


class StuckPolicyError(RuntimeError):
    """A policy that has ticked is due at the same time again: an error of ours."""


def play(recording: Recording) -> Replay:
    """The whole recording."""
    player = _Player(recording)
    steps = [player.step(written) for written in recording.events]
    return Replay(steps, {name: player.standing(place) for place, name in enumerate(recording.endpoints)})


class _Player:
    """The members in virtual time. Everything in here is forgotten when the recording has been played."""

    def __init__(self, recording: Recording) -> None:
        self._policy, self._settings = recording.policy, recording.settings
        self._names = recording.endpoints
        self._places = {name: place for place, name in enumerate(self._names)}
        self._now_ms = 0
        self._members: list[Member[Any]] = [
            Member(name, BreakerState(), self._policy.begin(self._settings, 0), seed=recording.seed) for name in self._names
        ]
        self._due_ms = [self._policy.due_ms(self._settings, member) for member in self._members]
        self._transitions: list[ReplayTransition] = []
        self._events: list[str] = []

    def step(self, written: object) -> ReplayStep:
        """Play one event. One that is malformed changes nothing, not even the time."""
        try:
            event = read_event(written, self._places, self._now_ms)
        except EventError as error:
            named = written.get("endpoint") if isinstance(written, dict) else None
            place = self._places.get(named, 0) if isinstance(named, str) else 0
            at_ms = at_ms_seen(written)
            return self._shown(self._now_ms if at_ms is None else at_ms, place, None, str(error))
        if not self._pass_time(event.at_ms):
            endless = f"more than {DUE_MAX} times at which something is due lie before {event.at_ms}; let less time pass at once"
            return self._shown(event.at_ms, event.place, None, endless)
        try:
            permitted = self._play(event)
        except IllegalError as error:
            return self._shown(event.at_ms, event.place, None, str(error))
        return self._shown(event.at_ms, event.place, permitted, None)

    def standing(self, place: int) -> Standing:
        member = self._members[place]
        shown = self._policy.shows(self._settings, member, self._now_ms)
        return Standing(
            member.state,
            shown.failure_rate,
            shown.slow_rate,
            shown.calls,
            shown.failures,
            shown.slow_calls,
            shown.not_permitted,
            _open_until_ms(member),
            shown.ejections,
        )

    def _shown(self, at_ms: int, place: int, permitted: bool | None, error: str | None) -> ReplayStep:
        member = self._members[place]
        shown: Shown = self._policy.shows(self._settings, member, self._now_ms)
        transitions, self._transitions = tuple(self._transitions), []
        events, self._events = tuple(self._events), []
        return ReplayStep(
            at_ms,
            member.id,
            member.state,
            permitted,
            shown.failure_rate,
            shown.slow_rate,
            shown.calls,
            shown.failures,
            shown.slow_calls,
            shown.not_permitted,
            _open_until_ms(member),
            shown.ejections,
            transitions,
            events,
            error,
        )

    def _play(self, event: ReplayEvent) -> bool | None:
        policy, settings, member, now_ms = self._policy, self._settings, self._members[event.place], event.at_ms
        if event.call is not None:
            step = policy.observe(settings, member, event.call, self._gathered(), now_ms)
        elif event.verb is Verb.ACQUIRE:
            step = policy.acquire(settings, member, now_ms)
        elif event.verb is Verb.RELEASE:
            step = policy.release(settings, member, now_ms)
        elif event.verb is Verb.OVERRIDE:
            step = policy.override(settings, member, event.word, now_ms)
        elif event.verb is Verb.PROBE:
            step = policy.probe(settings, member, event.success, now_ms)
        else:
            return None
        self._take(event.place, step)
        return step.permitted

    def _pass_time(self, until_ms: int) -> bool:
        """Do what is due up to then, in order of time. False, and nothing was done, where there is no end of it: a breaker may open and
        half-open for ever."""
        if not 0 < self._next_ms() <= until_ms:
            self._now_ms = until_ms
            return True
        before = self._now_ms, self._members[:], self._due_ms[:], len(self._transitions), len(self._events)
        for _ in range(DUE_MAX):
            self._now_ms = max(self._next_ms(), self._now_ms)
            self._do_what_is_due()
            if not 0 < self._next_ms() <= until_ms:
                self._now_ms = until_ms
                return True
        self._now_ms, self._members, self._due_ms, transitions, events = before
        del self._transitions[transitions:], self._events[events:]
        return False

    def _next_ms(self) -> int:
        """When something is due next; 0: never."""
        return min(filter(None, self._due_ms), default=0)

    def _do_what_is_due(self) -> None:
        policy, settings, now_ms = self._policy, self._settings, self._now_ms
        for place, due_ms in enumerate(self._due_ms):
            if 0 < due_ms <= now_ms:
                self._take(place, policy.tick(settings, self._members[place], now_ms))
                if 0 < self._due_ms[place] <= now_ms:
                    raise StuckPolicyError(f"{policy.name} has ticked at {now_ms} ms and is due at {self._due_ms[place]} ms")
        if policy.relative:
            self._compare(now_ms)

    def _compare(self, now_ms: int) -> None:
        gathered = self._gathered()
        for place in range(len(self._members)):
            step = self._policy.compare(self._settings, self._members[place], gathered, now_ms)
            self._take(place, step)
            if step.changes:
                gathered = self._gathered()

    def _gathered(self) -> Any:
        policy = self._policy
        return policy.gather(self._settings, self._members, self._now_ms) if policy.relative else None

    def _take(self, place: int, step: PolicyStep[Any]) -> None:
        self._members[place] = step.member
        self._due_ms[place] = self._policy.due_ms(self._settings, step.member)
        self._events.extend(step.events)
        name = self._names[place]
        for change in step.changes:
            self._transitions.append(ReplayTransition(change.at_ms, name, change.old, change.new, change.reason, change.evidence))


def _open_until_ms(member: Member[Any]) -> int | None:
    return member.breaker.open_until_ms if member.mode is None and member.breaker.state is _OPEN else None
