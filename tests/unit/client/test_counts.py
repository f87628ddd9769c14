"""Counting calls: whatever a service reports is counted or refused and never raises, and what was counted fits the contract's entries."""

from __future__ import annotations

import math
import threading
from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.client import counts
from monitor.client.counts import Counts, entries
from monitor.core.history import bucket_of
from monitor.core.policies.call import CallOutcome
from monitor.core.reports import CALL_WORDS_MAX, REPORT_ENDPOINTS_MAX, Report, decode, encode_report


def written(counted: Counts) -> dict[str, Any]:
    """The counters of each endpoint, all of one pool, as they stand in its entries."""
    pools, _ = entries(counted.take(), lambda _: "shop")
    portions = [portion for found in pools.values() for portion in found]
    return {endpoint: msgspec.to_builtins(one) for portion in portions for endpoint, one in portion.items()}


def test_calls_are_counted_by_outcome_status_and_latency() -> None:
    counted = Counts()
    for duration_s in (0.0036, 0.0035, 0.2):
        counted.add("a", "success", duration_s, None)
    counted.add("a", "failure", 0.1, 503)
    counted.add("a", "failure", 0.1, HTTPStatus.SERVICE_UNAVAILABLE)
    counted.add("a", "timeout", None, None)
    counted.add("b", CallOutcome.SUCCESS, None, 200)
    assert written(counted) == {
        "a": {
            "calls": {"success": 3, "failure/503": 2, "timeout": 1},
            "latency": {37: 2, bucket_of(200.0): 1},
        },
        "b": {"calls": {"success/200": 1}},
    }
    assert written(counted) == {}


@pytest.mark.parametrize("duration_s", [math.nan, math.inf, -math.inf, -1.0, 1e400, "soon", [], object()])
def test_a_duration_that_is_none_loses_no_call(duration_s: Any) -> None:
    counted = Counts()
    counted.add("a", "success", duration_s, None)
    assert written(counted)["a"]["calls"] == {"success": 1}


@pytest.mark.parametrize("code", [0, 99, 1_000, -1, 10**30, "503", 503.5, [], math.nan])
def test_a_status_that_is_none_is_left_out(code: Any) -> None:
    counted = Counts()
    counted.add("a", "failure", 0.1, code)
    assert written(counted) == {"a": {"calls": {"failure": 1}}}


@pytest.mark.parametrize(("endpoint", "outcome"), [("a", "succes"), ("a", None), ("a", []), ("a", 1), (None, "success"), ([], "success")])
def test_what_is_no_outcome_is_refused_and_counted(endpoint: Any, outcome: Any) -> None:
    counted = Counts()
    counted.add(endpoint, outcome, 0.1, None)
    assert written(counted) == {}
    assert counted.refused == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(CallOutcome), st.none() | st.floats(), st.integers() | st.none())))
def test_no_call_is_lost_and_every_entry_can_be_read(calls: list[Any]) -> None:
    counted = Counts()
    for call in calls:
        counted.add(*call)
    pools, unknown = entries(counted.take(), {"a": "shop", "b": "cart"}.get)
    assert unknown == sum(call[0] == "c" for call in calls)
    found: Counter[str] = Counter()
    for portions in pools.values():
        for portion in portions:
            report = decode(encode_report(Report(observer="o", seq=1, slot_ms=0, endpoints=portion)))
            assert isinstance(report, Report)
            for endpoint, one in report.endpoints.items():
                found[endpoint] += sum(one.calls.values())
    assert found == Counter(call[0] for call in calls if call[0] != "c")


def test_the_rarest_words_lose_their_status_where_there_are_too_many() -> None:
    counted = Counts()
    for code in range(400, 600):
        for _ in range(3 if code == 599 else 1):
            counted.add("a", "failure", None, code)
    counted.add("a", "success", None, 200)
    calls = written(counted)["a"]["calls"]
    assert len(calls) <= CALL_WORDS_MAX
    assert sum(calls.values()) == 203
    assert calls["failure/599"] == 3
    assert sum(n for word, n in calls.items() if word.startswith("success")) == 1


def test_more_endpoints_than_an_entry_takes_go_into_several() -> None:
    counted = Counts()
    for number in range(REPORT_ENDPOINTS_MAX + 1):
        counted.add(f"e{number}", "success", None, None)
    pools, _ = entries(counted.take(), lambda _: "shop")
    assert [len(portion) for portion in pools["shop"]] == [REPORT_ENDPOINTS_MAX, 1]


def test_counters_are_bounded_and_what_finds_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "COUNTERS_MAX", 10)
    counted = Counts()
    for _ in range(2):
        for number in range(25):
            counted.add(f"e{number}", "success", None, None)
    assert len(written(counted)) == 10
    assert counted.dropped == 30


def test_threads_that_count_while_others_take_lose_nothing() -> None:
    counted, calls_each, threads_n = Counts(), 20_000, 4
    found: Counter[str] = Counter()

    def report() -> None:
        for _ in range(calls_each):
            counted.add("a", "success", None, None)

    threads = [threading.Thread(target=report) for _ in range(threads_n)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for cell, n in counted.take().items():
            found[cell[0]] += n
    for cell, n in counted.take().items():
        found[cell[0]] += n
    assert found["a"] == calls_each * threads_n
