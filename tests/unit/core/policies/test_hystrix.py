"""Hystrix' circuit breaker: the facts of its own tests, and each boundary.

Of HystrixCircuitBreakerTest, HealthCountsStreamTest, HystrixCommandMetricsTest and RollingCommandEventCounterStreamTest, in version 1.5.
"""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.policies.hystrix import BUCKETS_MAX, Hystrix, Settings
from monitor.core.policies.options import SettingError, read_settings, table
from tests.unit.core.policies.timelines import Row, check

YES, NO = {"permitted": True}, {"permitted": False}
BREAKER = {
    "request_volume_threshold": 1,
    "error_threshold_percentage": 40,
    "sleep_window_ms": 200,
    "rolling_window_ms": 5_000,
    "snapshot_interval_ms": 10,
}
"""The settings of HystrixCircuitBreakerTest, whose sleeps of 100 ms are ten snapshots."""
STREAM = {"request_volume_threshold": 1, "error_threshold_percentage": 100, "rolling_window_ms": 1_000, "snapshot_interval_ms": 100}
"""Ten buckets of 100 ms, as in HealthCountsStreamTest."""


def counts(calls: int, failures: int) -> dict[str, Any]:
    return {"calls": calls, "failures": failures}


FACTS: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "successes keep it closed, failures open it": (
        BREAKER | {"error_threshold_percentage": 50},
        [
            (1, "success x4", {}),
            (101, "", {"state": "closed"}),
            (102, "failure x4", {"state": "closed"}),
            (202, "acquire", NO | {"state": "open", "moves": "closed>open@110"}),
        ],
    ),
    "failures above the threshold open it": (
        BREAKER,
        [
            (0, "acquire", YES),
            (1, "success x2", {}),
            (2, "failure", {}),
            (3, "success", {}),
            (4, "failure", {}),
            (5, "success", {}),
            (6, "failure x2", {}),
            (106, "acquire", NO | {"state": "open", "failure_rate": 50}),
        ],
    ),
    "failures below the threshold do not": (
        BREAKER,
        [(0, "success x5", {}), (1, "failure x3", {}), (101, "acquire", YES | {"state": "closed", "failure_rate": 37})],
    ),
    "timeouts open it": (BREAKER, [(0, "timeout x4", {}), (100, "acquire", NO | {"state": "open"})]),
    "timeouts above the threshold open it": (
        BREAKER,
        [(0, "success x4", {}), (1, "timeout x5", {}), (101, "", {"state": "open", "failure_rate": 55})],
    ),
    "one may try after the sleep window, and it is open still": (
        BREAKER,
        [
            (0, "failure x4", {}),
            (100, "acquire", NO | {"state": "open", "open_until_ms": 210}),
            (350, "acquire", YES | {"state": "half_open"}),
            (350, "acquire", NO),
        ],
    ),
    "a success closes it and clears the window": (
        BREAKER | {"sleep_window_ms": 100},
        [
            (0, "failure x3", {}),
            (0, "timeout", {}),
            (100, "", {"state": "open"}),
            (250, "acquire", YES),
            (250, "acquire", NO),
            (310, "success", {"state": "closed", "moves": "half_open>closed@310"} | counts(0, 0)),
            (410, "acquire", YES | {"state": "closed", "failure_rate": 0}),
            (410, "acquire", YES),
            (410, "acquire", YES),
        ],
    ),
    "one trial in each sleep window, until one succeeds": (
        BREAKER,
        [
            (0, "failure x3", {}),
            (0, "timeout", {}),
            (100, "", {"state": "open"}),
            (350, "acquire", YES),
            (350, "acquire", NO),
            (410, "failure", {"state": "open", "open_until_ms": 610}),
            *[(410, "acquire", NO)] * 3,
            (660, "acquire", YES),
            (660, "acquire", NO),
            (720, "failure", {"state": "open", "open_until_ms": 920}),
            *[(720, "acquire", NO)] * 3,
            (970, "acquire", YES),
            (970, "acquire", NO),
            (1_030, "success", {"state": "closed"}),
            *[(1_030, "acquire", YES)] * 3,
            (1_100, "", {"state": "closed"}),
        ],
    ),
    "a low volume opens nothing": (
        BREAKER | {"request_volume_threshold": 5},
        [(0, "failure x4", {}), (100, "acquire", YES | {"state": "closed", "failure_rate": -1} | counts(4, 4))],
    ),
    "a trial that nobody waits for does not leave it half open": (
        BREAKER,
        [
            (0, "failure x4", {}),
            (100, "acquire", NO),
            (350, "acquire", YES),
            (350, "cancelled", {"state": "open", "open_until_ms": 550}),
            (2_350, "acquire", YES),
            (2_351, "success", {"state": "closed"}),
            (2_451, "acquire", YES | {"state": "closed"}),
        ],
    ),
    "nothing gives zeros": (STREAM, [(1_000, "", counts(0, 0) | {"failure_rate": -1})]),
    "a success is one call": (STREAM, [(20, "success", counts(0, 0)), (1_000, "", counts(1, 0))]),
    "a failure is one error": (STREAM, [(20, "failure", {}), (1_000, "", counts(1, 1))]),
    "a timeout is one error": (STREAM, [(20, "timeout", {}), (1_000, "", counts(1, 1))]),
    "a bad request is no call": (STREAM, [(20, "ignored", {}), (1_000, "", counts(0, 0))]),
    "calls that the breaker refused are no calls": (
        STREAM,
        [(20, "failure x3", {}), (500, "", {"state": "open"}), (520, "short_circuited x2", {}), (1_000, "", counts(3, 3))],
    ),
    "rejected calls are errors": (STREAM, [(100, "rejected x2", {}), (400, "success x10", {}), (1_000, "", counts(12, 2))]),
    "a cancelled call is no call": (STREAM, [(20, "cancelled", {}), (1_000, "", counts(0, 0))]),
    "calls leave the window with their bucket": (
        STREAM,
        [(20, "success", {}), (30, "failure", {}), (1_099, "", counts(2, 1)), (1_100, "", counts(0, 0)), (9_000, "", counts(0, 0))],
    ),
    "error percentages": (
        BREAKER | {"error_threshold_percentage": 100},
        [
            (0, "success", {}),
            (100, "", {"failure_rate": 0}),
            (100, "failure", {}),
            (200, "", {"failure_rate": 50}),
            (200, "success x2", {}),
            (300, "", {"failure_rate": 25}),
            (300, "timeout x2", {}),
            (400, "", {"failure_rate": 50}),
            (400, "success x4", {}),
            (500, "", {"failure_rate": 30}),
        ],
    ),
    "bad requests do not change the percentage": (
        BREAKER | {"error_threshold_percentage": 100},
        [
            (0, "success", {}),
            (100, "failure", {}),
            (200, "ignored x2", {"failure_rate": 50}),
            (300, "failure x2", {"failure_rate": 50}),
            (400, "", {"failure_rate": 75}),
        ],
    ),
}

