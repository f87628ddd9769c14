"""What holds in a replay of every policy, whatever its own rules are."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.policies import POLICIES
from monitor.core.policies.options import table
from tests.unit.core.replay.playing import Event, replayed, steps, walked

QUICK: dict[str, dict[str, Any]] = {
    "consecutive": {},
    "hystrix": {"request_volume_threshold": 5, "snapshot_interval_ms": 100},
    "resilience4j": {"minimum_number_of_calls": 5, "wait_duration_in_open_state_ms": 5_000},
    "envoy": {"max_ejection_percent": 100},
    "cusum": {},
}
"""Settings with which forty failures in a second open the breaker, and nothing opens it before the fifth."""
KINDS = pytest.mark.parametrize("kind", POLICIES)
FAILED: list[Event] = [{"at_ms": 10 * number, "outcome": "timeout"} for number in range(40)]


def policy(kind: str) -> dict[str, Any]:
    return {"kind": kind, **QUICK[kind]}


@KINDS
def test_a_setting_that_has_no_default_may_be_null(kind: str) -> None:
    empty = {name: None for name, setting in table(POLICIES[kind].settings).items() if setting.default is None}
    assert steps({**policy(kind), **empty}, FAILED) == steps(policy(kind), FAILED)


def test_each_policy_is_played_here() -> None:
    assert set(QUICK) == set(POLICIES)


@KINDS
def test_it_begins_closed_with_nothing_counted(kind: str) -> None:
    [step] = steps({"kind": kind}, [{"at_ms": 0}])
    assert step == {
        "at_ms": 0, "endpoint": "a", "state": "closed", "permitted": None, "failure_rate": -1, "slow_rate": -1, "calls": 0, "failures": 0,
        "slow_calls": 0, "not_permitted": 0, "open_until_ms": None, "ejections": 0, "transitions": [], "events": [], "error": None,
    }  # fmt: skip


@KINDS
def test_forty_timeouts_open_it_who_asks_in_vain_is_counted_and_the_end_is_told(kind: str) -> None:
    found = steps(policy(kind), [*FAILED, {"at_ms": 1_000, "acquire": True}, {"at_ms": 1_000, "acquire": True}])
    assert walked(found)[0][2:] == ("closed", "open")
    assert [(step["state"], step["permitted"], step["not_permitted"]) for step in found[-2:]] == [("open", False, 1), ("open", False, 2)]
    assert found[-1]["open_until_ms"] > 1_000
    assert all(change["reason"] for step in found for change in step["transitions"])


@KINDS
def test_while_closed_everybody_is_permitted(kind: str) -> None:
    found = steps(policy(kind), [{"at_ms": 0, "acquire": True}, *FAILED[:2], {"at_ms": 20, "acquire": True}])
    assert [step["permitted"] for step in found] == [True, None, None, True]
    assert [step["open_until_ms"] for step in found] == [None] * 4


@KINDS
@pytest.mark.parametrize("outcome", ["short_circuited", "ignored", "cancelled"])
def test_what_says_nothing_of_an_endpoint_counts_nowhere(kind: str, outcome: str) -> None:
    found = steps(policy(kind), [{"at_ms": 10 * number, "outcome": outcome, "count": 9} for number in range(200)])
    assert {(step["state"], step["calls"], step["failures"], step["failure_rate"]) for step in found} == {("closed", 0, 0, -1)}


@KINDS
def test_a_seed_decides_every_draw_and_the_same_text_plays_the_same(kind: str) -> None:
    recording = {"policy": policy(kind), "endpoints": ["a", "b"], "seed": 7, "events": [*FAILED, {"at_ms": 60_000}]}
    assert replayed(recording) == replayed(recording)


@KINDS
def test_another_endpoint_is_not_touched(kind: str) -> None:
    found = replayed({"policy": policy(kind), "endpoints": ["a", "b", "c"], "events": [*FAILED, {"at_ms": 3_000}]})
    assert found["final"]["a"]["state"] == "open"
    assert found["final"]["b"] == found["final"]["c"] == replayed({"policy": policy(kind), "events": []})["final"]["a"]


@KINDS
def test_what_timers_do_is_told_at_its_time_by_the_next_event_of_whichever_endpoint(kind: str) -> None:
    waited = steps(policy(kind), [*FAILED, {"at_ms": 90_000, "endpoint": "b"}], endpoints=["a", "b"])
    assert all(0 <= at_ms <= 90_000 and name == "a" for at_ms, name, *_ in walked(waited))
    assert waited[-1]["endpoint"] == "b"
    assert walked(waited) == sorted(walked(waited), key=lambda one: one[0])


@KINDS
def test_a_history_of_a_thousand_years_ends(kind: str) -> None:
    century: list[Event] = [{"at_ms": 3_155_760_000_000 * number, "outcome": "failure"} for number in range(10)]
    assert [step["error"] for step in steps(policy(kind), [*FAILED, *century[1:]])] == [None] * 49
