"""resilience4j's circuit breaker: the facts of its own tests, and each boundary.

Of CircuitBreakerStateMachineTest, CircuitBreakerMetricsTest, FixedSizeSlidingWindowMetricsTest, SlidingTimeWindowMetricsTest,
CircuitBreakerEventPublisherTest, CircuitBreakerAutoTransitionStateMachineTest, CircuitBreakerConfigTest and IntervalFunctionTest, in
version 2.
"""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.policies.options import SettingError, read_settings, table
from monitor.core.policies.resilience4j_state import MOVES, Settings
from tests.unit.core.policies.timelines import Row, check, event, played

STATE_MACHINE = {
    "failure_rate_threshold": 50,
    "permitted_number_of_calls_in_half_open_state": 4,
    "slow_call_duration_threshold_ms": 4_000,
    "slow_call_rate_threshold": 50,
    "max_wait_duration_in_half_open_state_ms": 1_000,
    "sliding_window_type": "time",
    "sliding_window_size": 20,
    "minimum_number_of_calls": 5,
    "wait_duration_in_open_state_ms": 5_000,
}
RESET = {"failure_rate": -1, "calls": 0, "failures": 0, "not_permitted": 0}
YES, NO = {"permitted": True}, {"permitted": False}


def shown(rate: float, calls: int, failures: int, not_permitted: int = 0) -> dict[str, Any]:
    return {"failure_rate": rate, "calls": calls, "failures": failures, "not_permitted": not_permitted}


def slow(rate: float, calls: int, slow_calls: int) -> dict[str, Any]:
    return {"slow_rate": rate, "calls": calls, "slow_calls": slow_calls}


