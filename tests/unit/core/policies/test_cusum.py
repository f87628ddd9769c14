"""The policy cusum, by hand: ln(.525/.05) = 2.351 for a failure, ln 2 = .693 for a success, ln 86,400 = 11.37 trips at a call a second."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.cusum import EXCEEDED
from monitor.core.policies.cusum_state import Memory, Peers
from monitor.core.policies.options import SettingError, read_settings
from monitor.core.policies.policy import IllegalError, Trials, spread
from tests.unit.core.policies.pool_of_cusum import FAILURE, POLICY, SUCCESS, TIMEOUT, PoolOfCusum


def test_five_failures_a_second_apart_trip_an_endpoint_alone() -> None:
    pool = PoolOfCusum()
    for second in range(5):
        assert pool.state() == "closed"
        pool.second(second, "a", bad=1)
    ((_, change),) = pool.changes
    assert (change.at_ms, change.old, change.new, change.rule, change.hard) == (4_000, "closed", "open", "cusum", False)
    assert change.evidence == {
        "score": 11.757, "threshold": 11.367, "p0": 0.05, "p1": 0.525, "failures": 5, "calls": 5, "peers_rate": -1, "hard_failures": 0,
    }  # fmt: skip
    assert change.reason == "5 of 5 calls failed within 5s, and no other member had calls to compare it with: score 11.8, 11.4 trips"
    assert pool.members["a"].breaker.open_until_ms == 9_000


def test_each_success_takes_ln_2_and_never_below_zero() -> None:
    pool = PoolOfCusum()
    pool.second(0, "a", good=20)
    for second, outcome in enumerate("FFSFFSFF", start=1):  # 6 * 2.351 - 2 * .693 = 12.7, and 9.7 one failure before
        assert pool.state() == "closed"
        pool.second(second, "a", bad=outcome == "F", good=outcome == "S")
    assert pool.state() == "open"


def test_an_endpoint_with_many_calls_needs_more_failures() -> None:
    """ln(1,000 * 86,400) = 18.27: eight timeouts trip, seven do not."""
    pool = PoolOfCusum()
    for second in range(30):
        pool.second(second, "a", good=1_000)
    for ms in range(7):
        pool.call(30_000 + ms, "a", Call(TIMEOUT))
    assert pool.state() == "closed"
    pool.call(30_007, "a", Call(TIMEOUT))
    ((_, change),) = pool.changes
    assert change.evidence["threshold"] == 18.274
    assert change.hard


def test_fewer_false_ejections_a_day_make_it_slower() -> None:
    pool = PoolOfCusum(false_ejections_per_day=0.01)  # 11.37 + 4.61
    for second in range(6):
        pool.second(second, "a", bad=1)
    assert pool.state() == "closed"
    pool.second(6, "a", bad=1)
    assert pool.state() == "open"


def test_one_bad_second_trips_nobody_unless_nothing_could_be_reached() -> None:
    pool = PoolOfCusum()
    pool.second(0, "a", bad=1_000_000)
    assert pool.state() == "closed"
    pool.second(1, "a", bad=4)
    assert pool.state() == "closed"
    pool.second(1, "a", bad=1)
    assert pool.state() == "open"
    unreachable = PoolOfCusum()
    unreachable.call(0, "a", Call(FAILURE, 5, local_origin=True))
    assert unreachable.state() == "open"
    assert unreachable.members["a"].breaker.hard


def test_two_seconds_that_are_bad_throughout_trip_although_traffic_grows() -> None:
    pool = PoolOfCusum()
    for second in range(15):
        pool.second(second, "a", good=1_000)
    pool.second(15, "a", bad=1_000)
    pool.second(16, "a", bad=1_000)
    assert pool.state() == "open"


def test_gray_failures_among_hard_ones_do_not_lift_the_limit_of_a_second() -> None:
    pool = PoolOfCusum()
    pool.second(0, "a", good=4, timeouts=4, bad=1_000)  # the timeouts alone: 4 * 2.351 - 4 * .693
    assert pool.state() == "closed"


def test_calls_of_one_millisecond_have_no_order() -> None:
    """19 of 20 fail, the successes first or last: the same."""
    first, last = PoolOfCusum(), PoolOfCusum()
    first.call(0, "a", Call(SUCCESS, 1))
    first.call(0, "a", Call(FAILURE, 3))
    last.call(0, "a", Call(FAILURE, 3))
    last.call(0, "a", Call(SUCCESS, 1))
    for pool in (first, last):
        pool.second(1, "a", good=20, bad=1)
        pool.second(2, "a", bad=4)
    assert first.members["a"].memory == last.members["a"].memory


def test_a_fifth_of_calls_that_fail_in_every_second_trip_nobody() -> None:
    """The share at which failures add what successes take is 22.8 %."""
    pool = PoolOfCusum()
    for second in range(3_600):
        pool.second(second, "a", good=800, bad=200)
    assert pool.state() == "closed"


def test_a_quarter_of_calls_that_fail_trip() -> None:
    pool = PoolOfCusum()
    for second in range(30):
        pool.second(second, "a", good=75, bad=25)
    assert pool.state() == "open"


# The others -----------------------------------------------------------------------------------------------------------


def test_one_that_fails_among_others_that_do_not_is_ejected_alone() -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(10):
        for name in pool.members:
            pool.second(second, name, good=50 if name == "a" else 99, bad=50 if name == "a" else 1)
    assert pool.states() == "open closed closed"
    ((_, change),) = pool.changes
    assert change.at_ms == 1_000
    assert "while 1 % of the other members' did" in change.reason
    assert change.evidence["peers_rate"] == 1.0


@pytest.mark.parametrize("share", [30, 50, 80, 95, 100])
@pytest.mark.parametrize("hard", [False, True])
def test_a_failure_that_the_pool_shares_ejects_nobody(share: int, hard: bool) -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(120):
        bad = share if second >= 30 else 0
        for name in pool.members:
            pool.second(second, name, good=100 - bad, **{"timeouts" if hard else "bad": bad})
    assert pool.states() == "closed closed closed"
    for second in range(120, 180):
        for name in pool.members:
            pool.second(second, name, good=100)
    assert pool.changes == []


@pytest.mark.parametrize("hard", [False, True])
def test_a_failure_that_the_pool_shares_from_the_first_call_on_ejects_nobody(hard: bool) -> None:
    pool = PoolOfCusum("a", "b")
    for second in range(60):
        for name in pool.members:
            pool.second(second, name, **{"timeouts" if hard else "bad": 100})
    assert pool.changes == []


def test_a_shared_failure_at_a_call_a_second_ejects_nobody() -> None:
    pool = PoolOfCusum("a", "b")
    for second in range(120):
        for name in pool.members:
            pool.second(second, name, bad=second >= 60, good=second < 60)
    assert pool.changes == []


@pytest.mark.parametrize("seed", range(8))
def test_what_counted_as_bad_when_a_shared_failure_began_is_judged_by_what_the_others_did_then(seed: int) -> None:
    """The window's rate rises for 30 s, and a score that grew beside a lower one must not trip when chance adds a little."""
    pool = PoolOfCusum(*"abcde")
    for second in range(70):
        for name in pool.members:
            bad = second >= 10 and spread(name, second, seed) < 0.8
            pool.second(second, name, bad=bad, good=not bad)
    assert pool.changes == []


