"""Envoy's outlier detection: the facts of its own tests, and each of its boundaries, played through the replay.

A row of a timeline is (at_ms, endpoint, what happens, how often, what is seen afterwards). What happens is an HTTP status, an outcome of
the replay, `local` and an outcome, `probe`, `acquire`, or nothing. What is seen is the state, with the detector where it has just changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.envoy import Envoy
from monitor.core.policies.envoy_state import Gathered, Memory, Settings
from monitor.core.policies.options import SettingError, read_settings
from monitor.core.policies.policy import IllegalError, Member
from monitor.core.record import Breaker, BreakerState, Override
from monitor.core.replaying.player import play
from monitor.core.replaying.recording import read_recording

Row = tuple[Any, ...]
ANY = {"max_ejection_percent": 100}
"""No cap: what Envoy's tests presume, where a cap is not what they are about."""
SPLIT = ANY | {"split_external_local_origin_errors": True}
NO_5XX = ANY | {"enforcing_consecutive_5xx": 0}
FIVE = "abcde"


class Story(NamedTuple):
    name: str
    settings: dict[str, Any]
    hosts: str
    rows: Sequence[Row]


def event(at_ms: int, endpoint: str, what: str, count: int) -> dict[str, Any]:
    begin: dict[str, Any] = {"at_ms": at_ms, "endpoint": endpoint}
    if not what:
        return begin
    word, _, outcome = what.partition(" ")
    if word == "local":
        return begin | {"outcome": outcome, "local_origin": True, "count": count}
    if word == "acquire":
        return begin | {"acquire": True}
    if word == "probe":
        return begin | {"probe": outcome}
    if word.isdigit():
        return begin | {"outcome": outcome or ("failure" if word >= "400" else "success"), "code": int(word), "count": count}
    return begin | {"outcome": word, "count": count}


def check(story: Story) -> None:
    policy = {"kind": "envoy", **story.settings}
    events = [event(*row[:4]) for row in story.rows]
    recording = msgspec.json.encode({"policy": policy, "endpoints": list(story.hosts), "events": events})
    steps = msgspec.to_builtins(play(read_recording(recording, story.name)))["steps"]
    assert len(steps) == len(events)
    for row, step in zip(story.rows, steps, strict=True):
        assert not step.get("error"), (row, step)
        for seen in row[4:]:
            if isinstance(seen, dict):
                assert {key: step[key] for key in seen} == seen, (row, step)
                continue
            state, _, detector = seen.partition(" ")
            assert step["state"] == state, (row, step)
            changes = [change for change in step["transitions"] if change["endpoint"] == row[1]]
            if detector:
                assert [change["to"] for change in changes][-1:] == [state], (row, step)
                assert detector in changes[-1]["reason"].split(":")[0].split(), (row, step)
                if state == "open" and changes[-1]["at_ms"] == row[0]:
                    assert step["open_until_ms"] > row[0]


