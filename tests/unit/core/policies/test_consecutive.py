"""The policy `consecutive`: runs, cooldown, permits of a half-open period, and what comes too late (gobreaker's and pybreaker's facts)."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.policies.call import COUNT_MAX
from tests.unit.core.replay.playing import Event, steps, walked

POLICY = {"kind": "consecutive"}


def states(events: list[Event], **settings: Any) -> list[str]:
    found = steps(POLICY | settings, events)
    assert [step["error"] for step in found] == [None] * len(found)
    return [step["state"] for step in found]


def outcomes(*words: str, at_ms: int = 0) -> list[Event]:
    return [{"at_ms": at_ms, "outcome": word} for word in words]


FAILED = {"at_ms": 0, "outcome": "failure", "count": 5}


def asked(*at_ms: int) -> list[Event]:
    return [{"at_ms": ms, "acquire": True} for ms in at_ms]


def test_the_fifth_failure_in_a_row_opens_and_a_success_begins_anew() -> None:
    assert states(outcomes(*["failure"] * 5)) == ["closed"] * 4 + ["open"]
    assert states(outcomes(*["failure"] * 4, "success", *["failure"] * 5)) == ["closed"] * 9 + ["open"]


@pytest.mark.parametrize("threshold", [1, 2, 7, 1_000])
def test_it_opens_at_its_threshold_and_not_one_failure_before(threshold: int) -> None:
    assert states([{"at_ms": 0, "outcome": "failure", "count": threshold - 1 or 1}], failure_threshold=threshold) == [
        "open" if threshold == 1 else "closed"
    ]
    assert states([{"at_ms": 0, "outcome": "failure", "count": threshold}], failure_threshold=threshold) == ["open"]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("failure", "open"),
        ("timeout", "open"),
        ("success", "closed"),
        ("rejected", "closed"),
        ("short_circuited", "closed"),
        ("ignored", "closed"),
        ("cancelled", "closed"),
    ],
)
def test_failures_and_timeouts_are_bad_and_what_is_neither_changes_no_run(outcome: str, state: str) -> None:
    assert states(outcomes(*["failure"] * 4, outcome))[-1] == state
    assert states(outcomes(*["failure"] * 4, outcome, "failure"))[-1] == ("closed" if outcome == "success" else "open")


def test_a_code_a_duration_and_an_origin_decide_nothing_here() -> None:
    events: list[Event] = [{"at_ms": 0, "outcome": "success", "code": 503, "local_origin": True, "duration_ms": 10**9, "count": 9}]
    assert states(events) == ["closed"]


def test_it_stays_open_for_its_cooldown_and_leaves_on_an_acquire_at_its_end() -> None:
    found = steps(POLICY, [FAILED, *asked(4_999), {"at_ms": 5_000}, *asked(5_000)])
    assert [step["state"] for step in found] == ["open", "open", "open", "half_open"]
    assert [step["permitted"] for step in found] == [None, False, None, True]
    assert [step["open_until_ms"] for step in found] == [5_000, 5_000, 5_000, None]
    assert walked(found) == [(0, "a", "closed", "open"), (5_000, "a", "open", "half_open")]


def test_no_outcome_ends_an_opening() -> None:
    assert states([FAILED, {"at_ms": 60_000, "outcome": "success", "count": 9}]) == ["open", "open"]


@pytest.mark.parametrize(
    ("at_ms", "probe", "state"), [(4_999, "success", "open"), (5_000, "success", "closed"), (5_000, "failure", "open")]
)
def test_a_probes_success_after_the_cooldown_is_the_first_trial(at_ms: int, probe: str, state: str) -> None:
    assert states([FAILED, {"at_ms": at_ms, "probe": probe}])[-1] == state


def test_a_probe_that_succeeds_leads_through_half_open_in_its_own_time() -> None:
    found = steps(POLICY, [FAILED, {"at_ms": 7_000, "probe": "success"}])
    assert walked(found[1:]) == [(7_000, "a", "open", "half_open"), (7_000, "a", "half_open", "closed")]
    assert states([FAILED, {"at_ms": 7_000, "probe": "success"}, {"at_ms": 7_001, "probe": "success"}], success_threshold=2) == [
        "open",
        "half_open",
        "closed",
    ]


def test_probes_count_as_outcomes() -> None:
    assert states([{"at_ms": n, "probe": "failure"} for n in range(5)]) == ["closed"] * 4 + ["open"]
    assert states([*outcomes(*["failure"] * 4), {"at_ms": 0, "probe": "success"}, *outcomes("failure")])[-1] == "closed"


def test_permits_are_those_of_one_half_open_period_not_those_in_flight() -> None:
    events: list[Event] = [FAILED, *asked(5_000, 5_000, 5_000), *outcomes("success", at_ms=5_001), *asked(5_002)]
    found = steps(POLICY | {"half_open_max_calls": 2, "success_threshold": 3}, events)
    assert [step["permitted"] for step in found] == [None, True, True, False, None, False]
    assert found[-1]["state"] == "half_open"


@pytest.mark.parametrize(
    ("back", "permitted"),
    [
        ({"release": True}, True),
        ({"outcome": "ignored"}, True),
        ({"outcome": "cancelled"}, False),
        ({"outcome": "rejected"}, False),
        ({"outcome": "short_circuited"}, False),
    ],
)
def test_a_permit_comes_back_unused_or_by_an_ignored_trial_and_by_nothing_else(back: Event, permitted: bool) -> None:
    found = steps(POLICY, [FAILED, *asked(5_000), {"at_ms": 5_001, **back}, *asked(5_002, 5_003)])
    assert [step["permitted"] for step in found[-2:]] == [permitted, False]


def test_no_more_permits_come_back_than_were_given() -> None:
    back: list[Event] = [{"at_ms": 5_001, "release": True}, {"at_ms": 5_001, "outcome": "ignored", "count": 9}]
    found = steps(POLICY, [FAILED, *asked(5_000), *back, *asked(5_002, 5_003)])
    assert [step["permitted"] for step in found[-2:]] == [True, False]


def test_as_many_ignored_trials_give_as_many_permits_back() -> None:
    events: list[Event] = [FAILED, *asked(5_000, 5_000, 5_000), {"at_ms": 5_001, "outcome": "ignored", "count": 2}, *asked(*[5_002] * 3)]
    found = steps(POLICY | {"half_open_max_calls": 3, "success_threshold": 3}, events)
    assert [step["permitted"] for step in found[-3:]] == [True, True, False]


def test_a_release_means_nothing_where_no_permit_is_counted() -> None:
    assert states([{"at_ms": 0, "release": True}, FAILED, {"at_ms": 1, "release": True}, *asked(5_000)]) == [
        "closed",
        "open",
        "open",
        "half_open",
    ]


def test_one_failed_trial_opens_again_for_a_whole_cooldown() -> None:
    events: list[Event] = [FAILED, *asked(6_000), *outcomes("success", "failure", at_ms=6_500), *asked(11_499, 11_500)]
    assert states(events, success_threshold=3) == ["open", "half_open", "half_open", "open", "open", "half_open"]


def test_trials_that_succeed_close_and_the_next_life_begins_from_nothing() -> None:
    events: list[Event] = [FAILED, *asked(5_000), *outcomes("success", at_ms=5_001), *outcomes(*["failure"] * 5, at_ms=5_002)]
    assert states(events) == ["open", "half_open", "closed", "closed", "closed", "closed", "closed", "open"]


def test_what_ends_while_open_is_of_an_earlier_life_and_is_dropped() -> None:
    late: list[Event] = [{"at_ms": 100, "outcome": word, "count": 50} for word in ("failure", "success", "timeout", "ignored")]
    without, found = steps(POLICY, [FAILED, *asked(5_000)]), steps(POLICY, [FAILED, *late, *asked(5_000)])
    assert found[-1] == without[-1]
    assert [(step["calls"], step["failures"]) for step in found] == [(0, 0)] * 6


@pytest.mark.parametrize("count", [5, 6, 1_000, COUNT_MAX])
def test_a_count_is_as_many_calls_in_one_millisecond(count: int) -> None:
    assert states([{"at_ms": 0, "outcome": "failure", "count": count}]) == ["open"]
    for word in ("success", "failure"):
        one_by_one = steps(POLICY | {"success_threshold": 3}, [FAILED, *asked(5_000), *outcomes(*[word] * min(count, 50), at_ms=5_001)])
        at_once = steps(POLICY | {"success_threshold": 3}, [FAILED, *asked(5_000), {"at_ms": 5_001, "outcome": word, "count": count}])
        assert at_once[-1]["state"] == one_by_one[-1]["state"] == ("closed" if word == "success" else "open")


def test_it_shows_what_the_present_state_has_counted() -> None:
    events: list[Event] = [*outcomes("success", "success", "failure"), FAILED, *asked(10, 11), *asked(5_000)]
    found = steps(POLICY, events)
    shown = [(step["calls"], step["failures"], step["not_permitted"]) for step in found]
    assert shown == [(1, 0, 0), (2, 0, 0), (3, 1, 0), (0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 0)]
    assert [round(step["failure_rate"], 1) for step in found] == [0, 0, 33.3, -1, -1, -1, -1]
    assert {(step["slow_rate"], step["slow_calls"], step["ejections"]) for step in found} == {(-1, 0, 0)}


def test_the_cooldown_doubles_up_to_its_maximum_and_good_health_forgives() -> None:
    settings = {"cooldown_ms": 1_000, "cooldown_max_ms": 3_000, "failure_threshold": 1}
    events: list[Event] = [{"at_ms": 0, "outcome": "failure"}]
    for at_ms in (1_000, 3_000, 6_000):
        events += [{"at_ms": at_ms, "acquire": True}, {"at_ms": at_ms, "outcome": "failure"}]
    found = steps(POLICY | settings, events)
    assert [step["open_until_ms"] for step in found if step["state"] == "open"] == [1_000, 3_000, 6_000, 9_000]
    healed: list[Event] = [
        *asked(9_000),
        *outcomes("success", at_ms=9_000),
        *outcomes("success", at_ms=159_000),
        *outcomes("failure", at_ms=159_001),
    ]
    assert steps(POLICY | settings, [*events, *healed])[-1]["open_until_ms"] == 160_001


def test_without_a_maximum_the_cooldown_is_always_the_same() -> None:
    events: list[Event] = [FAILED]
    for at_ms in (5_000, 10_000, 15_000):
        events += [*asked(at_ms), *outcomes("failure", at_ms=at_ms)]
    assert [step["open_until_ms"] for step in steps(POLICY, events) if step["state"] == "open"] == [5_000, 10_000, 15_000, 20_000]


def test_a_cooldown_is_spread_by_the_seed_within_its_bounds_and_without_a_spread_by_nothing() -> None:
    policy = POLICY | {"cooldown_spread_percent": 10}
    ends = {seed: steps(policy, [FAILED], seed=seed)[0]["open_until_ms"] for seed in range(200)}
    assert 4_500 <= min(ends.values()) < 4_600
    assert 5_400 < max(ends.values()) <= 5_500
    assert ends == {seed: steps(policy, [FAILED], seed=seed)[0]["open_until_ms"] for seed in range(200)}
    assert {steps(POLICY, [FAILED], seed=seed)[0]["open_until_ms"] for seed in range(20)} == {5_000}


@pytest.mark.parametrize(
    ("mode", "permitted"), [("forced_open", False), ("forced_closed", True), ("disabled", True), ("metrics_only", True)]
)
def test_a_mode_lies_over_the_machine_until_it_is_taken_back(mode: str, permitted: bool) -> None:
    found = steps(
        POLICY,
        [{"at_ms": 1, "override": mode}, *asked(2), {"at_ms": 3, "outcome": "failure", "count": 9}, {"at_ms": 4, "override": "auto"}],
    )
    assert [step["state"] for step in found[:3]] == [mode] * 3
    assert found[1]["permitted"] is permitted
    assert found[1]["not_permitted"] == (not permitted)
    assert found[2]["calls"] == {"metrics_only": 9}.get(mode, 0)
    assert found[3]["state"] == ("open" if mode.startswith("forced") else "closed")
    assert {step["open_until_ms"] for step in found[:3]} == {None}


def test_words_of_an_operator_are_transitions_where_they_change_what_is_seen() -> None:
    words = ["forced_open", "forced_open", "auto", "auto", "open", "open", "half_open", "half_open", "open_for:7", "reset", "reset"]
    found = steps(POLICY, [{"at_ms": n, "override": word} for n, word in enumerate(words)])
    assert [step["error"] for step in found] == [None] * len(words)
    assert walked(found) == [
        (0, "a", "closed", "forced_open"),
        (2, "a", "forced_open", "closed"),
        (4, "a", "closed", "open"),
        (6, "a", "open", "half_open"),
        (8, "a", "half_open", "open"),
        (9, "a", "open", "closed"),
    ]
    assert found[8]["open_until_ms"] == 15
    assert all(one["reason"] == f"an operator said {words[one['at_ms']]}" for step in found for one in step["transitions"])


def test_a_reset_forgets_everything() -> None:
    found = steps(POLICY, [*outcomes(*["failure"] * 4), {"at_ms": 0, "override": "reset"}, *outcomes(*["failure"] * 4)])
    assert found[-1]["state"] == "closed"
    assert (found[4]["calls"], found[-1]["calls"]) == (0, 4)


def test_a_transition_says_why() -> None:
    events: list[Event] = [
        *outcomes(*["failure"] * 4, "timeout"),
        *asked(6_500),
        *outcomes("failure", at_ms=6_501),
        {"at_ms": 12_000, "probe": "success"},
    ]
    assert [one["reason"] for step in steps(POLICY, events) for one in step["transitions"]] == [
        "5 failures in a row, the last a timeout",
        "asked for after 6s500ms open: trial 1 of 1",
        "a trial failed: failure",
        "a probe succeeded after 5s499ms open: trial 1 of 1",
        "1 trial succeeded",
    ]


def test_endpoints_do_not_know_of_each_other() -> None:
    found = steps(POLICY, [FAILED, {"at_ms": 0, "endpoint": "b", "outcome": "failure", "count": 4}], endpoints=["a", "b"])
    assert [(step["endpoint"], step["state"]) for step in found] == [("a", "open"), ("b", "closed")]


GOBREAKER = {"kind": "consecutive", "failure_threshold": 6, "cooldown_ms": 60_000}
GOBREAKER_OF_THREE = GOBREAKER | {"success_threshold": 3, "half_open_max_calls": 3, "cooldown_ms": 90_000}
Fact = tuple[Event, str, int, int, bool | None]

FACTS: list[tuple[str, dict[str, Any], list[Fact]]] = [
    (
        "by its defaults the sixth failure in a row opens for a minute, and one trial decides",
        GOBREAKER,
        [
            ({"at_ms": 0, "outcome": "failure", "count": 5}, "closed", 5, 5, None),
            ({"at_ms": 0, "outcome": "success"}, "closed", 6, 5, None),
            ({"at_ms": 0, "outcome": "failure"}, "closed", 7, 6, None),
            ({"at_ms": 0, "outcome": "failure", "count": 5}, "open", 0, 0, None),
            ({"at_ms": 0, "acquire": True}, "open", 0, 0, False),
            ({"at_ms": 59_000, "acquire": True}, "open", 0, 0, False),
            ({"at_ms": 60_001, "acquire": True}, "half_open", 0, 0, True),
            ({"at_ms": 60_001, "outcome": "failure"}, "open", 0, 0, None),
            ({"at_ms": 120_002, "acquire": True}, "half_open", 0, 0, True),
            ({"at_ms": 120_002, "outcome": "success"}, "closed", 0, 0, None),
        ],
    ),
    (
        "three trials are let in, a fourth is not, and three successes close",
        GOBREAKER_OF_THREE,
        [
            ({"at_ms": 0, "outcome": "failure", "count": 6}, "open", 0, 0, None),
            ({"at_ms": 90_001, "acquire": True}, "half_open", 0, 0, True),
            ({"at_ms": 90_001, "outcome": "success"}, "half_open", 1, 0, None),
            ({"at_ms": 90_001, "acquire": True}, "half_open", 1, 0, True),
            ({"at_ms": 90_001, "outcome": "success"}, "half_open", 2, 0, None),
            ({"at_ms": 90_001, "acquire": True}, "half_open", 2, 0, True),
            ({"at_ms": 90_051, "acquire": True}, "half_open", 2, 0, False),
            ({"at_ms": 90_101, "outcome": "success"}, "closed", 0, 0, None),
        ],
    ),
    (
        "what has no say takes no permit of a half-open period, and what is of an earlier life counts nowhere",
        GOBREAKER,
        [
            ({"at_ms": 0, "outcome": "failure", "count": 6}, "open", 0, 0, None),
            ({"at_ms": 9, "outcome": "success"}, "open", 0, 0, None),
            ({"at_ms": 9, "outcome": "failure"}, "open", 0, 0, None),
            ({"at_ms": 60_001, "acquire": True}, "half_open", 0, 0, True),
            ({"at_ms": 60_001, "outcome": "ignored"}, "half_open", 0, 0, None),
            ({"at_ms": 60_001, "acquire": True}, "half_open", 0, 0, True),
            ({"at_ms": 60_001, "acquire": True}, "half_open", 0, 0, False),
        ],
    ),
]


@pytest.mark.parametrize(("policy", "facts"), [fact[1:] for fact in FACTS], ids=[fact[0] for fact in FACTS])
def test_the_facts_of_gobreaker_hold(policy: dict[str, Any], facts: list[Fact]) -> None:
    found = steps(policy, [event for event, *_ in facts])
    assert [(step["state"], step["calls"], step["failures"], step["permitted"]) for step in found] == [tuple(fact) for _, *fact in facts]