def test_one_that_fails_wholly_beside_a_shared_failure_of_four_fifths_is_found() -> None:
    """p0 = .85: each failure adds .0846, so that 190 take it to ln(100 * 86,400) = 15.97."""
    pool = PoolOfCusum("a", "b", "c")
    for second in range(60):
        bad = 80 if second >= 30 else 0
        for name in pool.members:
            pool.second(second, name, good=100 - bad, bad=bad)
    for second in range(60, 70):
        pool.second(second, "a", bad=100)
        pool.second(second, "b", good=20, bad=80)
        pool.second(second, "c", good=20, bad=80)
    assert pool.states() == "open closed closed"
    assert pool.changes[0][1].at_ms == 62_000


def test_a_shared_failure_that_grows_is_not_judged_by_what_the_others_did_a_second_before() -> None:
    pool = PoolOfCusum("a", "b")
    for second, good, bad in ((0, 1, 1), (1, 0, 1)):
        pool.second(second, "a", good=17 * good, bad=17 * bad)
        pool.second(second, "b", good=good, bad=bad)
    assert pool.changes == []


def test_three_bad_of_ten_are_all_found() -> None:
    pool = PoolOfCusum(*"abcdefghij")
    for second in range(30):
        for name in pool.members:
            bad = name in "abc" and second >= 10
            pool.second(second, name, good=10 if bad else 20, bad=10 if bad else 0)
    assert sorted(name for name, _ in pool.changes) == ["a", "b", "c"]
    assert pool.changes[-1][1].at_ms <= 14_000


