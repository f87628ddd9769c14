"""What the rules remember of one subject between two evaluations, and what is asserted of it.

A subject (an endpoint, a pool, Watchkeeper itself) never tells what changed: it asserts all alerts that fire, under the version
of its record. Whoever receives the assertion with the largest version knows the truth, whatever was lost or came twice before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from alert_rules.rules.alert import Alert, AlertState, AlertStatus, fingerprint
from monitor.core.tilt import stepped_ms

ASSERT_EVERY_MS = 100_000
"""A subject whose alerts fire asserts them again after this time at the latest, with what they tell now."""
FOLLOW_MS = 10_000
"""And after this time at the latest, where one of them tells something else by now: not at once, so that a target whose error is another
one at every probe does not cost an assertion for each. What only counts (facts.COUNTED) waits for the next assertion."""

SYSTEM_SUBJECT = "system"


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the rules remember of one subject."""

    states: tuple[AlertState, ...] = ()
    """One for each rule whose expression holds, or whose `keep_firing_for` has not passed."""
    version: str = ""
    """The version of the rules (and of the subject's settings) that were evaluated; another one evaluates every rule."""
    asserted_ms: int = 0
    """ASSERT_EVERY_MS before the firing alerts are to be asserted again; 0 while none fires."""
    judged_ms: int = 0
    """When the rules were last evaluated, while a `for` or `keep_firing_for` has yet to pass; else 0."""

    @property
    def firing(self) -> tuple[AlertState, ...]:
        """The states of the rules whose alerts fire."""
        return tuple(state for state in self.states if state.status is AlertStatus.FIRING)


class Ended(NamedTuple):
    """An alert that fires no more, with what it told last, and why: "" where its condition no longer holds."""

    state: AlertState
    reason: str


class Assertion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All alerts of one subject that fire, as the version `ver` of its record has it; any other alert of the subject has ended."""

    subject: str
    """`endpoint:<id>`, `pool:<name>` or `system`."""
    ver: int
    at_ms: int
    alerts: tuple[Alert, ...] = ()
    ended: tuple[Alert, ...] = ()
    """Those that ended with this version, as they were last."""
    reason: str = ""
    """Why all others have ended; empty where their conditions no longer hold."""


EMPTY = Memory()

_encode = msgspec.json.Encoder().encode
_replace = msgspec.structs.replace
_decode_memory = msgspec.json.Decoder(Memory).decode
_decode_assertion = msgspec.json.Decoder(Assertion).decode


def encode_memory(memory: Memory) -> bytes:
    """Write a memory down; one of which nothing is remembered is b""."""
    return _encode(memory) if memory != EMPTY else b""


def decode_memory(data: bytes) -> Memory:
    """Read a memory; b"" is an empty one. Raises msgspec.MsgspecError where it cannot be read."""
    return _decode_memory(data) if data else EMPTY


def encode_assertion(assertion: Assertion) -> bytes:
    """Write an assertion down as an entry of the stream of alert events."""
    return _encode(assertion)


def decode_assertion(data: bytes) -> Assertion:
    """Read an assertion. Raises msgspec.MsgspecError where it cannot be read."""
    return _decode_assertion(data)


def waits(state: AlertState) -> bool:
    """Whether a `for` or `keep_firing_for` has yet to pass."""
    return state.status is AlertStatus.PENDING or state.false_since_ms > 0


def without_step(memory: Memory, now_ms: int, *, tilted: bool) -> Memory:
    """The memory as it is to be judged at `now_ms`: what waits has waited as long as when it was last judged, whatever step of time
    came between (tilt.stepped_ms). When an alert fired is a date, and stays."""
    by_ms = stepped_ms(memory.judged_ms, now_ms, tilted=tilted)
    if not by_ms:
        return memory
    states = (
        _replace(state, active_since_ms=state.active_since_ms + by_ms, false_since_ms=state.false_since_ms and state.false_since_ms + by_ms)
        if waits(state)
        else state
        for state in memory.states
    )
    return _replace(memory, states=tuple(states), judged_ms=now_ms)


def endpoint_subject(endpoint_id: str) -> str:
    """The subject of an endpoint's alerts."""
    return f"endpoint:{endpoint_id}"


def pool_subject(pool: str) -> str:
    """The subject of a pool's alerts."""
    return f"pool:{pool}"


def assertion(subject: str, ver: int, memory: Memory, now_ms: int, *, ended: Iterable[Ended] = (), reason: str = "") -> Assertion:
    """Assert what a memory holds. `ver` is the version of the record that is written with it.

    Where two rules make alerts of the same labels these are one alert, which began with the earlier of the two and ends with the later.
    """
    alerts: dict[str, Alert] = {}
    for state in memory.firing:
        alert = alert_of(state)
        held = alerts.get(alert.fingerprint)
        if held is None or alert.starts_at_ms < held.starts_at_ms:
            alerts[alert.fingerprint] = alert
    gone = tuple(_replace(alert_of(one.state), ends_at_ms=now_ms, end_reason=one.reason) for one in ended)
    return Assertion(
        subject=subject,
        ver=ver,
        at_ms=now_ms,
        alerts=tuple(alerts.values()),
        ended=tuple(alert for alert in gone if alert.fingerprint not in alerts),
        reason=reason,
    )


def alert_of(state: AlertState) -> Alert:
    """The alert of a rule that fires; of one that is pending, as it would begin."""
    return Alert(
        labels=state.labels,
        annotations=state.annotations,
        starts_at_ms=state.fired_at_ms or state.active_since_ms,
        fingerprint=fingerprint(state.labels),
        value=state.value,
    )