FACTS: dict[str, list[Row]] = {
    "OPEN permits nothing and counts whom it refuses": [
        (0, "override open", {"state": "open"}),
        (0, "acquire", NO | {"not_permitted": 1}),
    ],
    "FORCED_OPEN permits nothing and counts whom it refuses": [
        (0, "override forced_open", {"state": "forced_open"}),
        (0, "acquire", NO | {"not_permitted": 1}),
    ],
    "a permit that is given back can be had again": [
        (0, "override open", {}),
        (0, "override half_open", {}),
        *[(0, "acquire", YES)] * 4,
        *[(0, "acquire", NO)] * 2,
        (0, "release", {}),
        (0, "acquire", YES),
        (0, "acquire", NO | {"not_permitted": 3}),
    ],
    "each half-open period has its own four permits": [
        (0, "", RESET),
        (0, "override open", {}),
        (0, "override half_open", {"state": "half_open"}),
        *[(0, "acquire", YES)] * 4,
        *[(0, "acquire", NO)] * 2,
        (0, "override open", {"not_permitted": 2}),
        (0, "override half_open", {"not_permitted": 0}),
        *[(0, "acquire", YES)] * 4,
        *[(0, "acquire", NO)] * 2,
    ],
    "it opens when the failure rate is met as seconds go by": [
        (0, "success", {}),
        (1_000, "success", {}),
        (2_000, "success", {}),
        (3_000, "failure", {}),
        (4_000, "failure", {"state": "closed", "failure_rate": 40.0}),
        (5_000, "", {"state": "closed"}),
        (5_000, "failure", {"state": "open", "failure_rate": 50.0}),
    ],
    "it opens with the fifth call, a success": [
        (0, "acquire", YES | {"state": "closed"} | RESET),
        (0, "failure", shown(-1, 1, 1)),
        (0, "failure", shown(-1, 2, 2)),
        (0, "failure", shown(-1, 3, 3)),
        (0, "success", shown(-1, 4, 3) | {"state": "closed"}),
        (0, "success", shown(60.0, 5, 3) | {"state": "open", "events": "SUCCESS FAILURE_RATE_EXCEEDED STATE_TRANSITION"}),
        (0, "acquire", NO | shown(60.0, 5, 3, 1)),
    ],
    "it opens when the slow call rate is met": [
        (0, "failure 5000ms", {"state": "closed"}),
        (0, "success 5000ms", {"state": "closed"}),
        (0, "failure 100ms", {"state": "closed"}),
        (0, "success 100ms", {"state": "closed"}),
        (0, "success 5000ms", {"state": "open", "events": "SUCCESS SLOW_CALL_RATE_EXCEEDED STATE_TRANSITION"} | slow(60.0, 5, 3)),
    ],
    "it opens when the slow call rate is met while time passes": [
        (5_000, "success 5000ms", {"state": "closed"} | slow(-1, 1, 1)),
        (10_000, "success 5000ms", {"state": "closed"} | slow(-1, 2, 2)),
        (11_000, "success 1000ms", {"state": "closed"} | slow(-1, 3, 2)),
        (12_000, "success 1000ms", {"state": "closed"} | slow(-1, 4, 2)),
        (17_000, "success 5000ms", {"state": "open"} | slow(60.0, 5, 3)),
    ],
    "it is half open once the wait is over and somebody asks": [
        (0, "override open", RESET),
        (0, "acquire", NO),
        (3_000, "acquire", NO | {"state": "open"} | shown(-1, 0, 0, 2)),
        (6_000, "acquire", YES | {"state": "half_open", "moves": "open>half_open@6000"} | RESET),
    ],
    "an opening may be told how long it lasts": [
        (0, "override open_for:7200000", {"state": "open", "open_until_ms": 7_200_000} | RESET),
        (0, "acquire", NO),
        (3_600_000, "acquire", NO | shown(-1, 0, 0, 2)),
        (7_201_000, "acquire", YES | {"state": "half_open"} | RESET),
    ],
    "failures among four trials open it again": [
        (0, "override open", {}),
        (0, "override half_open", {"state": "half_open"} | RESET),
        (0, "acquire", YES),
        (0, "failure", {}),
        (0, "acquire", YES),
        (0, "failure", {}),
        (0, "acquire", YES),
        (0, "success", {}),
        (0, "acquire", YES),
        (0, "failure", {"state": "open", "events": "ERROR STATE_TRANSITION"} | shown(75.0, 4, 3)),
    ],
    "slow trials open it again": [
        (0, "override open", {}),
        (0, "override half_open", {}),
        (0, "success 5000ms x3", {"state": "half_open"}),
        (0, "success 1000ms", {"state": "open", "failure_rate": 0.0} | slow(75.0, 4, 3)),
    ],
    "one failure among four trials closes it, and closed begins with no calls": [
        (0, "override open", {}),
        (0, "override half_open", {} | RESET),
        (0, "acquire", YES),
        (0, "failure", {}),
        (0, "acquire", YES),
        (0, "success", {}),
        (0, "acquire", YES),
        (0, "success", {}),
        (0, "acquire", YES),
        (0, "success", {"state": "closed", "events": "SUCCESS STATE_TRANSITION"} | RESET),
        (0, "acquire", YES),
        (0, "success", shown(-1, 1, 0)),
    ],
    "a reset forgets the calls": [
        (0, "success", {}),
        (0, "failure", shown(-1, 2, 1)),
        (0, "override reset", {"state": "closed", "events": "RESET", "moves": ""} | RESET),
    ],
    "DISABLED permits all, records nothing and tells nothing": [
        (0, "override disabled", {"state": "disabled", "events": "STATE_TRANSITION"} | RESET),
        (0, "acquire", YES | {"events": ""}),
        (0, "success", {"events": ""} | RESET),
        (0, "failure x3", {"events": ""} | RESET),
        (0, "ignored", {"events": ""}),
        (0, "acquire", YES | RESET),
    ],
    "FORCED_OPEN does not end by time": [
        (0, "override forced_open", {"state": "forced_open", "events": "STATE_TRANSITION"}),
        (0, "acquire", NO | {"events": ""}),
        (6_000, "acquire", NO | {"state": "forced_open"} | shown(-1, 0, 0, 2)),
    ],
    "an ignored error gives its permit back": [
        (0, "override open", {}),
        (0, "override half_open", {"state": "half_open"}),
        (0, "acquire", YES),
        (0, "success", {"state": "half_open"} | shown(-1, 1, 0)),
        (0, "acquire", YES),
        (0, "success", shown(-1, 2, 0)),
        (0, "acquire", YES),
        (0, "success", shown(-1, 3, 0)),
        (0, "acquire", YES),
        (0, "ignored", {"state": "half_open", "events": "IGNORED_ERROR"} | shown(-1, 3, 0)),
        (0, "acquire", YES),
        (0, "failure", {"state": "closed"} | RESET),
    ],
    "it closes after errors that were ignored": [
        (0, "override open", {}),
        (0, "override half_open", {}),
        *[(0, "acquire", YES), (0, "ignored", {"state": "half_open"})] * 4,
        (0, "", RESET),
        *[(0, "acquire", YES), (0, "success", {"state": "half_open"})] * 3,
        (0, "", shown(-1, 3, 0)),
        (0, "acquire", YES),
        (0, "success", {"state": "closed"} | RESET),
    ],
    "from CLOSED no operator makes it half open": [
        (0, "override half_open", {"error": "closed to half_open", "state": "closed", "moves": "", "events": ""}),
    ],
    "a reset closes it": [(0, "override open", {}), (0, "override reset", {"state": "closed", "events": "STATE_TRANSITION RESET"})],
    "METRICS_ONLY begins with no calls": [
        (0, "success x2", {"calls": 2}),
        (0, "override metrics_only", {"state": "metrics_only", "calls": 0}),
    ],
    "METRICS_ONLY records, and tells once that the failure rate is exceeded": [
        (0, "override metrics_only", {}),
        (0, "acquire", YES | {"state": "metrics_only"} | RESET),
        (0, "failure", {"events": "ERROR"} | shown(-1, 1, 1)),
        (0, "failure", {"events": "ERROR"} | shown(-1, 2, 2)),
        (0, "failure", {"events": "ERROR"} | shown(-1, 3, 3)),
        (0, "success", {"events": "SUCCESS"} | shown(-1, 4, 3)),
        (0, "success", {"events": "SUCCESS FAILURE_RATE_EXCEEDED", "state": "metrics_only", "moves": ""} | shown(60.0, 5, 3)),
        (0, "failure", {"events": "ERROR", "state": "metrics_only"}),
    ],
    "METRICS_ONLY tells each of the two once": [
        (0, "override metrics_only", {}),
        (0, "failure 5000ms x4", {"events": "ERROR ERROR ERROR ERROR"}),
        (0, "failure 5000ms", {"events": "ERROR FAILURE_RATE_EXCEEDED SLOW_CALL_RATE_EXCEEDED"}),
        (0, "failure 5000ms", {"events": "ERROR"}),
    ],
    "a move to itself tells nothing": [
        (0, "override open", {"events": "STATE_TRANSITION", "moves": "closed>open@0"}),
        (0, "override open", {"events": "", "moves": ""}),
        (0, "override half_open", {"events": "STATE_TRANSITION"}),
        (0, "override half_open", {"events": "", "moves": ""}),
        (0, "override disabled", {"events": "STATE_TRANSITION"}),
        (0, "override disabled", {"events": "", "moves": ""}),
        (0, "override metrics_only", {"events": "STATE_TRANSITION"}),
        (0, "override metrics_only", {"events": "", "moves": ""}),
        (0, "override auto", {"events": "STATE_TRANSITION", "moves": "metrics_only>closed@0"}),
        (0, "override auto", {"events": "", "moves": ""}),
    ],
    "HALF_OPEN that waits too long for its trials opens again": [
        (0, "override open", {}),
        (0, "override half_open", {"state": "half_open"}),
        (999, "", {"state": "half_open"}),
        (1_000, "", {"state": "open", "moves": "half_open>open@1000", "open_until_ms": 6_000}),
    ],
}