def test_what_cannot_be_reached_waits_until_the_others_have_been_heard_of_the_same_second() -> None:
    pool = PoolOfCusum("a", "b")
    pool.second(0, "a", good=10)
    pool.second(0, "b", good=10)
    pool.call(1_000, "a", Call(TIMEOUT, 10))
    assert pool.state() == "closed"
    pool.call(1_100, "b", Call(SUCCESS))
    pool.call(1_200, "a", Call(TIMEOUT))
    assert pool.changes[0][1].at_ms == 1_200


def test_what_cannot_be_reached_waits_no_longer_than_the_second_where_the_others_have_no_calls() -> None:
    pool = PoolOfCusum("a", "b")
    pool.call(1_000, "a", Call(TIMEOUT, 10))
    assert pool.state() == "closed"
    pool.pass_time(5_000)
    assert pool.changes[0][1].at_ms == 2_000


def test_who_plays_a_whole_pool_is_answered_at_once_by_comparing() -> None:
    pool = PoolOfCusum("a", "b")
    pool.call(1_000, "a", Call(TIMEOUT, 10))
    pool.call(1_000, "b", Call(SUCCESS, 10))
    assert pool.changes == []
    pool.compare(1_000)
    assert [name for name, _ in pool.changes] == ["a"]


def test_an_endpoint_whose_others_have_no_traffic_still_trips() -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(5):
        pool.second(second, "a", bad=1)
    assert pool.states() == "open closed closed"


def test_what_is_gathered_does_not_grow_with_the_pool() -> None:
    pool = PoolOfCusum(*(f"e{n}" for n in range(200)))
    for name in pool.members:
        pool.second(3, name, good=1)
    gathered = pool.gathered(3_000)
    assert msgspec.json.decode(msgspec.json.encode(gathered), type=Peers) == gathered
    assert len(msgspec.json.encode(gathered)) < 500


# Slow calls -----------------------------------------------------------------------------------------------------------


def test_one_that_is_slow_beside_the_others_is_ejected() -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(30):
        for name in pool.members:
            slow = name == "a" and second >= 20
            pool.second(second, name, good=0 if slow else 20, slow=20 if slow else 0)
    assert pool.states() == "open closed closed"
    change = pool.changes[0][1]
    assert (change.rule, change.hard, change.at_ms) == ("cusum_slow", False, 21_000)
    assert change.evidence["slow_calls"] == change.evidence["calls"]
    assert change.evidence["slow_ms"] == 100.0
    assert "successes were slow" in change.reason
    assert pool.shows(29_000).slow_calls > 0


def test_a_slowness_that_the_pool_shares_ejects_nobody() -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(90):
        for name in pool.members:
            pool.second(second, name, good=0 if second >= 20 else 20, slow=20 if second >= 20 else 0)
    assert pool.changes == []


