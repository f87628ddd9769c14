"""A malformed or illegal event is a step with its error; nothing has changed, and the others are played."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.core.policies.call import COUNT_MAX
from tests.unit.core.replay.playing import Event, replayed, steps

TRIPPED: list[Event] = [{"at_ms": 0, "outcome": "failure", "count": 5}]
POLICY = {"kind": "consecutive"}

OUTCOMES = "success, failure, timeout, rejected, short_circuited, ignored, cancelled"
OVERRIDES = "open, half_open, forced_open, forced_closed, disabled, metrics_only, auto, reset"

CASES: list[tuple[str, tuple[str, ...]]] = [
    # What is written, and what the error says of it.
    ("7", ("object", "7")),
    ("null", ("object", "null")),
    ("[]", ("object", "[]")),
    ('"success"', ("object", '"success"')),
    ("{}", ("at_ms is missing",)),
    ('{"outcome": "success"}', ("at_ms is missing",)),
    ('{"at_ms": 9, "outcom": "success"}', ('"outcom"', "did you mean outcome?")),
    ('{"at_ms": 9, "AT_MS": 9}', ('"AT_MS"',)),
    ('{"at_ms": 9, "\\ud800": 1}', ("no key",)),
    ('{"at_ms": 9, "xyz": 1}', ("allowed are at_ms, endpoint, outcome",)),
    ('{"at_ms": "9"}', ('at_ms is "9"', "whole number")),
    ('{"at_ms": 9.0}', ("at_ms is 9.0", "whole number")),
    ('{"at_ms": 9.5}', ("at_ms is 9.5",)),
    ('{"at_ms": true}', ("at_ms is true",)),
    ('{"at_ms": null}', ("at_ms is null",)),
    ('{"at_ms": -1}', ("at_ms is -1", f"from 0 to {COUNT_MAX}")),
    (f'{{"at_ms": {COUNT_MAX + 1}}}', (f"at_ms is {COUNT_MAX + 1}",)),
    (f'{{"at_ms": 1{"0" * 400}}}', ("at_ms is 10000",)),
    (f'{{"at_ms": 1{"0" * 5000}}}', ("at_ms is Infinity",)),
    (f'{{"at_ms": 1{"0" * 40}}}', ("at_ms is 10000",)),
    ('{"at_ms": NaN}', ("at_ms is NaN",)),
    ('{"at_ms": 9, "endpoint": "z"}', ('no endpoint "z"', 'the recording has "a"')),
    ('{"at_ms": 9, "endpoint": 1}', ("no endpoint 1",)),
    ('{"at_ms": 9, "endpoint": null}', ("no endpoint null",)),
    ('{"at_ms": 9, "endpoint": ["a"]}', ('no endpoint ["a"]',)),
    ('{"at_ms": 9, "endpoint": "A"}', ('no endpoint "A"',)),
    ('{"at_ms": 9, "outcome": "SUCCESS"}', ('outcome is "SUCCESS"', OUTCOMES)),
    ('{"at_ms": 9, "outcome": "ok"}', ('outcome is "ok"', OUTCOMES)),
    ('{"at_ms": 9, "outcome": ""}', ('outcome is ""',)),
    ('{"at_ms": 9, "outcome": null}', ("outcome is null",)),
    ('{"at_ms": 9, "outcome": true}', ("outcome is true",)),
    ('{"at_ms": 9, "outcome": ["success"]}', ('outcome is ["success"]',)),
    ('{"at_ms": 9, "outcome": {}}', ("outcome is {}",)),
    ('{"at_ms": 9, "outcome": "success", "count": 0}', ("count is 0", f"from 1 to {COUNT_MAX}")),
    ('{"at_ms": 9, "outcome": "success", "count": -1}', ("count is -1",)),
    ('{"at_ms": 9, "outcome": "success", "count": 1.5}', ("count is 1.5",)),
    ('{"at_ms": 9, "outcome": "success", "count": true}', ("count is true",)),
    ('{"at_ms": 9, "outcome": "success", "count": "2"}', ('count is "2"',)),
    ('{"at_ms": 9, "outcome": "success", "count": null}', ("count is null",)),
    (f'{{"at_ms": 9, "outcome": "success", "count": {COUNT_MAX + 1}}}', ("count is",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": -1}', ("duration_ms is -1", "not negative")),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": -0.001}', ("duration_ms is -0.001",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": NaN}', ("duration_ms is NaN", "finite")),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": Infinity}', ("duration_ms is Infinity",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": -Infinity}', ("duration_ms is -Infinity",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": 1e999}', ("duration_ms is Infinity",)),
    (f'{{"at_ms": 9, "outcome": "success", "duration_ms": 1{"0" * 400}}}', ("duration_ms is 10000",)),
    (f'{{"at_ms": 9, "outcome": "success", "duration_ms": 1{"0" * 5000}}}', ("duration_ms is Infinity",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": "12"}', ('duration_ms is "12"',)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": true}', ("duration_ms is true",)),
    ('{"at_ms": 9, "outcome": "success", "duration_ms": null}', ("duration_ms is null",)),
    ('{"at_ms": 9, "outcome": "failure", "code": "503"}', ('code is "503"',)),
    ('{"at_ms": 9, "outcome": "failure", "code": 503.0}', ("code is 503.0",)),
    ('{"at_ms": 9, "outcome": "failure", "code": -1}', ("code is -1",)),
    ('{"at_ms": 9, "outcome": "failure", "code": true}', ("code is true",)),
    ('{"at_ms": 9, "outcome": "failure", "local_origin": 1}', ("local_origin is 1", "true or false")),
    ('{"at_ms": 9, "outcome": "failure", "local_origin": "true"}', ('local_origin is "true"',)),
    ('{"at_ms": 9, "acquire": false}', ("acquire is false", "only true")),
    ('{"at_ms": 9, "acquire": 1}', ("acquire is 1",)),
    ('{"at_ms": 9, "acquire": null}', ("acquire is null",)),
    ('{"at_ms": 9, "release": "true"}', ('release is "true"',)),
    ('{"at_ms": 9, "probe": "timeout"}', ('probe is "timeout"', "success, failure")),
    ('{"at_ms": 9, "probe": true}', ("probe is true",)),
    ('{"at_ms": 9, "override": "closed"}', ('override is "closed"', OVERRIDES, "open_for:MS")),
    ('{"at_ms": 9, "override": "OPEN"}', ('override is "OPEN"',)),
    ('{"at_ms": 9, "override": 1}', ("override is 1",)),
    ('{"at_ms": 9, "override": "drain"}', ('override is "drain"',)),
    ('{"at_ms": 9, "override": "open_for"}', ('override is "open_for"', OVERRIDES)),
    ('{"at_ms": 9, "override": "open_for:"}', ('override is "open_for:"', f"from 1 to {COUNT_MAX}")),
    ('{"at_ms": 9, "override": "open_for:0"}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "override": "open_for:-5"}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "override": "open_for:1.5"}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "override": "open_for: 5"}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "override": "open_for:5s"}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "override": "open_for:٣"}', ("open_for takes whole milliseconds",)),
    (f'{{"at_ms": 9, "override": "open_for:{"9" * 5000}"}}', ("open_for takes whole milliseconds",)),
    ('{"at_ms": 9, "outcome": "success", "acquire": true}', ("outcome and acquire", "at most one")),
    ('{"at_ms": 9, "acquire": true, "release": true}', ("acquire and release",)),
    ('{"at_ms": 9, "override": "auto", "probe": "success"}', ("override and probe",)),
    ('{"at_ms": 9, "count": 2}', ("count without an outcome",)),
    ('{"at_ms": 9, "acquire": true, "count": 2}', ("count without an outcome",)),
    ('{"at_ms": 9, "probe": "success", "code": 200}', ("code without an outcome",)),
]


@pytest.mark.parametrize(("written", "said"), CASES, ids=[written[:60] for written, _ in CASES])
def test_it_is_a_step_that_says_what_was_seen_and_what_is_allowed(written: str, said: tuple[str, ...]) -> None:
    events = f'[{json.dumps(TRIPPED[0])}, {written}, {{"at_ms": 5}}]'
    before, bad, after = replayed(f'{{"policy": {{"kind": "consecutive"}}, "events": {events}}}')["steps"]
    assert all(part in bad["error"] for part in said), bad["error"]
    assert len(bad["error"]) < 400
    changed = {"at_ms", "error", "transitions"}
    assert {key: value for key, value in bad.items() if key not in changed} == {
        key: value for key, value in before.items() if key not in changed
    }
    assert (bad["transitions"], bad["events"], bad["permitted"]) == ([], [], None)
    assert (after["error"], after["at_ms"], after["state"]) == (None, 5, "open")


def test_what_says_no_more_than_a_default_is_no_error() -> None:
    events = [
        {"at_ms": 0, "acquire": True, "count": 1, "duration_ms": 0, "local_origin": False},
        {"at_ms": 0, "outcome": "failure", "duration_ms": 0.0, "count": 1, "code": 600, "local_origin": True},
        {"at_ms": COUNT_MAX, "outcome": "failure", "duration_ms": 1e308, "count": COUNT_MAX},
    ]
    assert [step["error"] for step in steps(POLICY, events)] == [None] * 3


def test_time_never_decreases_and_an_event_that_says_so_changes_nothing() -> None:
    found = steps(POLICY, [*TRIPPED, {"at_ms": 7}, {"at_ms": 6, "override": "reset"}, {"at_ms": 7, "acquire": True}])
    assert (found[2]["error"], found[2]["state"], found[2]["at_ms"]) == (
        "at_ms is 6, and time has come to 7; it never decreases",
        "open",
        6,
    )
    assert (found[3]["error"], found[3]["permitted"]) == (None, False)


def test_time_does_not_pass_by_an_event_that_is_malformed() -> None:
    found = steps(POLICY, [{"at_ms": 9_000, "outcome": "what"}, {"at_ms": 1, "outcome": "success"}])
    assert [(step["at_ms"], step["error"] is None) for step in found] == [(9_000, False), (1, True)]


def test_a_move_that_the_policy_forbids_is_an_error_and_names_the_ones_it_allows() -> None:
    [step] = steps(POLICY, [{"at_ms": 3, "override": "half_open"}])
    assert step["error"] == "half_open is no move from closed; it may be told open, open_for:MS, reset or a mode"
    assert (step["state"], step["transitions"], step["at_ms"]) == ("closed", [], 3)


def test_without_the_events_that_cannot_be_played_the_other_steps_are_the_same() -> None:
    good: list[Event] = [
        {"at_ms": 0, "outcome": "failure", "count": 3},
        {"at_ms": 10, "outcome": "failure", "count": 2},
        {"at_ms": 4_000, "acquire": True},
        {"at_ms": 5_010, "acquire": True},
        {"at_ms": 5_020, "outcome": "success"},
    ]
    mixed: list[Any] = []
    for event in good:
        mixed += [event, {"at_ms": 50_000, "outcome": "x"}, None, {**event, "acquire": True, "probe": "success"}]
    assert [step for step in steps(POLICY, mixed) if step["error"] is None] == steps(POLICY, good)


def test_a_step_of_an_unknown_endpoint_shows_the_first_and_of_a_known_one_that() -> None:
    events = [{"at_ms": 0, "endpoint": name, "outcome": "what"} for name in ("b", "z", "a")]
    assert [step["endpoint"] for step in steps(POLICY, events, endpoints=["a", "b"])] == ["b", "a", "a"]
