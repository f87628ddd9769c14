"""Virtual time: whatever is due at or before an event happens before it, in order of time, and keeps its own time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from monitor.core.policies.call import Call
from monitor.core.policies.policy import Change, Member, Shown, Step
from monitor.core.replaying.player import DUE_MAX, ReplayStep, StuckPolicyError, play
from monitor.core.replaying.recording import Recording


class Clock(msgspec.Struct, frozen=True):
    """`every_ms` of each endpoint by name; a call moves the next tick `later_ms` further; ticks end at `last_ms`."""

    every_ms: dict[str, int]
    last_ms: int = 10**9
    stuck: bool = False


class Ticked(msgspec.Struct, frozen=True):
    due_ms: int
    seen: int = 0


class Ticking:
    """A policy that writes down what it is asked, and when."""

    name = "ticking"
    settings = Clock
    memory = Ticked

    def __init__(self, *, relative: bool = False) -> None:
        self.relative = relative
        self.asked: list[tuple[str, int, str]] = []

    def check(self, settings: Clock) -> None: ...

    def begin(self, settings: Clock, now_ms: int) -> Ticked:
        del settings
        return Ticked(-1)

    def gather(self, settings: Clock, members: Iterable[Member[Ticked]], now_ms: int) -> tuple[int, ...]:
        return tuple(member.memory.seen for member in members)

    def observe(self, settings: Clock, member: Member[Ticked], call: Call, gathered: Any, now_ms: int) -> Step[Ticked]:
        self.asked.append(("observe", now_ms, member.id))
        return Step(member, events=(f"seen {gathered}",))

    def due_ms(self, settings: Clock, member: Member[Ticked]) -> int:
        due_ms = member.memory.due_ms if member.memory.due_ms >= 0 else settings.every_ms[member.id]
        return due_ms if due_ms <= settings.last_ms else 0

    def tick(self, settings: Clock, member: Member[Ticked], now_ms: int) -> Step[Ticked]:
        self.asked.append(("tick", now_ms, member.id))
        memory = Ticked(now_ms + (0 if settings.stuck else settings.every_ms[member.id]), member.memory.seen + 1)
        change = Change(now_ms, "closed", "closed", "tick", f"tick {memory.seen}")
        return Step(replace(member, memory=memory), (change,), (f"TICK_{member.id}",))

    def compare(self, settings: Clock, member: Member[Ticked], gathered: tuple[int, ...], now_ms: int) -> Step[Ticked]:
        self.asked.append((f"compare {gathered}", now_ms, member.id))
        if member.id == "a" and now_ms == 10:
            seen = replace(member, memory=replace(member.memory, seen=member.memory.seen + 100))
            return Step(seen, (Change(now_ms, "closed", "open", "compared", "the others"),))
        return Step(member)

    def shows(self, settings: Clock, member: Member[Ticked], now_ms: int) -> Shown:
        return Shown(calls=member.memory.seen, failures=now_ms)

    acquire = release = probe = override = trials = None


def played(
    every_ms: dict[str, int], events: list[dict[str, Any]], *, relative: bool = False, last_ms: int = 10**9, stuck: bool = False
) -> tuple[Ticking, list[ReplayStep]]:
    policy: Any = Ticking(relative=relative)
    recording = Recording(policy, Clock(every_ms, last_ms, stuck), tuple(every_ms), 0, list(events))
    return policy, play(recording).steps


def test_nothing_is_due_at_zero_and_the_first_tick_is_one_interval_later() -> None:
    policy, steps = played({"a": 10}, [{"at_ms": 0}, {"at_ms": 9}, {"at_ms": 10}, {"at_ms": 10}])
    assert policy.asked == [("tick", 10, "a")]
    assert [len(step.transitions) for step in steps] == [0, 0, 1, 0]


def test_what_is_due_at_the_time_of_an_event_happens_before_it() -> None:
    policy, steps = played({"a": 10}, [{"at_ms": 10, "outcome": "success"}])
    assert policy.asked == [("tick", 10, "a"), ("observe", 10, "a")]
    assert steps[0].events == ("TICK_a", "seen None")
    assert (steps[0].calls, steps[0].failures) == (1, 10)


def test_all_that_was_missed_happens_in_order_of_time_over_all_members_and_keeps_its_own_time() -> None:
    policy, steps = played({"a": 10, "b": 4}, [{"at_ms": 1}, {"at_ms": 21, "endpoint": "b"}])
    times = [(4, "b"), (8, "b"), (10, "a"), (12, "b"), (16, "b"), (20, "a"), (20, "b")]
    assert policy.asked == [("tick", *one) for one in times]
    assert [(change.at_ms, change.endpoint) for change in steps[1].transitions] == times
    assert (steps[0].transitions, steps[1].endpoint, steps[1].calls) == ((), "b", 5)


def test_at_one_time_all_tick_before_any_is_compared_and_what_is_known_of_all_is_gathered_anew_after_a_change() -> None:
    policy, steps = played({"b": 10, "a": 10, "c": 5}, [{"at_ms": 10}], relative=True)
    assert policy.asked == [
        ("tick", 5, "c"),
        *((f"compare {(0, 0, 1)}", 5, name) for name in "bac"),
        *(("tick", 10, name) for name in "bac"),
        (f"compare {(1, 1, 2)}", 10, "b"),
        (f"compare {(1, 1, 2)}", 10, "a"),
        (f"compare {(1, 101, 2)}", 10, "c"),
    ]
    assert [(change.endpoint, change.reason) for change in steps[0].transitions][-1] == ("a", "the others")


def test_a_policy_that_compares_sees_all_members_when_a_call_ends_and_another_sees_none() -> None:
    _, [step] = played({"a": 10, "b": 10}, [{"at_ms": 11, "outcome": "success"}], relative=True)
    assert step.events[-1] == "seen (101, 1)"


def test_after_the_last_event_nothing_happens_any_more() -> None:
    policy, _ = played({"a": 10}, [{"at_ms": 15}])
    assert policy.asked == [("tick", 10, "a")]


def test_no_event_at_all_is_a_recording_too() -> None:
    assert played({"a": 10}, [])[1] == []


def test_who_has_nothing_to_do_costs_nothing_however_long_it_lasts() -> None:
    policy, steps = played({"a": 1}, [{"at_ms": 2**53 - 1}], last_ms=3)
    assert [at_ms for _, at_ms, _ in policy.asked] == [1, 2, 3]
    assert steps[0].failures == 2**53 - 1


def test_a_policy_that_is_never_done_with_its_tick_is_an_error_of_ours() -> None:
    with pytest.raises(StuckPolicyError):
        played({"a": 10}, [{"at_ms": 10}], stuck=True)


def test_time_that_never_comes_to_an_end_of_what_is_due_does_not_pass() -> None:
    _, steps = played(
        {"a": 10}, [{"at_ms": 9}, {"at_ms": 10 * DUE_MAX + 10}, {"at_ms": 10, "outcome": "success"}, {"at_ms": 10 * DUE_MAX + 10}]
    )
    assert [step.error for step in steps] == [
        None,
        f"more than {DUE_MAX} times at which something is due lie before {10 * DUE_MAX + 10}; let less time pass at once",
        None,
        None,
    ]
    assert [len(step.transitions) for step in steps] == [0, 0, 1, DUE_MAX]
    assert [(step.calls, step.failures) for step in steps] == [(0, 9), (0, 9), (1, 10), (DUE_MAX + 1, 10 * DUE_MAX + 10)]