def test_an_endpoint_alone_is_never_slow() -> None:
    pool = PoolOfCusum()
    for second in range(60):
        pool.second(second, "a", good=0 if second >= 20 else 20, slow=20 if second >= 20 else 0)
    assert pool.changes == []


def test_three_times_as_slow_is_not_slow_below_slow_min() -> None:
    for slow_min_ms, ejected in ((100.0, False), (50.0, True)):
        pool = PoolOfCusum("a", "b", slow_min_ms=slow_min_ms)
        for second in range(30):
            pool.call(second * 1000, "b", Call(SUCCESS, 20, 10.0))
            pool.call(second * 1000, "a", Call(SUCCESS, 20, 90.0 if second >= 15 else 10.0))
        assert (pool.state() == "open") is ejected


# Closing --------------------------------------------------------------------------------------------------------------


def tripped(*, hard: bool = False, **settings: float) -> PoolOfCusum:
    """Open since 4 s, half-open since 9 s, with one permit given."""
    pool = PoolOfCusum(**settings)
    for second in range(5):
        pool.second(second, "a", bad=0 if hard else 1, timeouts=1 if hard else 0)
    assert pool.state() == "open"
    assert pool.acquire(8_999) is False
    assert pool.acquire(9_000) is True
    assert pool.state() == "half_open"
    pool.changes.clear()
    return pool


def test_five_good_trials_close() -> None:
    pool = tripped()
    for n in range(4):
        pool.call(9_001 + n, "a", Call(SUCCESS))
    assert pool.state() == "half_open"
    pool.call(9_005, "a", Call(SUCCESS))
    assert pool.state() == "closed"
    assert pool.changes[-1][1].reason == "5 of 5 trials succeeded"
    assert pool.shows(9_005).calls == 0  # what was counted begins anew


def test_each_transition_has_the_score_and_what_it_is_compared_with() -> None:
    pool = PoolOfCusum()
    for at_s in range(5):
        pool.second(at_s, "a", bad=1)
    pool.acquire(9_900)
    pool.call(9_901, "a", Call(SUCCESS, 5))
    pool.second(20, "a", bad=1)
    for word in ("forced_open", "auto", "open", "half_open"):
        pool.take("a", POLICY.override(pool.settings, pool.members["a"], word, 20_900))
    pool.call(21_000, "a", Call(FAILURE, 2))
    scores = [(change.old, change.new, change.evidence["score"], change.evidence["threshold"]) for _, change in pool.changes]
    assert scores == [
        ("closed", "open", 11.757, 11.367),
        ("open", "half_open", 0, -3.466),  # trials bring it down by ln 2 each
        ("half_open", "closed", -3.466, -3.466),
        ("closed", "forced_open", 2.351, 11.367),
        ("forced_open", "closed", 2.351, 11.367),
        ("closed", "open", 2.351, 11.367),
        ("open", "half_open", 0, 11.367),
        ("half_open", "open", 1.386, -3.466),
    ]


def test_three_good_trials_close_after_hard_failures() -> None:
    pool = tripped(hard=True)
    pool.call(9_001, "a", Call(SUCCESS, 2))
    assert pool.state() == "half_open"
    pool.call(9_002, "a", Call(SUCCESS))
    assert pool.state() == "closed"


def test_a_slow_trial_of_what_was_ejected_for_being_slow_has_failed() -> None:
    pool = PoolOfCusum("a", "b", "c")
    for second in range(22):
        for name in pool.members:
            slow = name == "a" and second >= 20
            pool.second(second, name, good=0 if slow else 20, slow=20 if slow else 0)
    assert pool.state() == "open"
    assert pool.acquire(26_000) is True
    pool.call(26_001, "a", Call(SUCCESS, 1, 101.0))
    pool.call(26_002, "a", Call(SUCCESS, 1, 101.0))
    assert pool.changes[-1][1].reason == "2 of 2 trials failed, the last by a slow success"
    assert pool.acquire(31_002) is True
    pool.call(31_003, "a", Call(SUCCESS, 5, 100.0))
    assert pool.state() == "closed"