DEFAULTS: dict[str, Any] = {}
OPENED: list[Row] = [(100, "failure x20", {"state": "closed"}), (500, "", {"state": "open", "open_until_ms": 5_500})]
TRIED: list[Row] = [*OPENED, (5_501, "acquire", YES | {"state": "half_open"})]

BOUNDARIES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "as many calls as the volume are enough": (DEFAULTS, [(0, "failure x20", {}), (500, "", {"state": "open"})]),
    "one call fewer is not": (DEFAULTS, [(0, "failure x19", {}), (500, "", {"state": "closed", "failure_rate": -1} | counts(19, 19))]),
    "a percentage equal to its threshold opens": (
        DEFAULTS,
        [(0, "success x10", {}), (0, "failure x10", {}), (500, "", {"state": "open", "failure_rate": 50})],
    ),
    "a percentage is cut, not rounded": (
        DEFAULTS,
        [(0, "success x101", {}), (0, "failure x100", {}), (500, "", {"state": "closed", "failure_rate": 49})],
    ),
    "29 of 100 are 28 percent, as doubles have it": (
        {"error_threshold_percentage": 29},
        [(0, "success x71", {}), (0, "failure x29", {}), (500, "", {"state": "closed", "failure_rate": 28})],
    ),
    "nothing is judged between two snapshots": (
        DEFAULTS,
        [
            (1, "failure x99", {"state": "closed"} | counts(0, 0)),
            (499, "acquire", YES),
            (500, "acquire", NO | {"moves": "closed>open@500"}),
        ],
    ),
    "a snapshot comes before the call of the same millisecond": (
        DEFAULTS,
        [(499, "failure x19", {}), (500, "failure", {"state": "closed"} | counts(19, 19)), (1_000, "", {"state": "open"} | counts(20, 20))],
    ),
    "at exactly the sleep window nobody may try": (
        DEFAULTS,
        [
            *OPENED,
            (5_500, "acquire", NO | {"state": "open"}),
            (5_501, "acquire", YES | {"state": "half_open", "moves": "open>half_open@5501"}),
        ],
    ),
    "without a sleep window one may try a millisecond later": (
        {"sleep_window_ms": 0},
        [(0, "failure x20", {}), (500, "acquire", NO | {"open_until_ms": 500}), (501, "acquire", YES)],
    ),
    "time alone does not end an opening": (DEFAULTS, [*OPENED, (999_999, "", {"state": "open", "moves": ""})]),
    "the opening counts from the snapshot, not from the call": (
        DEFAULTS,
        [(1, "failure x20", {}), (9_000, "", {"state": "open", "moves": "closed>open@500", "open_until_ms": 5_500})],
    ),
    "only one may try": (DEFAULTS, [*TRIED, (5_502, "acquire", NO), (99_999, "acquire", NO | {"state": "half_open"})]),
    "a success while it is open does not close it": (DEFAULTS, [*OPENED, (5_501, "success", {"state": "open"}), (5_502, "acquire", YES)]),
    "a failure while it is open does not lengthen it": (DEFAULTS, [*OPENED, (5_400, "failure x9", {"open_until_ms": 5_500})]),
    "a failed trial opens it for a whole sleep window": (
        DEFAULTS,
        [*TRIED, (5_600, "failure", {"state": "open", "open_until_ms": 10_600}), (10_600, "acquire", NO), (10_601, "acquire", YES)],
    ),
    "a trial that times out opens it": (DEFAULTS, [*TRIED, (5_600, "timeout", {"state": "open"})]),
    "a trial that is rejected opens it": (DEFAULTS, [*TRIED, (5_600, "rejected", {"state": "open"})]),
    "a trial that is a bad request opens it": (DEFAULTS, [*TRIED, (5_600, "ignored", {"state": "open", "open_until_ms": 10_600})]),
    "a trial that is cancelled opens it": (DEFAULTS, [*TRIED, (5_600, "cancelled", {"state": "open", "open_until_ms": 10_600})]),
    "a trial that is given back opens it": (DEFAULTS, [*TRIED, (5_600, "release", {"state": "open", "open_until_ms": 10_600})]),
    "a call that a breaker refused is no trial": (DEFAULTS, [*TRIED, (5_600, "short_circuited", {"state": "half_open"})]),
    "snapshots move no breaker that is half open": (
        DEFAULTS,
        [*TRIED, (5_600, "short_circuited", {}), (9_000, "", {"state": "half_open"})],
    ),
    "after a close the next snapshot is one interval later": (
        DEFAULTS,
        [
            *TRIED,
            (5_777, "success", {"state": "closed"} | counts(0, 0)),
            (5_778, "failure x19", {}),
            (6_000, "", counts(0, 0)),
            (6_276, "", {"state": "closed"} | counts(0, 0)),
            (6_277, "", {"state": "open", "moves": "closed>open@6277", "open_until_ms": 11_277} | counts(20, 19)),
        ],
    ),
    "the success that closes is the first call of the new window": (
        DEFAULTS,
        [*TRIED, (5_777, "success", counts(0, 0)), (6_277, "", counts(1, 0)), (16_276, "", counts(1, 0)), (16_277, "", counts(0, 0))],
    ),
    "what failed before the close is forgotten": (
        DEFAULTS,
        [*TRIED, (5_600, "success", {}), (5_601, "failure x18", {}), (6_600, "", {"state": "closed"} | counts(19, 18))],
    ),
    "a window has whole buckets only": (
        {"rolling_window_ms": 1_499, "snapshot_interval_ms": 500, "request_volume_threshold": 1, "error_threshold_percentage": 100},
        [(0, "success", {}), (1_499, "", counts(1, 0)), (1_500, "", counts(0, 0))],
    ),
    "a window of one bucket": (
        {"rolling_window_ms": 500, "request_volume_threshold": 2},
        [(499, "failure", {}), (500, "failure", counts(1, 1)), (1_000, "", {"state": "closed"} | counts(1, 1)), (1_500, "", counts(0, 0))],
    ),
    "errors of several buckets add up": (
        DEFAULTS,
        [*[(500 * number, "failure", {"state": "closed"}) for number in range(20)], (10_000, "", {"state": "open"} | counts(20, 20))],
    ),
    "errors that have left the window do not": (
        DEFAULTS,
        [
            (0, "failure", {}),
            *[(500 * number, "failure", {"state": "closed"}) for number in range(1, 19)],
            (10_500, "failure", {"state": "closed"} | counts(18, 18)),
            (11_000, "", {"state": "closed"} | counts(18, 18)),
        ],
    ),
    "a day of silence is an empty window": (
        DEFAULTS,
        [(0, "failure x19", {}), (86_400_000, "failure", {}), (86_400_500, "", counts(1, 1))],
    ),
    "FORCED_OPEN lies over a machine that goes on": (
        DEFAULTS,
        [
            (0, "override forced_open", {"state": "forced_open", "moves": "closed>forced_open@0"}),
            (0, "acquire", NO),
            (1, "failure x20", {}),
            (500, "", {"state": "forced_open", "open_until_ms": None}),
            (600, "override auto", {"state": "open", "moves": "forced_open>open@600", "open_until_ms": 5_500}),
        ],
    ),
    "FORCED_CLOSED lets pass what the machine would not": (
        DEFAULTS,
        [
            (1, "failure x20", {}),
            (500, "override forced_closed", {"state": "forced_closed"}),
            (9_000, "acquire", YES),
            (9_000, "override auto", {"state": "open"}),
            (9_000, "acquire", YES | {"state": "half_open"}),
        ],
    ),
    "nobody tries under FORCED_OPEN": (
        DEFAULTS,
        [*OPENED, (600, "override forced_open", {}), (9_000, "acquire", NO), (9_000, "override auto", {"state": "open"})],
    ),
    "a trial that ends under FORCED_CLOSED ends": (
        DEFAULTS,
        [
            *TRIED,
            (5_502, "override forced_closed", {}),
            (5_600, "success", {"state": "forced_closed"}),
            (5_601, "override auto", {"state": "closed"}),
        ],
    ),
    "auto on a machine that nothing covers changes nothing": (DEFAULTS, [*OPENED, (600, "override auto", {"state": "open", "moves": ""})]),
    "the same word twice is one change": (
        DEFAULTS,
        [(0, "override forced_open", {"moves": "closed>forced_open@0"}), (1, "override forced_open", {"moves": ""})],
    ),
    "the newer of two words holds": (
        DEFAULTS,
        [
            (0, "override forced_open", {}),
            (1, "override forced_closed", {"state": "forced_closed", "moves": "forced_open>forced_closed@1"}),
        ],
    ),
    "a reset clears the word, the machine and the window": (
        DEFAULTS,
        [
            *OPENED,
            (600, "override forced_open", {}),
            (700, "override reset", {"state": "closed", "moves": "forced_open>closed@700"} | counts(0, 0)),
            (1_500, "acquire", YES | {"state": "closed"} | counts(0, 0)),
        ],
    ),
    "probes change nothing": (
        DEFAULTS,
        [*OPENED, (9_000, "probe success", {"state": "open"}), (9_000, "probe failure", {"state": "open"})],
    ),
    "calls have no speed here": (DEFAULTS, [(0, "success 99999ms x30", {}), (500, "", {"slow_rate": -1, "slow_calls": 0} | counts(30, 0))]),
    "who was refused is counted until it closes": (
        DEFAULTS,
        [
            *OPENED,
            (501, "acquire", NO | {"not_permitted": 1}),
            (502, "override forced_open", {}),
            (503, "acquire", NO | {"not_permitted": 2}),
            (504, "override auto", {}),
            (5_501, "acquire", YES | {"not_permitted": 2}),
            (5_502, "acquire", NO | {"state": "half_open", "not_permitted": 3}),
            (5_503, "success", {"state": "closed", "not_permitted": 0}),
        ],
    ),
    "nothing is told": (DEFAULTS, [*OPENED, (501, "acquire", {"events": ""})]),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name: str) -> None:
    settings, rows = FACTS[name]
    check("hystrix", settings, rows)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_boundaries(name: str) -> None:
    settings, rows = BOUNDARIES[name]
    check("hystrix", settings, rows)