COUNT_5 = {"sliding_window_size": 5, "failure_rate_threshold": 50, "permitted_number_of_calls_in_half_open_state": 4}
TEN = {"sliding_window_size": 10, "minimum_number_of_calls": 10}
ONE = {"sliding_window_size": 1}
TIME_5 = {"sliding_window_type": "time", "sliding_window_size": 5, "minimum_number_of_calls": 1, "failure_rate_threshold": 100}
AUTOMATIC = {
    "sliding_window_size": 5,
    "minimum_number_of_calls": 5,
    "permitted_number_of_calls_in_half_open_state": 3,
    "automatic_transition_from_open_to_half_open_enabled": True,
    "wait_duration_in_open_state_ms": 2_000,
}
GROWING = COUNT_5 | {"wait_duration_in_open_state_ms": 5_000, "wait_multiplier": 1.5}

OTHERS: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "each opening that follows a trial lasts half as long again": (
        GROWING,
        [
            (0, "override open", {"open_until_ms": 5_000} | RESET),
            (0, "acquire", NO),
            (3_000, "acquire", NO | shown(-1, 0, 0, 2)),
            (6_000, "acquire", YES | {"state": "half_open"} | RESET),
            (6_000, "override open", {"open_until_ms": 13_500}),
            (12_000, "acquire", NO | {"state": "open"}),
            (17_000, "acquire", YES | {"state": "half_open"} | RESET),
        ],
    ),
    "HALF_OPEN that waits too long for its trials may close": (
        {"max_wait_duration_in_half_open_state_ms": 1_000, "transition_to_state_after_wait_duration": "closed"},
        [
            (0, "override open", {}),
            (0, "override half_open", {"state": "half_open"}),
            (999, "", {"state": "half_open"}),
            (2_000, "", {"state": "closed", "moves": "half_open>closed@1000", "events": "STATE_TRANSITION"}),
        ],
    ),
    "of twelve calls a window of ten holds the last ten": (
        TEN,
        [
            (0, "override metrics_only", {}),
            (0, "success x2", {}),
            (0, "failure x2", shown(-1, 4, 2)),
            (0, "failure x4", shown(-1, 8, 6)),
            (0, "success x4", shown(60.0, 10, 6)),
            (0, "success x3", shown(30.0, 10, 3)),
        ],
    ),
    "the tenth call opens it, and those that come late are recorded": (
        TEN,
        [
            (0, "success x2", {}),
            (0, "failure x6", {"state": "closed"}),
            (0, "success", {"state": "closed"} | shown(-1, 9, 6)),
            (0, "success", {"state": "open"} | shown(60.0, 10, 6)),
            (0, "success x5", {"state": "open", "events": "SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS"} | shown(30.0, 10, 3)),
            (0, "failure", {"state": "open", "events": "ERROR"} | shown(30.0, 10, 3)),
        ],
    ),
    "a window of four forgets the oldest": (
        {"sliding_window_size": 4, "failure_rate_threshold": 100},
        [
            (0, "failure 100ms", shown(-1, 1, 1)),
            (0, "success 100ms", shown(-1, 2, 1)),
            (0, "success 100ms", shown(-1, 3, 1)),
            (0, "success 100ms", shown(25.0, 4, 1)),
            (0, "success 100ms", shown(0.0, 4, 0)),
        ],
    ),
    "rates of a window that is not full": (
        {"sliding_window_size": 4, "failure_rate_threshold": 100, "minimum_number_of_calls": 1},
        [
            (0, "success", shown(0.0, 1, 0)),
            (0, "failure", shown(50.0, 2, 1)),
            (0, "success", {"failure_rate": pytest.approx(33.333332, rel=1e-6)}),
            (0, "success", shown(25.0, 4, 1)),
            (0, "success", shown(25.0, 4, 1)),
            (0, "success", shown(0.0, 4, 0)),
        ],
    ),
    "a window of two forgets what was slow": (
        {"sliding_window_size": 2, "slow_call_duration_threshold_ms": 99},
        [
            (0, "override metrics_only", {}),
            (0, "failure 100ms", shown(-1, 1, 1) | slow(-1, 1, 1)),
            (0, "success 100ms", shown(50.0, 2, 1) | slow(100.0, 2, 2)),
            (0, "success 1ms", shown(0.0, 2, 0) | slow(50.0, 2, 1)),
            (0, "success 1ms", shown(0.0, 2, 0) | slow(0.0, 2, 0)),
            (0, "success 1ms", shown(0.0, 2, 0) | slow(0.0, 2, 0)),
        ],
    ),
    "the share of slow calls": (
        COUNT_5 | {"slow_call_duration_threshold_ms": 9_999},
        [
            (0, "success 10000ms", {}),
            (0, "failure 10000ms", {}),
            (0, "success 100ms x3", slow(40.0, 5, 2) | {"failures": 1}),
        ],
    ),
    "a time window is empty once its seconds are over": (
        TIME_5,
        [
            (0, "success", shown(0.0, 1, 0)),
            (100, "failure 100ms", shown(50.0, 2, 1)),
            (800, "failure 1000ms", {"calls": 3, "failures": 2}),
            (4_800, "", {"calls": 3, "failures": 2}),
            (4_999, "", {"calls": 3, "failures": 2}),
            (5_000, "", {"calls": 0, "failures": 0, "failure_rate": -1}),
            (5_900, "success", shown(0.0, 1, 0)),
            (10_899, "success", shown(0.0, 1, 0)),
        ],
    ),
    "a time window forgets second by second": (
        TIME_5 | {"failure_rate_threshold": 99},
        [
            (0, "success", {"calls": 1}),
            (100, "failure", {"calls": 2, "failures": 1}),
            (200, "success", {"calls": 3, "failures": 1}),
            (1_200, "success", {"calls": 4, "failures": 1}),
            (2_200, "success", {"calls": 5, "failures": 1}),
            (3_200, "failure", {"calls": 6, "failures": 2}),
            (4_200, "success", {"calls": 7, "failures": 2}),
            (5_200, "success", {"calls": 5, "failures": 1}),
            (6_200, "success", {"calls": 5, "failures": 1}),
            (11_200, "success", {"calls": 1, "failures": 0}),
        ],
    ),
    "a success is told": ({}, [(0, "success", {"events": "SUCCESS"})]),
    "an error is told": ({}, [(0, "failure", {"events": "ERROR"})]),
    "a timeout is an error": ({}, [(0, "timeout", {"events": "ERROR"} | shown(-1, 1, 1))]),
    "a reset is told": ({}, [(0, "override reset", {"events": "RESET", "moves": ""})]),
    "an ignored error is told and not counted": ({}, [(0, "ignored", {"events": "IGNORED_ERROR"} | RESET)]),
    "a transition is told once": (
        ONE,
        [
            (0, "failure", {"events": "ERROR FAILURE_RATE_EXCEEDED STATE_TRANSITION"}),
            (0, "failure", {"events": "ERROR"}),
            (0, "acquire", NO | {"events": "NOT_PERMITTED"}),
        ],
    ),
    "in DISABLED only its own beginning is told": (
        ONE,
        [
            (0, "override disabled", {"events": "STATE_TRANSITION"}),
            (0, "failure x2", {"events": ""}),
            (0, "acquire", YES | {"events": ""}),
            (0, "success", {"events": ""}),
            (0, "failure", {"events": ""}),
        ],
    ),
    "the automatic transition needs nobody": (
        AUTOMATIC,
        [
            (0, "override open", {"open_until_ms": 2_000}),
            (1_999, "", {"state": "open"}),
            (2_000, "", {"state": "half_open", "moves": "open>half_open@2000", "events": "STATE_TRANSITION"}),
        ],
    ),
    "another operator's word cancels the automatic transition": (
        AUTOMATIC,
        [
            (0, "override open", {}),
            (1_000, "override forced_open", {}),
            (9_000, "", {"state": "forced_open", "moves": ""}),
            (9_000, "override auto", {"state": "closed"}),
            (20_000, "", {"state": "closed", "moves": ""}),
        ],
    ),
    "a count window never asks for more calls than it holds": (
        COUNT_5 | {"minimum_number_of_calls": 100},
        [(0, "failure x4", {"state": "closed", "failure_rate": -1}), (0, "failure", {"state": "open", "failure_rate": 100.0})],
    ),
    "a time window may ask for more calls than it has seconds": (
        TIME_5 | {"minimum_number_of_calls": 7},
        [(0, "failure x6", {"state": "closed", "failure_rate": -1}), (0, "failure", {"state": "open", "failure_rate": 100.0})],
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_state_machines_facts(name: str) -> None:
    check("resilience4j", STATE_MACHINE, FACTS[name])


@pytest.mark.parametrize("name", OTHERS)
def test_facts_of_windows_events_and_timers(name: str) -> None:
    settings, rows = OTHERS[name]
    check("resilience4j", settings, rows)


SMALL = {"sliding_window_size": 4, "slow_call_duration_threshold_ms": 100, "wait_duration_in_open_state_ms": 1_000}
TRIALS = SMALL | {"permitted_number_of_calls_in_half_open_state": 3}
HALF: list[Row] = [(0, "override open", {}), (0, "override half_open", {})]

BOUNDARIES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "a rate equal to its threshold opens": (SMALL, [(0, "success x2", {}), (0, "failure x2", {"state": "open", "failure_rate": 50.0})]),
    "a rate below its threshold does not": (
        SMALL | {"failure_rate_threshold": 50.1},
        [(0, "success x2", {}), (0, "failure x2", {"state": "closed", "failure_rate": 50.0})],
    ),
    "a call of exactly the threshold's length is not slow": (
        SMALL,
        [(0, "success 100ms x4", {"state": "closed"} | slow(0.0, 4, 0)), (0, "success 100.001ms", slow(25.0, 4, 1))],
    ),
    "slow calls alone open it at their own threshold": (
        SMALL | {"slow_call_rate_threshold": 50},
        [(0, "success x2", {}), (0, "success 101ms", {"state": "closed"}), (0, "success 101ms", {"state": "open"} | slow(50.0, 4, 2))],
    ),
    "both thresholds at once are both told": (
        SMALL,
        [(0, "failure 101ms x4", {"events": "ERROR ERROR ERROR ERROR FAILURE_RATE_EXCEEDED SLOW_CALL_RATE_EXCEEDED STATE_TRANSITION"})],
    ),
    "one call below the minimum opens nothing": (SMALL, [(0, "failure x3", {"state": "closed", "failure_rate": -1, "slow_rate": -1})]),
    "no call gives no rate": (SMALL | {"minimum_number_of_calls": 1}, [(0, "", {"failure_rate": -1, "slow_rate": -1})]),
    "at exactly the wait nobody passes yet": (
        SMALL,
        [
            (5, "failure x4", {"open_until_ms": 1_005}),
            (1_004, "acquire", NO),
            (1_005, "acquire", NO | {"state": "open", "not_permitted": 2, "events": "NOT_PERMITTED"}),
            (1_006, "acquire", YES | {"state": "half_open", "open_until_ms": None, "events": "STATE_TRANSITION"}),
        ],
    ),
    "time alone does not end an opening": (SMALL, [(0, "failure x4", {}), (99_999, "", {"state": "open", "moves": ""})]),
    "with the automatic transition the wait is over at its end": (
        SMALL | {"automatic_transition_from_open_to_half_open_enabled": True},
        [(5, "failure x4", {}), (1_004, "acquire", NO), (1_005, "acquire", YES | {"state": "half_open", "moves": "open>half_open@1005"})],
    ),
    "the automatic transition keeps its own time in a long silence": (
        SMALL | {"automatic_transition_from_open_to_half_open_enabled": True, "max_wait_duration_in_half_open_state_ms": 100},
        [
            (0, "failure x4", {}),
            (
                2_250,
                "",
                {"state": "half_open", "moves": "open>half_open@1000 half_open>open@1100 open>half_open@2100 half_open>open@2200"}
                | {"state": "open", "open_until_ms": 3_200},
            ),
        ],
    ),
    "an opening for a time ends by the automatic transition too": (
        SMALL | {"automatic_transition_from_open_to_half_open_enabled": True},
        [(0, "override open_for:300", {"open_until_ms": 300}), (299, "", {"state": "open"}), (300, "", {"state": "half_open"})],
    ),
    "an opening for a time does not count as an attempt": (
        SMALL | {"wait_multiplier": 2},
        [
            (0, "override open_for:10", {"open_until_ms": 10}),
            (11, "override open", {"open_until_ms": 1_011}),
            (12, "override open_for:10", {"open_until_ms": 22}),
            (12, "override open", {"open_until_ms": 2_012}),
        ],
    ),
    "the permit of the one who ends the opening is one of those there are": (
        TRIALS | {"permitted_number_of_calls_in_half_open_state": 2},
        [(0, "failure x4", {}), (1_001, "acquire", YES), (1_001, "acquire", YES), (1_001, "acquire", NO | {"not_permitted": 1})],
    ),
    "HALF_OPEN decides with its last trial": (
        TRIALS,
        [*HALF, (0, "success x2", {"state": "half_open"}), (0, "success", {"state": "closed"})],
    ),
    "HALF_OPEN decides before all trials have ended, where fewer are enough": (
        TRIALS | {"minimum_number_of_calls": 2},
        [
            *HALF,
            *[(0, "acquire", YES)] * 3,
            (0, "success", {"state": "half_open", "calls": 1, "failure_rate": -1}),
            (0, "success", {"state": "closed"} | RESET),
            (0, "success", {"state": "closed", "calls": 1}),
        ],
    ),
    "a rate of trials equal to the threshold opens": (
        TRIALS | {"minimum_number_of_calls": 2},
        [*HALF, (0, "success", {}), (0, "failure", {"state": "open", "events": "ERROR STATE_TRANSITION"} | shown(50.0, 2, 1))],
    ),
    "trials may be more than the window has calls": (
        SMALL | {"permitted_number_of_calls_in_half_open_state": 6, "minimum_number_of_calls": 5},
        [*HALF, (0, "success x4", {"state": "half_open"}), (0, "success", {"state": "closed"})],
    ),
    "trials of a time window are counted": (
        TRIALS | {"sliding_window_type": "time", "minimum_number_of_calls": 100},
        [*HALF, (0, "success", {}), (50_000, "success", {"calls": 2}), (99_000, "success", {"state": "closed"})],
    ),
    "results need no permit": (TRIALS, [*HALF, (0, "success x3", {"state": "closed"})]),
    "a permit without a result is lost": (
        TRIALS | {"permitted_number_of_calls_in_half_open_state": 1},
        [*HALF, (0, "acquire", YES), (9_999_999, "acquire", NO | {"state": "half_open"})],
    ),
    "a cancelled or rejected trial keeps its permit": (
        TRIALS | {"permitted_number_of_calls_in_half_open_state": 1},
        [
            *HALF,
            (0, "acquire", YES),
            (0, "cancelled", {"events": ""}),
            (0, "rejected", {"events": ""}),
            (0, "short_circuited", {"events": ""}),
            (0, "acquire", NO | {"calls": 0}),
        ],
    ),
    "permits that come back are as many as were ignored": (
        TRIALS,
        [
            *HALF,
            *[(0, "acquire", YES)] * 3,
            (0, "ignored x2", {"events": "IGNORED_ERROR IGNORED_ERROR"}),
            *[(0, "acquire", YES)] * 2,
            (0, "acquire", NO),
        ],
    ),
    "a permit given back in CLOSED or OPEN is none": (
        TRIALS,
        [
            (0, "release", {}),
            (0, "override open", {}),
            (0, "release", {}),
            (0, "override half_open", {}),
            *[(0, "acquire", YES)] * 3,
            (0, "acquire", NO),
        ],
    ),
    "the patience with trials ends at its end": (
        TRIALS | {"max_wait_duration_in_half_open_state_ms": 50},
        [
            *HALF,
            (0, "success", {}),
            (49, "", {"state": "half_open"}),
            (50, "success", {"state": "open", "calls": 2, "moves": "half_open>open@50"}),
        ],
    ),
    "without patience it waits for ever": (TRIALS, [*HALF, (86_400_000, "", {"state": "half_open"})]),
    "a half-open period that begins anew has all of its time": (
        TRIALS | {"max_wait_duration_in_half_open_state_ms": 50},
        [*HALF, (40, "override half_open", {"moves": ""}), (89, "", {"state": "half_open"}), (90, "", {"state": "open"})],
    ),
    "an opening that begins anew waits anew, and keeps what it shows": (
        SMALL,
        [
            (0, "failure x4", {}),
            (10, "acquire", NO | {"not_permitted": 1}),
            (500, "override open", {"open_until_ms": 1_500, "not_permitted": 1, "calls": 4, "moves": ""}),
            (1_500, "acquire", NO),
            (1_501, "acquire", YES),
        ],
    ),
    "OPEN shows the trials that led to it": (
        TRIALS,
        [*HALF, *[(0, "acquire", YES)] * 3, (0, "acquire", NO), (0, "failure x3", {"state": "open"} | shown(100.0, 3, 3, 1))],
    ),
    "late results move the numbers of OPEN, and not OPEN": (
        SMALL,
        [(0, "failure x4", {}), (1, "success x4", {"state": "open"} | shown(0.0, 4, 0)), (9_999, "success", {"state": "open"})],
    ),
    "late results of trials fall into the window of trials": (
        TRIALS,
        [*HALF, (0, "failure x3", {"state": "open"}), (0, "success x2", {"state": "open"} | shown(pytest.approx(100 / 3), 3, 1))],
    ),
    "a time window of OPEN goes on by itself": (
        SMALL | {"sliding_window_type": "time", "minimum_number_of_calls": 4},
        [(0, "failure x4", {"state": "open"}), (3_999, "", shown(100.0, 4, 4)), (4_000, "", {"state": "open"} | shown(-1, 0, 0))],
    ),
    "OPEN after FORCED_OPEN shows whom that refused, and records nothing": (
        SMALL,
        [
            (0, "failure", {}),
            (0, "override forced_open", RESET),
            (0, "acquire", NO),
            (0, "failure", {"events": "", "calls": 0}),
            (0, "override open", {"not_permitted": 1}),
            (0, "failure", {"events": "ERROR", "calls": 0}),
        ],
    ),
    "FORCED_OPEN counts as an attempt": (
        SMALL | {"wait_multiplier": 2},
        [(0, "override forced_open", {}), (0, "override open", {"open_until_ms": 2_000})],
    ),
    "CLOSED ends the attempts": (
        SMALL | {"wait_multiplier": 2},
        [
            (0, "override open", {"open_until_ms": 1_000}),
            (0, "override open", {"open_until_ms": 2_000}),
            (0, "override auto", {"open_until_ms": None}),
            (0, "override open", {"open_until_ms": 1_000}),
        ],
    ),
    "the wait is cut to whole milliseconds at each step": (
        SMALL | {"wait_duration_in_open_state_ms": 3, "wait_multiplier": 1.5},
        [(0, "override open", {"open_until_ms": until}) for until in (3, 4, 6, 9, 13, 19)],
    ),
    "the wait grows to its maximum": (
        SMALL | {"wait_duration_in_open_state_ms": 100, "wait_multiplier": 2, "wait_max_ms": 100_000},
        [
            *[(0, "override open", {"open_until_ms": 100 * 2**number}) for number in range(10)],
            *[(0, "override open", {"open_until_ms": 100_000})] * 3,
        ],
    ),
    "a maximum below the first wait shortens it": (SMALL | {"wait_max_ms": 10}, [(0, "override open", {"open_until_ms": 10})]),
    "a reset is told also where it changes nothing": (
        SMALL,
        [(0, "override reset", {"events": "RESET"}), (0, "override reset", {"events": "RESET"})],
    ),
    "CLOSED that begins anew has no calls": (SMALL, [(0, "failure x3", {}), (0, "override auto", {"events": "", "moves": ""} | RESET)]),
    "METRICS_ONLY that begins anew tells anew": (
        SMALL,
        [
            (0, "override metrics_only", {}),
            (0, "failure x4", {"events": "ERROR ERROR ERROR ERROR FAILURE_RATE_EXCEEDED"}),
            (0, "failure", {"events": "ERROR"}),
            (0, "override metrics_only", {"events": ""} | RESET),
            (0, "failure x5", {"events": "ERROR ERROR ERROR ERROR FAILURE_RATE_EXCEEDED ERROR"}),
        ],
    ),
    "METRICS_ONLY tells of slow calls after it has told of failures": (
        SMALL,
        [
            (0, "override metrics_only", {}),
            (0, "failure x4", {}),
            (0, "success 101ms x5", {"events": "SUCCESS SUCCESS SUCCESS SUCCESS SLOW_CALL_RATE_EXCEEDED SUCCESS", "state": "metrics_only"}),
        ],
    ),
    "ignored errors are told in METRICS_ONLY and OPEN": (
        SMALL,
        [
            (0, "override metrics_only", {}),
            (0, "ignored", {"events": "IGNORED_ERROR"}),
            (0, "override auto", {}),
            (0, "override open", {}),
            (0, "ignored", {"events": "IGNORED_ERROR", "calls": 0}),
        ],
    ),
    "FORCED_OPEN tells of no ignored error": (SMALL, [(0, "override forced_open", {}), (0, "ignored", {"events": ""})]),
    "calls after the one that opens are late results": (
        SMALL,
        [
            (
                0,
                "failure x6",
                {"state": "open", "events": "ERROR ERROR ERROR ERROR FAILURE_RATE_EXCEEDED STATE_TRANSITION ERROR ERROR"}
                | shown(100.0, 4, 4),
            )
        ],
    ),
    "calls after the trial that closes are calls of CLOSED": (
        TRIALS,
        [*HALF, (0, "success x5", {"state": "closed", "calls": 2, "events": "SUCCESS SUCCESS SUCCESS STATE_TRANSITION SUCCESS SUCCESS"})],
    ),
    "trials that all fail and more": (
        TRIALS,
        [*HALF, (0, "failure x5", {"state": "open", "moves": "half_open>open@0"} | shown(100.0, 3, 3))],
    ),
    "many calls at once are as many calls one by one": (
        {},
        [
            (0, "success x50", {}),
            (0, "failure x50", {"state": "open"} | shown(50.0, 100, 50)),
            (0, "success x1000000000", shown(0.0, 100, 0)),
        ],
    ),
    "the first failure that is one too many opens, whatever follows": (
        {"sliding_window_type": "time"},
        [(0, "success x99", {}), (0, "failure x9007199254740991", {"state": "open"})],
    ),
    "failures within a second's window are one second old at the next": (
        TIME_5 | {"sliding_window_size": 1},
        [(999, "success", {"calls": 1}), (1_000, "success", {"calls": 1}), (1_999, "", {"calls": 1}), (2_000, "", {"calls": 0})],
    ),
    "a silence longer than the window empties it": (
        TIME_5 | {"failure_rate_threshold": 50, "minimum_number_of_calls": 2},
        [
            (0, "failure", {}),
            (86_400_000, "failure", {"state": "closed", "calls": 1}),
            (86_400_001, "failure", {"state": "open", "calls": 2}),
        ],
    ),
    "a rate and its threshold are floats of 32 bits": (
        SMALL | {"minimum_number_of_calls": 3, "sliding_window_size": 3, "failure_rate_threshold": 66.6666667},
        [(0, "success", {}), (0, "failure x2", {"state": "open"})],
    ),
    "a rate below its threshold in floats of 32 bits does not reach it": (
        SMALL | {"minimum_number_of_calls": 3, "sliding_window_size": 3, "failure_rate_threshold": 66.66668},
        [(0, "success", {}), (0, "failure x2", {"state": "closed"})],
    ),
    "probes change nothing": (
        SMALL,
        [(0, "failure x4", {}), (5_000, "probe success", {"state": "open"}), (5_000, "probe failure", {"state": "open"})],
    ),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_boundaries(name: str) -> None:
    settings, rows = BOUNDARIES[name]
    check("resilience4j", settings, rows)


def waits(settings: dict[str, Any], openings: int, seed: int = 0) -> list[int]:
    recording = {"policy": {"kind": "resilience4j", **settings}, "seed": seed, "events": [event(0, "override open")] * openings}
    return [step["open_until_ms"] for step in played(recording)]


def test_a_randomised_wait_stays_within_its_part_and_is_the_same_in_every_replay() -> None:
    settings = {"wait_duration_in_open_state_ms": 100, "wait_randomization": 0.5}
    drawn = waits(settings, 50)
    assert min(drawn) >= 50
    assert max(drawn) <= 150
    assert len(set(drawn)) > 20
    assert waits(settings, 50) == drawn
    assert waits(settings, 50, seed=1) != drawn


def test_a_growing_wait_grows_at_each_opening() -> None:
    drawn = waits({"wait_duration_in_open_state_ms": 100, "wait_multiplier": 1.5}, 49)
    assert drawn == sorted(set(drawn))


def test_a_growing_randomised_wait_stays_around_the_growing_one_and_below_the_longest() -> None:
    expected = 100
    settings = {"wait_duration_in_open_state_ms": 100, "wait_multiplier": 1.5, "wait_randomization": 0.5}
    capped = waits(settings | {"wait_max_ms": 100_000}, 49)
    for wait_ms, shortened_ms in zip(waits(settings, 49), capped, strict=True):
        assert int(expected * 0.5) - 1 <= wait_ms <= int(expected * 1.5) + 1
        assert shortened_ms == min(wait_ms, 100_000)
        expected = int(expected * 1.5)


STATES = ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")
INTO: dict[str, list[Row]] = {
    "closed": [],
    "open": [(0, "override open", {})],
    "half_open": [(0, "override open", {}), (0, "override half_open", {})],
    "forced_open": [(0, "override forced_open", {})],
    "disabled": [(0, "override disabled", {})],
    "metrics_only": [(0, "override metrics_only", {})],
}


@pytest.mark.parametrize("new", [*STATES, "forced_closed"])
@pytest.mark.parametrize("old", STATES)
def test_an_operators_word_leads_where_the_table_says(old: str, new: str) -> None:
    word = "auto" if new == "closed" else new
    legal = new in MOVES[old]
    seen: dict[str, Any] = {"state": new if legal else old, "moves": f"{old}>{new}@7" if legal and new != old else ""}
    check("resilience4j", {}, [*INTO[old], (7, f"override {word}", seen if legal else seen | {"error": new})])


def test_moves_are_those_of_the_source() -> None:
    illegal = {(old, new) for old in STATES for new in STATES if new not in MOVES[old]}
    assert illegal == {("closed", "half_open"), ("metrics_only", "open"), ("metrics_only", "half_open")}


@pytest.mark.parametrize("old", STATES)
def test_a_reset_leads_to_closed_from_everywhere(old: str) -> None:
    told = "RESET" if old == "closed" else "STATE_TRANSITION RESET"
    check("resilience4j", {}, [*INTO[old], (7, "override reset", {"state": "closed", "events": told} | RESET)])


@pytest.mark.parametrize(
    "written", ["open_for", "open_for:", "open_for:-1", "open_for:0", "open_for:1.5", "open_for:1s", "closed", "drain", "OPEN"]
)
def test_other_words_are_illegal_and_change_nothing(written: str) -> None:
    check("resilience4j", {}, [(0, "failure", {}), (0, f"override {written}", {"error": written, "state": "closed", "calls": 1})])


@pytest.mark.parametrize("old", ["metrics_only"])
def test_an_opening_for_a_time_is_a_move_into_open(old: str) -> None:
    check("resilience4j", {}, [*INTO[old], (0, "override open_for:5", {"error": "metrics_only to open", "state": old})])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("failure_rate_threshold", [0, -1, 101, 100.1, "50", True, None]),
        ("slow_call_rate_threshold", [0, 101]),
        ("wait_duration_in_open_state_ms", [0, -1, 1.5]),
        ("slow_call_duration_threshold_ms", [0]),
        ("permitted_number_of_calls_in_half_open_state", [0]),
        ("sliding_window_size", [0, -5]),
        ("minimum_number_of_calls", [0]),
        ("max_wait_duration_in_half_open_state_ms", [-1]),
        ("transition_to_state_after_wait_duration", ["half_open", "OPEN", "", None]),
        ("sliding_window_type", ["COUNT_BASED", "counts"]),
        ("wait_multiplier", [0, 0.99, float("inf"), float("nan")]),
        ("wait_randomization", [-0.0001, 1.0001]),
        ("wait_max_ms", [0, -1]),
        ("automatic_transition_from_open_to_half_open_enabled", [1, "true"]),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, wrong: list[Any]) -> None:
    for value in wrong:
        with pytest.raises(SettingError, match=name):
            read_settings(Settings, {name: value})


def test_defaults_are_those_of_the_source() -> None:
    assert {row.name: row.default for row in table(Settings).values()} == {
        "sliding_window_type": "count",
        "sliding_window_size": 100,
        "minimum_number_of_calls": 100,
        "failure_rate_threshold": 50,
        "slow_call_rate_threshold": 100,
        "slow_call_duration_threshold_ms": 60_000,
        "permitted_number_of_calls_in_half_open_state": 10,
        "wait_duration_in_open_state_ms": 60_000,
        "wait_multiplier": 1,
        "wait_randomization": 0,
        "wait_max_ms": None,
        "max_wait_duration_in_half_open_state_ms": 0,
        "transition_to_state_after_wait_duration": "open",
        "automatic_transition_from_open_to_half_open_enabled": False,
    }