def test_one_failed_trial_asks_for_two_more_and_the_second_opens_for_twice_as_long() -> None:
    pool = tripped(cooldown_max_ms=60_000)
    pool.call(9_001, "a", Call(SUCCESS, 4))
    pool.call(9_002, "a", Call(FAILURE))
    pool.call(9_003, "a", Call(SUCCESS))
    assert pool.state() == "half_open"
    pool.call(9_004, "a", Call(FAILURE))
    assert pool.state() == "open"
    assert pool.changes[-1][1].reason == "2 of 7 trials failed, the last by failure"
    assert pool.members["a"].breaker.open_until_ms == 19_004
    assert pool.acquire(19_004) is True
    pool.call(19_005, "a", Call(FAILURE))
    pool.call(19_006, "a", Call(SUCCESS, 6))
    assert pool.state() == "closed"
    assert pool.changes[-1][1].reason == "6 of 7 trials succeeded"


def test_so_many_permits_are_given_as_can_close_it_and_two_more_after_a_failure() -> None:
    pool = tripped()
    assert [pool.acquire(9_001) for _ in range(5)] == [True] * 4 + [False]
    assert POLICY.trials(pool.settings, pool.members["a"]) == Trials(7, 4), "leased permits are told once: those after a failure as well"
    pool.call(9_002, "a", Call(FAILURE))
    assert [pool.acquire(9_003) for _ in range(3)] == [True, True, False]
    pool.call(9_004, "a", Call(CallOutcome.IGNORED))
    assert pool.acquire(9_005) is True
    assert pool.shows(9_005).not_permitted == 3


def test_after_a_long_healthy_time_an_opening_is_forgiven() -> None:
    pool = tripped(cooldown_max_ms=60_000)
    pool.call(9_001, "a", Call(SUCCESS, 5))
    for second in range(40, 45):
        pool.second(second, "a", bad=1)
    assert pool.members["a"].breaker.open_until_ms == 49_000


def test_what_ends_while_open_is_of_an_earlier_life() -> None:
    pool = PoolOfCusum()
    for second in range(5):
        pool.second(second, "a", bad=1)
    before = pool.members["a"]
    pool.second(5, "a", bad=10, good=10)
    assert pool.members["a"] == before
    assert pool.shows(5_000).failures == 5


def test_a_breaker_that_somebody_else_has_closed_is_judged_anew() -> None:
    pool = PoolOfCusum()
    for second in range(4):
        pool.second(second, "a", bad=1)
    member = pool.members["a"]
    pool.members["a"] = msgspec.structs.replace(member, breaker=msgspec.structs.replace(member.breaker, gen=2))
    pool.second(4, "a", bad=1)
    assert pool.state() == "closed"
    assert pool.shows(4_000).calls == 1


def test_a_probe_ends_an_opening_early_where_it_can_see_the_reason() -> None:
    gray, hard = PoolOfCusum(), PoolOfCusum()
    for second in range(5):
        gray.second(second, "a", bad=1)
        hard.second(second, "a", timeouts=1)
    for pool in (gray, hard):
        pool.take("a", POLICY.probe(pool.settings, pool.members["a"], True, 5_000))
    assert (gray.state(), hard.state()) == ("open", "half_open")
    gray.take("a", POLICY.probe(gray.settings, gray.members["a"], True, 9_000))
    assert gray.state() == "half_open"
    for pool in (gray, hard):
        for n in range(3):
            pool.take("a", POLICY.probe(pool.settings, pool.members["a"], True, 9_001 + n))
    assert (gray.state(), hard.state()) == ("half_open", "closed")


# Operators and limits ---------------------------------------------------------------------------------------------------