UPSTREAM = [
    Story(
        "BasicFlow5xxViaHttpCodes",
        ANY,
        "ab",
        [
            (0, "a", "500", 1, "closed"),
            (0, "a", "200", 1, "closed"),
            (0, "a", "500", 4, "closed"),
            (0, "a", "500", 1, "open consecutive_5xx", {"ejections": 1, "open_until_ms": 30_000}),
            (9_999, "a", "", 0, "open"),
            (29_999, "a", "", 0, "open"),
            (30_001, "a", "", 0, "closed", {"open_until_ms": None}),
            (30_001, "a", "500", 4, "closed"),
            (40_000, "a", "500", 1, "open consecutive_5xx", {"ejections": 2, "open_until_ms": 70_000}),
        ],
    ),
    Story(
        "BasicFlow5xxViaHttpCodesWithActiveHC",
        ANY,
        "ab",
        [
            (0, "a", "500", 1),
            (0, "a", "200", 1),
            (0, "a", "500", 4, "closed"),
            (0, "a", "500", 1, "open consecutive_5xx"),
            (9_999, "a", "", 0, "open"),
            (9_999, "a", "probe failure", 1, "open"),
            (9_999, "a", "probe success", 1, "closed active", {"ejections": 1}),
            (9_999, "a", "500", 1),
            (9_999, "a", "200", 1),
            (9_999, "a", "500", 4, "closed"),
            (9_999, "a", "500", 1, "open consecutive_5xx", {"open_until_ms": 69_999}),
            (19_998, "a", "probe success", 1, "closed active"),
            (19_998, "a", "500", 4, "closed"),
            (40_000, "a", "500", 1, "open consecutive_5xx", {"ejections": 3}),
        ],
    ),
    Story(
        "ConnectSuccessWithOptionalHTTP_OK",
        ANY,
        "a",
        [row for _ in range(100) for row in ((0, "a", "200", 1), (0, "a", "local failure", 1, "closed"))],
    ),
    Story(
        "ExternalOriginEventsNonSplit",
        ANY,
        "a",
        [
            *(row for _ in range(100) for row in ((0, "a", "failure", 1), (0, "a", "success", 1, "closed"))),
            (0, "a", "failure", 100, "open consecutive_5xx", {"ejections": 1}),
        ],
    ),
    Story(
        "BasicFlow5xxViaNonHttpCodes",
        ANY,
        "ab",
        [
            (0, "a", "local failure", 1),
            (0, "a", "200", 1),
            (0, "a", "local failure", 4, "closed"),
            (0, "a", "local failure", 1, "open consecutive_5xx"),
            (9_999, "a", "", 0, "open"),
            (30_001, "a", "", 0, "closed"),
            (30_001, "a", "local failure", 4, "closed"),
            (40_000, "a", "local failure", 1, "open consecutive_5xx", {"ejections": 2}),
        ],
    ),
    Story(
        "BasicFlowGatewayFailure",
        NO_5XX | {"enforcing_consecutive_gateway_failure": 100},
        "ab",
        [
            (0, "a", "503", 1),
            (0, "a", "500", 1),
            (0, "a", "503", 2),
            (0, "a", "503", 2, "closed"),
            (0, "a", "503", 1, "open consecutive_gateway_failure", {"ejections": 1}),
            (9_999, "a", "", 0, "open"),
            (30_001, "a", "", 0, "closed"),
            (30_001, "a", "503", 4, "closed"),
            (40_000, "a", "503", 1, "open consecutive_gateway_failure", {"ejections": 2}),
        ],
    ),
    Story(
        "TimeoutWithHttpCode",
        ANY,
        "abc",
        [
            (0, "a", "500 timeout", 4, "closed"),
            (0, "a", "500 timeout", 1, "open consecutive_5xx"),
            (50_001, "a", "", 0, "closed"),
            (50_001, "a", "200 timeout", 5, "closed"),
            (50_001, "a", "timeout", 5, "open consecutive_5xx"),
        ],
    ),
    Story(
        "LargeNumberOfTimeouts",
        SPLIT,
        "a",
        [
            (0, "a", "local timeout", 5, "open consecutive_local_origin_failure"),
            (0, "a", "local timeout", 10, "open", {"ejections": 1}),
            (50_001, "a", "", 0, "closed"),
            (50_001, "a", "local timeout", 5, "open consecutive_local_origin_failure"),
        ],
    ),
    Story(
        "BasicFlowLocalOriginFailure",
        SPLIT,
        "a",
        [
            (0, "a", "local failure", 5, "open consecutive_local_origin_failure"),
            (0, "a", "local failure", 5, "open"),
            (9_999, "a", "", 0, "open"),
            (30_001, "a", "", 0, "closed"),
            (30_001, "a", "local failure", 5, "open consecutive_local_origin_failure", {"open_until_ms": 90_001}),
            (40_000, "a", "", 0, "open"),
            (90_002, "a", "", 0, "open"),
            (100_000, "a", "", 0, "closed"),
            (100_000, "a", "local failure", 4, "closed"),
            (100_000, "a", "local success", 1, "closed"),
            (100_000, "a", "local failure", 2, "closed", {"ejections": 2}),
        ],
    ),
    Story(
        "BasicFlowGatewayFailureAnd5xx",
        ANY | {"enforcing_consecutive_gateway_failure": 100},
        "ab",
        [
            (0, "a", "503", 1),
            (0, "a", "200", 1),
            (0, "a", "503", 4, "closed"),
            (0, "a", "503", 1, "open consecutive_gateway_failure"),
            (9_999, "a", "", 0, "open"),
            (30_001, "a", "", 0, "closed"),
            (30_001, "a", "503", 2, "closed"),
            (30_001, "a", "500", 2, "closed"),
            (40_000, "a", "500", 1, "open consecutive_5xx", {"ejections": 2}),
        ],
    ),
    Story(
        "BasicFlowNonHttpCodesExternalOrigin",
        ANY,
        "ab",
        [
            *(row for _ in range(100) for row in ((0, "a", "local failure", 1), (0, "a", "success", 1, "closed"))),
            (0, "a", "local failure", 1),
            (0, "a", "local success", 1),
            (0, "a", "local failure", 3, "closed"),
            (0, "a", "local failure", 1, "open consecutive_5xx"),
        ],
    ),
    Story(
        "BasicFlowSuccessRateExternalOrigin",
        NO_5XX,
        FIVE,
        [
            *((0, host, "200", 200) for host in FIVE),
            (0, "e", "503", 200, "closed"),
            (9_999, "e", "", 0, "closed", {"failure_rate": -1}),
            (10_000, "e", "", 0, "open success_rate", {"failure_rate": 50.0, "calls": 400, "failures": 200, "open_until_ms": 40_000}),
            (19_999, "e", "", 0, "open"),
            (50_001, "e", "", 0, "closed", {"failure_rate": -1}),
            *((50_001, host, "200", 25) for host in FIVE),
            (50_001, "e", "503", 25, "closed"),
            (60_001, "e", "", 0, "closed", {"failure_rate": 50.0, "ejections": 1}),
        ],
    ),
    Story(
        "ExternalOriginEventsWithSplit",
        SPLIT,
        "a",
        [
            *(row for _ in range(100) for row in ((0, "a", "failure", 1), (0, "a", "success", 1, "closed"))),
            (0, "a", "failure", 100, "open consecutive_5xx"),
        ],
    ),
    Story(
        "BasicFlowSuccessRateLocalOrigin",
        SPLIT | {"enforcing_consecutive_local_origin_failure": 0},
        FIVE,
        [
            *((0, host, "local success", 200) for host in FIVE),
            (0, "e", "local failure", 200, "closed"),
            (10_000, "e", "", 0, "open success_rate_local_origin", {"failure_rate": -1}),
            (19_999, "e", "", 0, "open"),
            (50_001, "e", "", 0, "closed"),
            *((50_001, host, "local success", 25) for host in FIVE),
            (50_001, "e", "local failure", 25),
            (60_001, "e", "", 0, "closed", {"ejections": 1}),
        ],
    ),
    Story(
        "EmptySuccessRate",
        ANY | {"success_rate_minimum_hosts": 0, "failure_percentage_minimum_hosts": 0, "enforcing_failure_percentage": 100},
        "a",
        [(10_000, "a", "", 0, "closed", {"failure_rate": -1}), (20_000, "a", "", 0, "closed")],
    ),
    Story(
        "BasicFlowFailurePercentageExternalOrigin",
        NO_5XX | {"enforcing_success_rate": 0, "enforcing_failure_percentage": 100},
        FIVE,
        [
            *((0, host, "200", 50) for host in FIVE),
            (0, "d", "503", 250),
            (0, "e", "503", 300),
            (10_000, "e", "", 0, "open failure_percentage", {"failure_rate": 100.0 - 50 * 100.0 / 350}),
            (10_000, "d", "", 0, "closed", {"failure_rate": 100.0 - 50 * 100.0 / 300}),
            (19_999, "e", "", 0, "open"),
            (50_001, "e", "", 0, "closed"),
            *((50_001, host, "200", 25) for host in FIVE),
            (50_001, "e", "503", 25),
            (60_001, "e", "", 0, "closed", {"failure_rate": 50.0}),
        ],
    ),
    Story(
        "BasicFlowFailurePercentageLocalOrigin",
        SPLIT
        | {
            "enforcing_consecutive_local_origin_failure": 0,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_failure_percentage_local_origin": 100,
            "failure_percentage_threshold": 40,
        },
        FIVE,
        [
            *((0, host, "local success", 200) for host in FIVE),
            (0, "e", "local failure", 200),
            (10_000, "e", "", 0, "open failure_percentage_local_origin"),
            (19_999, "e", "", 0, "open"),
            (50_001, "e", "", 0, "closed"),
        ],
    ),
    Story(
        "Overflow",
        {"max_ejection_percent": 1, "always_eject_one_host": True},
        "ab",
        [
            (0, "a", "500", 4, "closed"),
            (0, "a", "500", 1, "open consecutive_5xx"),
            (0, "b", "500", 5, "closed", {"ejections": 0}),
        ],
    ),
    Story("NotEnforcing", NO_5XX, "a", [(0, "a", "503", 4, "closed"), (0, "a", "503", 1, "closed", {"ejections": 0})]),
    Story(
        "Consecutive_5xxAlreadyEjected",
        ANY,
        "a",
        [
            (0, "a", "500", 4),
            (0, "a", "500", 1, "open consecutive_5xx"),
            (0, "a", "200", 1, "open"),
            (0, "a", "500", 5, "open", {"ejections": 1}),
        ],
    ),
    Story(
        "EjectTimeBackoff",
        ANY | {"base_ejection_time_ms": 10_000},
        "a",
        [
            (0, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": 10_000}),
            (10_000, "a", "", 0, "closed"),
            (10_000, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": 30_000}),
            (20_000, "a", "", 0, "open"),
            (30_000, "a", "", 0, "closed"),
            (30_000, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": 60_000}),
            (40_000, "a", "", 0, "open"),
            (50_000, "a", "", 0, "open"),
            (60_000, "a", "", 0, "closed"),
            (70_000, "a", "", 0, "closed"),
            (80_000, "a", "", 0, "closed"),
            (80_000, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": 100_000}),
            (90_000, "a", "", 0, "open"),
            (100_000, "a", "", 0, "closed"),
            (610_000, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": 620_000}),
            (620_000, "a", "", 0, "closed", {"ejections": 5}),
        ],
    ),
]


@pytest.mark.parametrize("story", UPSTREAM, ids=lambda story: story.name)
def test_a_test_of_envoys_own_holds(story: Story) -> None:
    check(story)


@pytest.mark.parametrize(
    ("longest_ms", "grows", "at_last_ms"),
    [(300_000, 30, 300_000), (305_000, 31, 310_000), (10_000, 1, 10_000), (15_000, 2, 20_000)],
    ids=["MaxEjectTime", "MaxEjectTimeNotAlligned", "the base time", "in between"],
)
def test_an_ejection_lasts_k_times_the_base_time_up_to_the_longest_and_to_the_end_of_an_interval(
    longest_ms: int, grows: int, at_last_ms: int
) -> None:
    now_ms, rows = 0, []
    for k in range(1, grows + 10):
        lasts_ms = min(k * 10_000, longest_ms)
        rows.append((now_ms, "a", "500", 5, "open consecutive_5xx", {"open_until_ms": now_ms + lasts_ms}))
        now_ms += min(k * 10_000, at_last_ms)
        rows.extend([(now_ms - 1, "a", "", 0, "open"), (now_ms, "a", "", 0, "closed")])
    check(Story("", ANY | {"base_ejection_time_ms": 10_000, "max_ejection_time_ms": longest_ms}, "a", rows))


BOUNDARIES = [
    # --- What an outcome counts as.
    Story(
        "any 5xx counts", ANY, "a", [(0, "a", code, 1, "closed") for code in ("500", "501", "520", "599")] + [(0, "a", "505", 1, "open")]
    ),
    Story("499 and 600 succeed", ANY, "a", [(0, "a", "499", 9, "closed"), (0, "a", "600", 9, "closed"), (0, "a", "500", 4, "closed")]),
    Story("a code decides alone", ANY, "ab", [(0, "a", "404 failure", 9, "closed"), (0, "b", "500 success", 5, "open consecutive_5xx")]),
    *(
        Story(f"{word} counts nowhere", ANY, "a", [(0, "a", "500", 4), (0, "a", word, 100, "closed"), (0, "a", "500", 1, "open")])
        for word in ("rejected", "short_circuited", "ignored", "cancelled")
    ),
    Story(
        "a connection alone ends no run where local origin is not split",
        ANY,
        "a",
        [(0, "a", "500", 4), (0, "a", "local success", 1), (0, "a", "500", 1, "open consecutive_5xx")],
    ),
    *(
        Story(
            f"{word} is a gateway failure: {is_one}",
            NO_5XX | {"enforcing_consecutive_gateway_failure": 100},
            "a",
            [(0, "a", word, 5, "open consecutive_gateway_failure" if is_one else "closed")],
        )
        for word, is_one in {
            "500": False,
            "501": False,
            "502": True,
            "503": True,
            "504": True,
            "505": False,
            "failure": False,
            "timeout": True,
            "local failure": True,
            "local timeout": True,
        }.items()
    ),
    Story(
        "a gateway failure is judged before the 5xx that it is too",
        ANY | {"enforcing_consecutive_gateway_failure": 100},
        "a",
        [(0, "a", "503", 5, "open consecutive_gateway_failure")],
    ),
    Story(
        "another 5xx begins the gateway's run anew",
        ANY | {"enforcing_consecutive_gateway_failure": 100, "consecutive_gateway_failure": 3},
        "a",
        [(0, "a", "503", 2), (0, "a", "500", 1), (0, "a", "503", 1, "closed"), (0, "a", "503", 1, "open consecutive_5xx")],
    ),
    Story("0 in a row: none ejects", ANY | {"consecutive_5xx": 0}, "a", [(0, "a", "500", 1_000, "closed")]),
    Story("1 in a row", ANY | {"consecutive_5xx": 1}, "a", [(0, "a", "500", 1, "open consecutive_5xx")]),
    # --- Split by origin.
    Story("a local failure is no 5xx where they are split", SPLIT, "a", [(0, "a", "local failure", 4), (0, "a", "failure", 4, "closed")]),
    Story(
        "a success without code ends the local run too",
        SPLIT,
        "a",
        [(0, "a", "local failure", 4), (0, "a", "success", 1), (0, "a", "local failure", 1, "closed")],
    ),
    Story(
        "a success with a code does not",
        SPLIT,
        "a",
        [(0, "a", "local failure", 4), (0, "a", "200", 1), (0, "a", "local failure", 1, "open consecutive_local_origin_failure")],
    ),
    Story(
        "a local success ends no run of answers",
        SPLIT,
        "a",
        [(0, "a", "failure", 4), (0, "a", "local success", 1), (0, "a", "failure", 1, "open consecutive_5xx")],
    ),
    Story(
        "consecutive_local_origin_failure does nothing where they are not split",
        NO_5XX,
        "a",
        [(0, "a", "local failure", 1_000, "closed")],
    ),
    # --- The cap.
    *(
        Story(
            f"{out} of {hosts} hosts under {percent} %",
            {"max_ejection_percent": percent},
            FIVE[:hosts],
            [
                *((0, host, "500", 5, "open consecutive_5xx") for host in FIVE[:out]),
                *((0, host, "500", 5, "closed") for host in FIVE[out:hosts]),
            ],
        )
        for hosts, percent, out in [
            (5, 10, 0),
            (5, 19, 0),
            (5, 20, 1),
            (5, 39, 1),
            (5, 40, 2),
            (5, 60, 3),
            (5, 100, 5),
            (3, 33, 0),
            (3, 34, 1),
            (3, 66, 1),
            (3, 67, 2),
            (1, 99, 0),
            (1, 100, 1),
            (2, 50, 1),
            (5, 0, 0),
        ]
    ),
    Story("under 10 hosts the default ejects none", {}, "abcdefghi", [(0, "a", "500", 100, "closed")]),
    Story("of 10 it ejects one", {}, "abcdefghij", [(0, "a", "500", 5, "open"), (0, "b", "500", 5, "closed")]),
    Story("of 19 too", {}, "abcdefghijklmnopqrs", [(0, "a", "500", 5, "open"), (0, "b", "500", 5, "closed")]),
    Story("of 20 two", {}, "abcdefghijklmnopqrst", [(0, "a", "500", 5, "open"), (0, "b", "500", 5, "open"), (0, "c", "500", 5, "closed")]),
    Story(
        "always_eject_one_host ejects the first, and no second",
        {"always_eject_one_host": True, "max_ejection_percent": 0},
        "ab",
        [
            (0, "a", "500", 5, "open"),
            (0, "b", "500", 5, "closed"),
            (30_000, "a", "", 0, "closed"),
            (30_000, "b", "500", 4, "closed"),
            (30_000, "b", "500", 1, "open consecutive_5xx"),
        ],
    ),
    Story(
        "the run begins anew where the cap forbids the ejection",
        {"max_ejection_percent": 50},
        "ab",
        [
            (0, "a", "500", 5, "open"),
            (0, "b", "500", 7, "closed"),
            (30_000, "a", "", 0, "closed"),
            (30_000, "b", "500", 2, "closed"),
            (30_000, "b", "500", 1, "open consecutive_5xx"),
        ],
    ),
    Story(
        "the room that a return makes is there for the next ejection",
        {"max_ejection_percent": 50},
        "ab",
        [(0, "a", "500", 5, "open"), (29_999, "b", "500", 5, "closed"), (30_000, "b", "500", 5, "open consecutive_5xx")],
    ),
    # --- Time.
    Story(
        "an ejection ends at the first interval at or after its end",
        ANY,
        "a",
        [
            (1, "a", "500", 5, "open", {"open_until_ms": 30_001}),
            (30_000, "a", "", 0, "open"),
            (30_001, "a", "", 0, "open"),
            (39_999, "a", "acquire", 1, "open", {"permitted": False, "not_permitted": 1}),
            (40_000, "a", "acquire", 1, "closed", {"permitted": True}),
        ],
    ),
    Story(
        "what is due at an event's time happens before it",
        ANY,
        "a",
        [(0, "a", "500", 5, "open"), (30_000, "a", "500", 4, "closed"), (30_000, "a", "500", 1, "open", {"open_until_ms": 90_000})],
    ),
    Story(
        "a run does not end with an interval",
        ANY,
        "a",
        [(0, "a", "500", 2), (10_000, "a", "500", 2), (20_000, "a", "500", 1, "open consecutive_5xx")],
    ),
    Story(
        "counters begin anew when it returns",
        ANY | {"enforcing_consecutive_gateway_failure": 100, "consecutive_gateway_failure": 9},
        "a",
        [(0, "a", "503", 5, "open"), (0, "a", "503", 100, "open"), (30_000, "a", "503", 4, "closed"), (30_000, "a", "503", 1, "open")],
    ),
    Story(
        "interval 1 ms", ANY | {"interval_ms": 1, "base_ejection_time_ms": 1}, "a", [(5, "a", "500", 5, "open"), (6, "a", "", 0, "closed")]
    ),
    Story(
        "one interval forgives one ejection, if it was healthy from end to end",
        ANY | {"base_ejection_time_ms": 10_000},
        "a",
        [
            (0, "a", "500", 5, "open"),
            (10_000, "a", "500", 5, "open", {"open_until_ms": 30_000}),
            (30_000, "a", "", 0, "closed"),
            (39_999, "a", "500", 5, "open", {"open_until_ms": 69_999}),
            (70_000, "a", "", 0, "closed"),
            (80_000, "a", "500", 5, "open", {"open_until_ms": 110_000}),
        ],
    ),
    Story(
        "after a probe's success the interval that was half over does not forgive",
        ANY | {"base_ejection_time_ms": 10_000},
        "a",
        [
            (1, "a", "500", 5, "open"),
            (2, "a", "probe success", 1, "closed"),
            (19_999, "a", "500", 5, "open", {"open_until_ms": 39_999}),
            (20_000, "a", "probe success", 1, "closed"),
            (30_000, "a", "500", 5, "open", {"open_until_ms": 50_000}),
        ],
    ),
    Story(
        "a probe's success before the first interval counts as one at time 0",
        ANY | {"base_ejection_time_ms": 10_000},
        "a",
        [(0, "a", "500", 5, "open"), (0, "a", "probe success", 1, "closed"), (10_000, "a", "500", 5, "open", {"open_until_ms": 20_000})],
    ),
    Story(
        "a probe without an ejection does nothing", ANY, "a", [(0, "a", "500", 4), (0, "a", "probe success", 1), (0, "a", "500", 1, "open")]
    ),
    # --- Success rate.
    *(
        Story(
            f"success rate: {name}",
            NO_5XX | settings,
            FIVE,
            [
                *((0, host, "200", good) for host, good, _ in zip(FIVE, goods, bads, strict=True) if good),
                *((0, host, "500", bad) for host, _, bad in zip(FIVE, goods, bads, strict=True) if bad),
                (9_999, "e", "", 0, "closed"),
                (10_000, "e", "", 0, seen),
            ],
        )
        for name, settings, goods, bads, seen in [
            ("one of five under 52 %", {}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "open success_rate"),
            ("a volume of 99 is not enough", {}, (100, 100, 100, 100, 49), (0, 0, 0, 0, 50), "closed"),
            ("nor is another host's", {}, (99, 100, 100, 100, 0), (0, 0, 0, 0, 100), "closed"),
            (
                "four hosts where four are enough",
                {"success_rate_minimum_hosts": 4, "success_rate_stdev_factor": 1700},
                (99, 100, 100, 100, 0),
                (0, 0, 0, 0, 100),
                "open success_rate",
            ),
            ("four never reach 1.9 deviations", {"success_rate_minimum_hosts": 4}, (99, 100, 100, 100, 0), (0, 0, 0, 0, 100), "closed"),
            ("exactly at the threshold", {"success_rate_stdev_factor": 2000}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "closed"),
            ("just below it", {"success_rate_stdev_factor": 1999}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "open success_rate"),
            ("all alike", {"success_rate_stdev_factor": 0}, (50,) * 5, (50,) * 5, "closed"),
            ("two bad ones of five hide each other", {}, (100, 100, 100, 0, 0), (0, 0, 0, 100, 100), "closed"),
            (
                "a factor of 0: whoever is below the mean",
                {"success_rate_stdev_factor": 0},
                (100, 100, 100, 100, 99),
                (0, 0, 0, 0, 1),
                "open success_rate",
            ),
            ("not enforced", {"enforcing_success_rate": 0}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "closed"),
            ("over the cap", {"max_ejection_percent": 19}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "closed"),
            ("just under the cap", {"max_ejection_percent": 20}, (100, 100, 100, 100, 50), (0, 0, 0, 0, 50), "open success_rate"),
        ]
    ),
    # --- Failure percentage.
    *(
        Story(
            f"failure percentage: {name}",
            NO_5XX | {"enforcing_success_rate": 0, "enforcing_failure_percentage": 100} | settings,
            FIVE,
            [
                *((0, host, "200", 50) for host in FIVE[:hosts]),
                *([(0, "e", "200", good)] if good else []),
                (0, "e", "500", bad),
                (10_000, "e", "", 0, seen),
            ],
        )
        for name, settings, hosts, good, bad, seen in [
            ("85 of 100", {}, 4, 15, 85, "open failure_percentage"),
            ("84 of 100", {}, 4, 16, 84, "closed"),
            ("49 calls", {}, 4, 0, 49, "closed"),
            ("50 calls", {}, 4, 0, 50, "open failure_percentage"),
            ("three others", {}, 3, 0, 50, "closed"),
            ("three others are enough", {"failure_percentage_minimum_hosts": 4}, 3, 0, 50, "open failure_percentage"),
            ("alone", {"failure_percentage_minimum_hosts": 1}, 0, 0, 50, "open failure_percentage"),
            ("alone, of a minimum of 0", {"failure_percentage_minimum_hosts": 0}, 0, 0, 50, "open failure_percentage"),
            ("a threshold of 100", {"failure_percentage_threshold": 100}, 4, 1, 999, "closed"),
            ("all of a threshold of 100", {"failure_percentage_threshold": 100}, 4, 0, 1_000, "open failure_percentage"),
            ("a threshold of 0", {"failure_percentage_threshold": 0, "max_ejection_percent": 100}, 4, 100, 1, "open failure_percentage"),
            ("not enforced", {"enforcing_failure_percentage": 0}, 4, 0, 100, "closed"),
        ]
    ),
    Story(
        "an earlier comparison takes the room, whichever host comes first",
        NO_5XX
        | {
            "enforcing_failure_percentage": 100,
            "max_ejection_percent": 20,
            "failure_percentage_threshold": 10,
            "success_rate_request_volume": 100,
        },
        FIVE + "f",
        [
            (0, "a", "200", 40),
            (0, "a", "500", 50),  # 90 calls: too few for a success rate, enough for a failure percentage.
            *((0, host, "200", 100) for host in "bcde"),
            (0, "f", "500", 100),
            (10_000, "f", "", 0, "open success_rate"),
            (10_000, "a", "", 0, "closed", {"ejections": 0}),
        ],
    ),
    Story(
        "who is ejected is compared no more, and who returns is at once",
        NO_5XX,
        FIVE,
        [
            *((0, host, "200", 100) for host in "abcd"),
            (0, "e", "500", 100),
            (10_000, "e", "", 0, "open success_rate", {"open_until_ms": 40_000}),
            *((30_001, host, "200", 100) for host in "abcd"),
            (30_001, "e", "500", 100),
            (40_000, "e", "", 0, "open success_rate", {"ejections": 2, "open_until_ms": 100_000}),
        ],
    ),
    Story(
        "an ejection by comparison leaves the runs alone, and its return begins them anew",
        NO_5XX | {"enforcing_consecutive_gateway_failure": 100},
        FIVE,
        [
            *((0, host, "200", 100) for host in "abcd"),
            (0, "e", "500", 100),
            (0, "e", "503", 4, "closed"),
            (10_000, "e", "", 0, "open success_rate"),
            (40_000, "e", "503", 4, "closed"),
            (40_000, "e", "503", 1, "open consecutive_gateway_failure"),
        ],
    ),
    Story(
        "what was answered is compared before what was found locally",
        SPLIT | {"enforcing_consecutive_5xx": 0, "enforcing_consecutive_local_origin_failure": 0},
        FIVE,
        [
            *((0, host, "success", 100) for host in "abcd"),
            (0, "e", "failure", 100),
            (0, "e", "local failure", 100),
            (10_000, "e", "", 0, "open success_rate", {"ejections": 1}),
        ],
    ),
    Story(
        "failure_rate of an interval below both volumes",
        ANY,
        "a",
        [(0, "a", "200", 49), (10_000, "a", "", 0, {"failure_rate": -1, "calls": 49})],
    ),
    Story(
        "failure_rate of one that reaches the smaller volume, until the next one",
        ANY,
        "a",
        [
            (0, "a", "200", 49),
            (0, "a", "404", 1),
            (10_000, "a", "", 0, {"failure_rate": 0.0}),
            (19_999, "a", "", 0, {"failure_rate": 0.0}),
            (20_000, "a", "", 0, {"failure_rate": -1}),
        ],
    ),
]


@pytest.mark.parametrize("story", BOUNDARIES, ids=lambda story: story.name)
def test_a_boundary_is_exact(story: Story) -> None:
    check(story)


ENVOY = Envoy()


def alone(settings: Settings, endpoint: str = "a", seed: int = 0) -> Member[Memory]:
    return Member(endpoint, BreakerState(), ENVOY.begin(settings, 0), seed=seed)


@pytest.mark.parametrize(
    ("written", "longest_ms"),
    [
        ({"interval_ms": 100, "base_ejection_time_ms": 10_000}, 300_000),
        ({"interval_ms": 100, "base_ejection_time_ms": 400_000}, 400_000),
        ({"base_ejection_time_ms": 10_000, "max_ejection_time_ms": 10_000}, 10_000),
        ({"max_ejection_time_ms": 400_000}, 400_000),
    ],
)
def test_the_longest_ejection_is_at_least_the_first(written: dict[str, int], longest_ms: int) -> None:
    settings = read_settings(Settings, written)
    ENVOY.check(settings)
    assert settings.longest_ms == longest_ms


@pytest.mark.parametrize("written", [{"base_ejection_time_ms": 10_000, "max_ejection_time_ms": 3_000}, {"max_ejection_time_ms": 29_999}])
def test_a_longest_ejection_below_the_first_is_refused_by_name(written: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="max_ejection_time_ms") as refused:
        ENVOY.check(read_settings(Settings, written))
    assert refused.value.name == "max_ejection_time_ms"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enforcing_success_rate", 101),
        ("max_ejection_percent", 101),
        ("max_ejection_percent", -1),
        ("failure_percentage_threshold", 101),
        ("interval_ms", 0),
        ("base_ejection_time_ms", 0),
        ("max_ejection_time_ms", 0),
        ("consecutive_5xx", -1),
        ("always_eject_one_host", 1),
        ("consecutive_5xx", 2.5),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        read_settings(Settings, {name: value})


def test_the_defaults_are_envoys() -> None:
    assert msgspec.structs.asdict(Settings()) == {
        "consecutive_5xx": 5,
        "consecutive_gateway_failure": 5,
        "consecutive_local_origin_failure": 5,
        "split_external_local_origin_errors": False,
        "interval_ms": 10_000,
        "base_ejection_time_ms": 30_000,
        "max_ejection_time_ms": None,
        "max_ejection_time_jitter_ms": 0,
        "max_ejection_percent": 10,
        "always_eject_one_host": False,
        "success_rate_minimum_hosts": 5,
        "success_rate_request_volume": 100,
        "success_rate_stdev_factor": 1_900,
        "failure_percentage_threshold": 85,
        "failure_percentage_minimum_hosts": 5,
        "failure_percentage_request_volume": 50,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_success_rate": 100,
        "enforcing_local_origin_success_rate": 100,
        "enforcing_failure_percentage": 0,
        "enforcing_failure_percentage_local_origin": 0,
    }


def intervals(settings: Settings, successes: Sequence[int], calls: int = 100) -> list[Member[Memory]]:
    """Hosts with so many successes among so many calls, whose interval has just ended at 10 s."""
    hosts = []
    for place, good in enumerate(successes):
        host = alone(settings, str(place))
        for outcome, count in ((CallOutcome.SUCCESS, good), (CallOutcome.FAILURE, calls - good)):
            if count:
                host = ENVOY.observe(settings, host, Call(outcome, count), Gathered(len(successes), 0), 1).member
        hosts.append(ENVOY.tick(settings, host, 10_000).member)
    return hosts


def test_the_published_success_rate_computation() -> None:
    """{50, 100, 100, 100, 100}: mean 90, variance 400, threshold 52."""
    settings = read_settings(Settings, NO_5XX)
    rates = ENVOY.gather(settings, intervals(settings, (50, 100, 100, 100, 100)), 10_000).external
    assert (rates.mean, rates.threshold) == (90.0, 52.0)


def test_with_too_few_hosts_there_is_no_mean() -> None:
    settings = read_settings(Settings, NO_5XX)
    gathered = ENVOY.gather(settings, intervals(settings, (50, 100, 100, 100)), 10_000)
    assert (gathered.external.mean, gathered.external.threshold, gathered.local.mean) == (-1, -1, -1)


def test_the_mean_stays_what_it_was_while_outliers_are_ejected_one_by_one() -> None:
    settings = read_settings(Settings, NO_5XX | {"success_rate_stdev_factor": 500})
    hosts = intervals(settings, (0, 0, 100, 100, 100))
    before = ENVOY.gather(settings, hosts, 10_000)
    assert before.admitted == (2, 0, 0, 0)
    hosts[0] = ENVOY.compare(settings, hosts[0], before, 10_000).member
    after = ENVOY.gather(settings, hosts, 10_000)
    assert (hosts[0].breaker.state, after.ejected, after.external, after.admitted) == (Breaker.OPEN, 1, before.external, (1, 0, 0, 0))
    hosts[1] = ENVOY.compare(settings, hosts[1], after, 10_000).member
    assert hosts[1].breaker.state is Breaker.OPEN


def test_what_is_known_of_a_pool_does_not_grow_with_it() -> None:
    settings = read_settings(Settings, NO_5XX)
    sizes = {len(msgspec.json.encode(ENVOY.gather(settings, intervals(settings, (90,) * hosts), 10_000))) for hosts in (10, 99)}
    assert len(sizes) == 1


def test_hosts_whose_end_of_the_interval_nobody_has_noticed_yet_are_compared_all_the_same() -> None:
    """Whoever plays one host at a time, as its own calls come, sees the pool as it is."""
    settings = read_settings(Settings, NO_5XX)
    hosts = []
    for place, outcome in enumerate([CallOutcome.SUCCESS] * 4 + [CallOutcome.FAILURE]):
        hosts.append(ENVOY.observe(settings, alone(settings, str(place)), Call(outcome, 100), Gathered(5, 0), 9_999).member)
    gathered = ENVOY.gather(settings, hosts, 12_345)
    assert gathered.external == ENVOY.gather(settings, intervals(settings, (100, 100, 100, 100, 0)), 10_000).external
    last = ENVOY.compare(settings, ENVOY.tick(settings, hosts[4], 10_000).member, gathered, 12_345)
    assert [change.rule for change in last.changes] == ["success_rate"]


def test_a_host_is_compared_once_an_interval() -> None:
    settings = read_settings(Settings, NO_5XX | {"base_ejection_time_ms": 1})
    bad = intervals(settings, (100, 100, 100, 100, 0))
    gathered = ENVOY.gather(settings, bad, 10_000)
    ejected = ENVOY.compare(settings, bad[4], gathered, 10_000).member
    back = ENVOY.probe(settings, ejected, success=True, now_ms=10_500).member
    assert ENVOY.compare(settings, back, ENVOY.gather(settings, [*bad[:4], back], 10_500), 10_500).changes == ()


def test_memory_is_bounded_and_json_holds_it() -> None:
    settings = read_settings(Settings, SPLIT | {"enforcing_consecutive_5xx": 50})
    member, now_ms = alone(settings), 1_790_000_000_000
    for _ in range(50):
        for outcome in CallOutcome:
            for local in (False, True):
                call = Call(outcome, 2**40, local_origin=local)
                member = ENVOY.observe(settings, member, call, ENVOY.gather(settings, [member], now_ms), now_ms).member
        now_ms = ENVOY.due_ms(settings, member)
        member = ENVOY.tick(settings, member, now_ms).member
        member = ENVOY.compare(settings, member, ENVOY.gather(settings, [member], now_ms), now_ms).member
        member = ENVOY.acquire(settings, member, now_ms).member
    stored = msgspec.json.encode(member.memory)
    assert len(stored) < 500
    assert msgspec.json.decode(stored, type=Memory) == member.memory


def test_many_equal_failures_cost_no_more_than_one() -> None:
    """Counted one by one, these would take years."""
    settings = read_settings(Settings, ANY | {"enforcing_consecutive_5xx": 0, "consecutive_5xx": 7})
    member = ENVOY.observe(settings, alone(settings), Call(CallOutcome.FAILURE, 2**53 - 1), Gathered(1, 0), 1).member
    assert member.memory.in_row_5xx == (2**53 - 1) % 7


@pytest.mark.parametrize("counts", [(1,) * 23, (23,), (4, 1, 18), (5, 18), (11, 12)])
def test_failures_at_once_count_as_failures_one_by_one(counts: Sequence[int]) -> None:
    settings = read_settings(
        Settings,
        ANY
        | {
            "consecutive_5xx": 7,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_5xx": 40,
            "enforcing_consecutive_gateway_failure": 9,
        },
    )
    for seed in range(40):
        member = alone(settings, seed=seed)
        single = alone(settings, seed=seed)
        for count in counts:
            member = ENVOY.observe(settings, member, Call(CallOutcome.TIMEOUT, count), Gathered(1, 0), 1).member
        for _ in range(23):
            single = ENVOY.observe(settings, single, Call(CallOutcome.TIMEOUT), Gathered(1, 0), 1).member
        assert (member.breaker, member.memory.total) == (single.breaker, single.memory.total)
        if member.breaker.state is Breaker.CLOSED:
            assert member == single


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_an_ejection_is_enforced_by_chance_and_each_attempt_draws_anew(percent: int) -> None:
    settings = read_settings(Settings, ANY | {"enforcing_consecutive_5xx": percent})
    ejected = attempts = 0
    for seed in range(2_000):
        member = ENVOY.observe(settings, alone(settings, seed=seed), Call(CallOutcome.FAILURE, 5), Gathered(1, 0), 1).member
        ejected += member.breaker.state is Breaker.OPEN
        member = ENVOY.observe(settings, alone(settings, seed=seed), Call(CallOutcome.FAILURE, 2_000_000), Gathered(1, 0), 1).member
        attempts += member.memory.attempts
        assert member.breaker.state is Breaker.OPEN
    assert ejected / 2_000 == pytest.approx(percent / 100, abs=0.04)
    assert 2_000 / attempts == pytest.approx(percent / 100, rel=0.1)


def test_a_comparison_is_enforced_by_chance_and_each_interval_draws_anew() -> None:
    settings = read_settings(Settings, NO_5XX | {"enforcing_success_rate": 50, "base_ejection_time_ms": 1, "interval_ms": 1_000})
    open_after = []
    for interval in range(1, 200):
        hosts = []
        for place in range(5):
            host = alone(settings, str(place))
            call = Call(CallOutcome.SUCCESS if place else CallOutcome.FAILURE, 100)
            host = ENVOY.observe(settings, host, call, Gathered(5, 0), interval * 1_000 - 1).member
            hosts.append(ENVOY.tick(settings, host, interval * 1_000).member)
        step = ENVOY.compare(settings, hosts[0], ENVOY.gather(settings, hosts, interval * 1_000), interval * 1_000)
        open_after.append(bool(step.changes))
    assert 70 <= sum(open_after) <= 130


def test_jitter_lengthens_an_ejection_by_up_to_its_maximum_and_a_seed_fixes_it() -> None:
    settings = read_settings(Settings, ANY | {"max_ejection_time_jitter_ms": 10_000})
    call = Call(CallOutcome.FAILURE, 5)
    ends = [
        ENVOY.observe(settings, alone(settings, seed=seed), call, Gathered(1, 0), 0).member.breaker.open_until_ms for seed in range(2_000)
    ]
    assert ends == [
        ENVOY.observe(settings, alone(settings, seed=seed), call, Gathered(1, 0), 0).member.breaker.open_until_ms for seed in range(2_000)
    ]
    assert 30_000 <= min(ends) < 30_100
    assert 39_900 < max(ends) <= 40_000


def test_jitter_of_0_adds_nothing() -> None:
    check(Story("", ANY, "a", [(0, "a", "500", 5, {"open_until_ms": 30_000})]))


def test_silence_costs_nothing() -> None:
    settings = read_settings(Settings, ANY)
    member = alone(settings)
    assert ENVOY.due_ms(settings, member) == 0
    member = ENVOY.observe(settings, member, Call(CallOutcome.FAILURE, 5), Gathered(1, 0), 86_400_000_001).member
    assert ENVOY.due_ms(settings, member) == 86_400_010_000
    for _ in range(2):
        member = ENVOY.tick(settings, member, ENVOY.due_ms(settings, member)).member
    assert ENVOY.due_ms(settings, member) == 86_400_040_000
    member = ENVOY.tick(settings, member, 86_400_040_000).member
    for due_ms in (86_400_050_000, 0):
        member = ENVOY.compare(settings, member, ENVOY.gather(settings, [member], 0), 0).member
        assert ENVOY.due_ms(settings, member) == due_ms
        member = ENVOY.tick(settings, member, 86_400_050_000).member


def test_there_are_no_overrides() -> None:
    settings = Settings()
    for word in ("open", "half_open", "forced_open", "forced_closed", "disabled", "metrics_only", "auto", "reset", "open_for:1000"):
        with pytest.raises(IllegalError, match="envoy knows no overrides"):
            ENVOY.override(settings, alone(settings), word, 0)


@pytest.mark.parametrize(
    ("mode", "total", "state", "permitted"),
    [
        (Override.DISABLED, 0, Breaker.CLOSED, True),
        (Override.METRICS_ONLY, 5, Breaker.CLOSED, True),
        (Override.FORCED_CLOSED, 5, Breaker.OPEN, True),
        (Override.FORCED_OPEN, 5, Breaker.OPEN, False),
    ],
)
def test_an_operators_word_lies_over_it(mode: Override, total: int, state: Breaker, permitted: bool) -> None:
    settings = read_settings(Settings, ANY)
    member = msgspec.structs.replace(alone(settings), mode=mode)
    member = ENVOY.observe(settings, member, Call(CallOutcome.FAILURE, 5), Gathered(1, 0), 1).member
    assert (member.memory.total, member.breaker.state, ENVOY.acquire(settings, member, 1).permitted) == (total, state, permitted)


@pytest.mark.parametrize("state", [Breaker.OPEN, Breaker.HALF_OPEN])
def test_what_another_policy_has_opened_returns_by_envoys_rule(state: Breaker) -> None:
    settings = read_settings(Settings, ANY)
    member = msgspec.structs.replace(
        alone(settings), breaker=BreakerState(state=state, open_until_ms=15_000 if state is Breaker.OPEN else 0)
    )
    due_ms = ENVOY.due_ms(settings, member)
    assert due_ms == (20_000 if state is Breaker.OPEN else 10_000)
    step = ENVOY.tick(settings, member, due_ms)
    assert (step.member.breaker.state, step.changes[0].old, step.changes[0].new) == (Breaker.CLOSED, state.value.lower(), "closed")