@pytest.mark.parametrize("word", ["open", "half_open", "disabled", "metrics_only", "open_for:5", "closed", ""])
def test_other_words_are_illegal_and_change_nothing(word: str) -> None:
    check("hystrix", {}, [*OPENED, (600, f"override {word or 'nothing'}", {"error": "forced_open", "state": "open"} | counts(20, 20))])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("request_volume_threshold", [0, -1, 1.5, "20", True]),
        ("error_threshold_percentage", [-1, 101, 50.5]),
        ("sleep_window_ms", [-1, 5.5]),
        ("rolling_window_ms", [0]),
        ("rolling_buckets", [0]),
        ("snapshot_interval_ms", [0]),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, wrong: list[Any]) -> None:
    for value in wrong:
        with pytest.raises(SettingError, match=name):
            read_settings(Settings, {name: value})


@pytest.mark.parametrize(
    "written",
    [{"snapshot_interval_ms": 10_001}, {"rolling_window_ms": 499}, {"snapshot_interval_ms": 1, "rolling_window_ms": BUCKETS_MAX + 1}],
)
def test_a_window_of_no_bucket_or_of_too_many_is_refused(written: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="snapshot_interval_ms"):
        Hystrix().check(read_settings(Settings, written))


def test_windows_at_the_limits_are_allowed() -> None:
    for written in ({"snapshot_interval_ms": 10_000}, {"rolling_window_ms": 500}, {"snapshot_interval_ms": 1}):
        Hystrix().check(read_settings(Settings, written))


def test_defaults_are_those_of_the_source() -> None:
    assert {row.name: row.default for row in table(Settings).values()} == {
        "request_volume_threshold": 20,
        "error_threshold_percentage": 50,
        "sleep_window_ms": 5_000,
        "rolling_window_ms": 10_000,
        "rolling_buckets": 10,
        "snapshot_interval_ms": 500,
    }