def test_metrics_only_tells_what_would_have_opened_and_opens_nothing() -> None:
    pool = PoolOfCusum()
    pool.take("a", POLICY.override(pool.settings, pool.members["a"], "metrics_only", 0))
    for second in range(6):
        pool.second(second, "a", bad=1)
    assert pool.events == [EXCEEDED]
    assert pool.state() == "metrics_only"
    assert pool.shows(5_000).failures == 6


def test_disabled_counts_nothing_and_an_operators_moves_are_done() -> None:
    pool = PoolOfCusum()
    for word, state in (
        ("disabled", "disabled"), ("auto", "closed"), ("open", "open"), ("half_open", "half_open"), ("open_for:60000", "open"),
        ("reset", "closed"),
    ):  # fmt: skip
        pool.take("a", POLICY.override(pool.settings, pool.members["a"], word, 1_000))
        assert pool.state() == state
        if word == "disabled":
            pool.second(0, "a", bad=9)
            assert pool.shows(0).calls == 0
            assert pool.acquire(0) is True
        if word == "open_for:60000":
            assert pool.acquire(60_999) is False


def test_a_move_that_the_machine_does_not_know_is_refused_and_one_to_where_it_is_changes_nothing() -> None:
    pool = PoolOfCusum()
    with pytest.raises(IllegalError, match="half_open is no move from closed"):
        POLICY.override(pool.settings, pool.members["a"], "half_open", 0)
    pool.take("a", POLICY.override(pool.settings, pool.members["a"], "forced_closed", 0))
    for second in range(5):
        pool.second(second, "a", timeouts=1)
    assert pool.state() == "forced_closed"
    assert pool.acquire(4_001) is True
    pool.take("a", POLICY.override(pool.settings, pool.members["a"], "auto", 4_002))
    assert pool.state() == "open"
    assert POLICY.override(pool.settings, pool.members["a"], "open", 4_003).changes == ()


def test_outcomes_that_say_nothing_of_the_endpoint_are_not_counted() -> None:
    pool = PoolOfCusum()
    for outcome in (CallOutcome.REJECTED, CallOutcome.SHORT_CIRCUITED, CallOutcome.IGNORED, CallOutcome.CANCELLED):
        pool.call(0, "a", Call(outcome, 9))
    assert pool.shows(0).calls == 0


def test_what_is_older_than_thirty_seconds_is_forgotten() -> None:
    pool = PoolOfCusum()
    pool.second(0, "a", good=3, bad=1)
    pool.second(10, "a", good=4)
    assert (pool.shows(29_999).calls, pool.shows(29_999).failure_rate) == (8, 12.5)
    assert (pool.shows(30_000).calls, pool.shows(30_000).failure_rate) == (4, 0.0)
    assert (pool.shows(40_000).calls, pool.shows(40_000).failure_rate) == (0, -1)


def test_the_memory_is_bounded() -> None:
    pool = PoolOfCusum("a", "b")
    for second in range(1_790_000_000, 1_790_000_100):
        pool.second(second, "b", good=1)
        for n in range(255):
            pool.call(second * 1000, "a", Call(SUCCESS, 1_000_000, 0.09 * 1.1**n))
        pool.second(second, "a", bad=1_000_000, slow=1_000_000)
    encoded = msgspec.json.encode(pool.members["a"].memory)
    assert len(encoded) < 6_000
    assert msgspec.json.decode(encoded, type=Memory) == pool.members["a"].memory


def test_settings_that_cannot_be_are_refused_by_name() -> None:
    for name, value in (("p0_min", 0), ("margin", 0.6), ("false_ejections_per_day", 0), ("slow_multiple", 0.5), ("trial_closes_at", 0)):
        with pytest.raises(SettingError, match=name):
            read_settings(POLICY.settings, {name: value})
    with pytest.raises(SettingError, match="cooldown_max_ms"):
        POLICY.check(read_settings(POLICY.settings, {"cooldown_ms": 6_000, "cooldown_max_ms": 5_000}))
