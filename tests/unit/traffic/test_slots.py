"""One second of one endpoint: nobody weighs too much, and the order of its calls claims nothing."""

from __future__ import annotations

from itertools import groupby

import pytest

from monitor.core.history import bucket_ms, bucket_of
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.reports import Counters, ReportError
from monitor.pool.traffic.slots import Second, in_order, merged, seen

SUCCESS, FAILURE, TIMEOUT, IGNORED = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT, CallOutcome.IGNORED


def second(latency: dict[int, int] | None = None, **calls: int) -> Second:
    return merged([seen("o", Counters(calls, 0, latency or {}))])


def runs(calls: list[Call]) -> list[tuple[bool, int]]:
    """Whether they failed, and how many in a row."""
    return [(failed, sum(call.count for call in some)) for failed, some in groupby(calls, lambda call: call.outcome is not SUCCESS)]


def test_calls_of_several_observers_add_up() -> None:
    both = [
        seen("b", Counters({"success": 3, "failure/503": 1}, 1, {37: 3})),
        seen("a", Counters({"success": 4, "timeout": 2}, 2, {37: 1, 40: 3})),
    ]
    found = merged(both)
    assert found == Second({"success": 7, "failure/503": 1, "timeout": 2}, 3, {37: 4, 40: 3}, ("a", "b"), both)
    assert (found.ok, found.failed) == (7, 3)


def test_no_observer_weighs_more_than_twice_the_middle_one() -> None:
    few = [seen(f"o{n}", Counters({"success": 20})) for n in range(4)]
    found = merged([*few, seen("loud", Counters({"failure": 1_000, "success": 1_000}, 0, {37: 1_000}))])
    assert found.calls == {"success": 80 + 20, "failure": 20}
    assert found.latency == {37: 20}
    assert merged([*few, seen("small", Counters({"failure": 40}))]).failed == 40


def test_ten_calls_of_anybody_always_count() -> None:
    few = [seen(f"o{n}", Counters({"success": 1})) for n in range(4)]
    assert merged([*few, seen("other", Counters({"failure": 10}))]).failed == 10
    assert merged([*few, seen("other", Counters({"failure": 100}))]).failed == 10


def test_who_is_alone_is_not_scaled() -> None:
    assert second(failure=10_000).failed == 10_000


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(ReportError):
        seen("o", Counters({"success": 1, "oops": 1}))


@pytest.mark.parametrize(
    ("success", "failure", "expected"),
    [
        (0, 7, [(True, 7)]),
        (7, 0, [(False, 7)]),
        (4, 2, [(False, 1), (True, 1), (False, 1), (True, 1), (False, 2)]),
        (1, 8, [(True, 4), (False, 1), (True, 4)]),
        (2, 2, [(False, 1), (True, 1), (False, 1), (True, 1)]),
    ],
)
def test_failures_are_spread_among_successes(success: int, failure: int, expected: list[tuple[bool, int]]) -> None:
    calls = in_order(second(success=success, failure=failure))
    assert sum(call.count for call in calls) == success + failure
    assert runs(calls) == expected


@pytest.mark.parametrize(("success", "failure"), [(9_500, 500), (1_000, 1_000), (500, 9_500), (19_000, 1_000), (100_000, 5_000)])
def test_many_calls_are_spread_in_bounded_parts(success: int, failure: int) -> None:
    calls = in_order(second(success=success, failure=failure))
    assert len(calls) <= 2_001
    counted = {outcome: sum(call.count for call in calls if call.outcome is outcome) for outcome in (SUCCESS, FAILURE)}
    assert counted == {SUCCESS: success, FAILURE: failure}
    assert max(n for failed, n in runs(calls) if failed) <= max(-(-failure // 1_000), -(-failure // success) + 1)


def test_durations_and_codes_reach_the_policy() -> None:
    calls = in_order(second({bucket_of(5.0): 2, bucket_of(500.0): 1}, **{"success": 5, "timeout": 1, "failure/503": 1, "ignored": 9}))
    by = {(call.outcome, call.code, round(call.duration_ms)): 0 for call in calls}
    for call in calls:
        by[call.outcome, call.code, round(call.duration_ms)] += call.count
    fast, slow = (round(bucket_ms(bucket_of(ms))) for ms in (5.0, 500.0))
    assert by == {
        (SUCCESS, None, fast): 2,
        (SUCCESS, None, slow): 1,
        (SUCCESS, None, 0): 2,
        (TIMEOUT, None, 0): 1,
        (FAILURE, 503, 0): 1,
        (IGNORED, None, 0): 9,
    }


def test_no_more_calls_are_heard_than_there_are_permits() -> None:
    calls = in_order(second(success=50, failure=50), 5)
    assert sum(call.count for call in calls) == 5
    assert in_order(second(success=50), 0) == []
