"""Any list of events: one step each, never an exception, the same twice, and what cannot be played changes nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.core.errors import ConfigError
from monitor.core.policies import POLICIES
from monitor.core.policies.options import PolicySetting, table
from monitor.core.replaying.event import OVERRIDES, EventError, read_event
from tests.fuzz.play import cases
from tests.unit.core.replay.playing import replayed

NAMES = ("a", "b", "c")
STATES = {"closed", "open", "half_open", "forced_open", "forced_closed", "disabled", "metrics_only"}
OUTCOMES = ("success", "failure", "failure", "failure", "timeout", "rejected", "short_circuited", "ignored", "cancelled")
SHOWN = ("state", "failure_rate", "slow_rate", "calls", "failures", "slow_calls", "not_permitted", "open_until_ms", "ejections")
STEP = ["at_ms", "endpoint", "state", "permitted", *SHOWN[1:], "transitions", "events", "error"]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["success", "open", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
KEYS = ("at_ms", "endpoint", "outcome", "acquire", "release", "override", "probe", "duration_ms", "count", "code", "local_origin", "x")
MALFORMED = ANYTHING | st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4)


def values(row: PolicySetting) -> st.SearchStrategy[Any]:
    """Mostly small values of a setting, so that something happens; now and then any that is allowed."""
    limits = row.limits
    if limits.choices:
        return st.sampled_from(limits.choices)
    if row.type is bool:
        return st.booleans()
    if row.type is float:
        return st.floats(limits.low, limits.high)
    low, high = int(limits.low), int(limits.high)
    usual = st.integers(low, min(high, low + 10_000 if row.name.endswith("_ms") else low + 5))
    return usual if row.name.endswith("_ms") else usual | st.integers(low, high)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(POLICIES)))
    rows = table(POLICIES[kind].settings)
    names = draw(st.lists(st.sampled_from(sorted(rows)), unique=True, max_size=5))
    return {"kind": kind} | {name: draw(values(rows[name])) for name in names}


def verbs(count: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, Any]]:
    outcome = st.fixed_dictionaries(
        {"outcome": st.sampled_from(OUTCOMES)},
        optional={
            "count": count,
            "duration_ms": st.floats(0, 1e6) | st.integers(0, 100_000),
            "code": st.sampled_from([200, 404, 499, 500, 502, 503, 599, 600]),
            "local_origin": st.booleans(),
        },
    )
    return (
        outcome
        | outcome
        | st.sampled_from([{"acquire": True}, {"acquire": True}, {"release": True}, {}, {"probe": "success"}, {"probe": "failure"}])
        | st.builds(lambda word: {"override": word}, st.sampled_from([*OVERRIDES, "open_for:700", "open_for:x"]))
    )


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, Any]:
    events: list[Any] = []
    at_ms = 0
    count = st.integers(1, 30) | st.sampled_from([1, 5, 2**53 - 1])
    for _ in range(draw(st.integers(0, 25))):
        if draw(st.integers(0, 5)) == 0:
            events.append(draw(MALFORMED))
            continue
        at_ms += draw(st.sampled_from([0, 0, 1, 10, 499, 500, 1_000, 5_000, 10_000, 60_000, 10**12]) | st.integers(0, 30_000))
        events.append({"at_ms": at_ms, "endpoint": draw(st.sampled_from(NAMES)), **draw(verbs(count))})
    return {"policy": draw(policies()), "endpoints": list(NAMES), "seed": draw(st.integers(0, 9)), "events": events}


def played(recording: dict[str, Any]) -> dict[str, Any]:
    try:
        return replayed(recording)
    except ConfigError:
        assume(False)  # Settings that contradict each other.
        raise


def is_well_formed(event: Any) -> bool:
    try:
        read_event(event, {name: place for place, name in enumerate(NAMES)}, 0)
    except EventError:
        return False
    return True


@cases(120)
@given(recordings())
def test_any_list_of_events_gives_a_step_each_the_same_each_time(recording: dict[str, Any]) -> None:
    found = played(recording)
    assert found == replayed(json.dumps(recording))
    assert list(found) == ["steps", "final"]
    assert len(found["steps"]) == len(recording["events"])
    assert list(found["final"]) == list(NAMES)
    for event, step in zip(recording["events"], found["steps"], strict=True):
        assert list(step) == STEP
        assert step["state"] in STATES
        assert (step["open_until_ms"] is not None) is (step["state"] == "open")
        assert (step["permitted"] is not None) is (step["error"] is None and "acquire" in event)
        assert -1 <= step["failure_rate"] <= 100
        assert -1 <= step["slow_rate"] <= 100
        assert all(step[name] >= 0 for name in ("calls", "failures", "slow_calls", "not_permitted", "ejections"))
        for change in step["transitions"]:
            assert change["from"] != change["to"]
            assert {change["from"], change["to"]} <= STATES
            assert change["reason"]


@cases(120)
@given(recordings())
def test_what_cannot_be_played_changes_nothing(recording: dict[str, Any]) -> None:
    found = played(recording)
    kept, told = [], []
    for event, step in zip(recording["events"], found["steps"], strict=True):
        if step["error"] is None:
            kept.append(event)
            told.append(step)
        elif is_well_formed(event) and event["at_ms"] >= max((one["at_ms"] for one in kept), default=0):
            kept.append({"at_ms": event["at_ms"], "endpoint": step["endpoint"]})  # The policy forbids it; its time has come.
            told.append(step)
    again = replayed(recording | {"events": kept})
    assert again["final"] == found["final"]
    assert [{name: step[name] for name in SHOWN} for step in again["steps"]] == [{name: step[name] for name in SHOWN} for step in told]


@cases(150)
@given(st.dictionaries(st.sampled_from(["policy", "endpoints", "seed", "events"]), ANYTHING, max_size=4) | ANYTHING)
def test_any_json_is_played_or_refused(written: Any) -> None:
    with suppress(ConfigError):
        assert list(replayed(json.dumps(written))) == ["steps", "final"]
