"""Only a text that is no JSON object with a usable policy, endpoints and list of events is refused whole, with the setting's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.core.errors import ConfigError
from monitor.core.replaying.recording import read_recording
from tests.unit.core.replay.playing import replayed

GOOD: dict[str, Any] = {"policy": {"kind": "consecutive"}, "endpoints": ["a"], "seed": 0, "events": []}


def refused(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        read_recording(text.encode() if isinstance(text, str) else text, "stdin")
    assert all(problem.where == "stdin" and (problem.hint or problem.why) for problem in caught.value.problems)
    return [(problem.key, problem.why) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ("   ", "it is not JSON"),
        ("{", "it is not JSON"),
        ("policy: {kind: consecutive}", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"\x80", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"events": ' * 100_000, "it is not JSON"),
        (json.dumps(GOOD) + json.dumps(GOOD), "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("3", "it is not a JSON object"),
        ('"consecutive"', "it is not a JSON object"),
        ("NaN", "it is not a JSON object"),
    ],
)
def test_what_is_no_json_object(text: str | bytes, why: str) -> None:
    [(key, said)] = refused(text)
    assert (key, said[: len(why)]) == ("", why)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"policy": None}, "policy"),
        ({"policy": "consecutive"}, "policy"),
        ({"policy": [{"kind": "consecutive"}]}, "policy"),
        ({"policy": {}}, "policy.kind"),
        ({"policy": {"failure_threshold": 3}}, "policy.kind"),
        ({"policy": {"kind": "Consecutive"}}, "policy.kind"),
        ({"policy": {"kind": "consecutiv"}}, "policy.kind"),
        ({"policy": {"kind": None}}, "policy.kind"),
        ({"policy": {"kind": ["consecutive"]}}, "policy.kind"),
        ({"policy": {"kind": "none"}}, "policy.kind"),
        ({"policy": {"kind": "consecutive", "failure_treshold": 3}}, "policy.failure_treshold"),
        ({"policy": {"kind": "consecutive", "sliding_window_size": 3}}, "policy.sliding_window_size"),
        ({"policy": {"kind": "consecutive", "failure_threshold": 0}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": -1}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": "3"}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": 3.0}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": True}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": None}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": 10**400}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "failure_threshold": float("nan")}}, "policy.failure_threshold"),
        ({"policy": {"kind": "consecutive", "success_threshold": 0}}, "policy.success_threshold"),
        ({"policy": {"kind": "consecutive", "half_open_max_calls": 0}}, "policy.half_open_max_calls"),
        ({"policy": {"kind": "consecutive", "cooldown_ms": -1}}, "policy.cooldown_ms"),
        ({"policy": {"kind": "consecutive", "cooldown_ms": 1e400}}, "policy.cooldown_ms"),
        ({"policy": {"kind": "consecutive", "cooldown_ms": 10, "cooldown_max_ms": 9}}, "policy.cooldown_max_ms"),
        ({"policy": {"kind": "consecutive", "cooldown_spread_percent": 51}}, "policy.cooldown_spread_percent"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": "a"}, "endpoints"),
        ({"endpoints": {"a": 1}}, "endpoints"),
        ({"endpoints": None}, "endpoints"),
        ({"endpoints": ["a", "a"]}, "endpoints"),
        ({"endpoints": ["a", 1]}, "endpoints"),
        ({"endpoints": [["a"]]}, "endpoints"),
        ({"endpoints": [""]}, "endpoints"),
        ({"endpoints": ["\ud800"]}, "endpoints"),
        ({"seed": "0"}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": None}, "seed"),
        ({"events": None}, "events"),
        ({"events": {}}, "events"),
        ({"events": "[]"}, "events"),
        ({"events": 3}, "events"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(change: dict[str, Any], key: str) -> None:
    assert [found for found, _ in refused(json.dumps(GOOD | change))] == [key]


@pytest.mark.parametrize("missing", ["policy", "events"])
def test_policy_and_events_must_be_there(missing: str) -> None:
    text = json.dumps({key: value for key, value in GOOD.items() if key != missing})
    assert refused(text) == [(missing, "it is missing")]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert [key for key, _ in refused('{"policy": {"kind": "x"}, "endpoints": [], "seed": "s", "events": 1}')] == [
        "policy.kind",
        "endpoints",
        "seed",
        "events",
    ]


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), json.dumps(GOOD).encode("utf-16"), b" \n" + json.dumps(GOOD).encode()]
)
def test_a_byte_order_mark_is_no_obstacle(text: bytes) -> None:
    assert replayed(text)["steps"] == []


def test_endpoints_and_seed_have_defaults_and_keys_that_mean_nothing_are_named() -> None:
    recording = read_recording(b'{"policy": {"kind": "consecutive"}, "events": [], "sed": 3, "name": "x"}', "stdin")
    assert (recording.endpoints, recording.seed, recording.ignored) == (("a",), 0, ("sed", "name"))


def test_names_may_be_anything_that_can_be_printed() -> None:
    names = ["a", "A", " ", "ü", "日本", "\n", "a" * 10_000]
    assert list(replayed(GOOD | {"endpoints": names})["final"]) == names


def test_a_seed_may_be_any_whole_number() -> None:
    for seed in (-1, 2**70, 10**300):
        assert read_recording(json.dumps(GOOD | {"seed": seed}).encode(), "stdin").seed == seed
