"""Weights by example: tiers, panic, limits, warm-up and damping."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.endpoint import Pool
from monitor.core.record import Breaker, Evidence, Override
from monitor.pool.balancer import Candidate, Weighing, weigh, worth_publishing

NOW_MS = 1_700_000_000_000
POOL = Pool(name="shop")
CLOSED, OPEN, HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
WELL = Evidence(3.5, 3.5, 5.0, 3.5, NOW_MS)


def members(*breakers: Breaker, **fields: Any) -> list[Candidate]:
    return [Candidate(f"e{n:02}", **{"weight": 100, "breaker": breaker, "evidence": WELL, **fields}) for n, breaker in enumerate(breakers)]


def weighed(candidates: list[Candidate], pool: Pool = POOL) -> Weighing:
    return weigh(pool, candidates, None, 0, NOW_MS)


def targets(weighing: Weighing) -> list[float]:
    return [weighing.factors[key].target for key in sorted(weighing.factors)]


@pytest.mark.parametrize(
    ("open_count", "healthy", "ejected"), [(0, 0.1, 0), (5, 0.2, 0), (6, 0.2, 0.2 / 6), (8, 0.2, 0.075), (9, 0.2, 0.8 / 9), (10, 0, 0.1)]
)
def test_panic_is_a_slope(open_count: int, healthy: float, ejected: float) -> None:
    found = weighed(members(*[OPEN] * open_count, *[CLOSED] * (10 - open_count)))
    assert targets(found) == pytest.approx([ejected] * open_count + [healthy] * (10 - open_count))
    assert found.panic == pytest.approx(open_count * ejected)
    assert found.shed == 0
    assert sum(found.weights.values()) == 1000


def test_half_open_gets_nothing_and_flapping_only_what_spills() -> None:
    found = weighed(members(CLOSED, CLOSED, CLOSED, HALF_OPEN))
    assert [*found.weights.values()] == [334, 333, 333, 0]
    flapping = [*members(CLOSED, CLOSED), Candidate("flap", 100, evidence=WELL, flapping=True)]
    assert weighed(flapping).weights == {"e00": 500, "e01": 500, "flap": 0}
    spilled = weighed(flapping, Pool(name="shop", max_ejection_percent=20))
    assert targets(spilled) == pytest.approx([1.25 / 3, 1.25 / 3, 0.5 / 3])
    assert spilled.panic == 0


def test_operators_beat_the_machine() -> None:
    found = weighed(
        [
            Candidate("a", 100, OPEN, Override.FORCED_CLOSED),
            Candidate("b", 100, OPEN, Override.DISABLED),
            Candidate("c", 100, CLOSED, Override.FORCED_OPEN),
            Candidate("d", 100, CLOSED, Override.DRAIN),
        ]
    )
    assert found.weights == {"a": 500, "b": 500, "c": 0, "d": 0}
    assert found.factors["c"].base == 0


def test_a_pool_that_is_out_altogether_publishes_no_weight() -> None:
    found = weighed(members(CLOSED, OPEN, override=Override.DRAIN))
    assert (set(found.weights.values()), found.shed, found.at_rest) == ({0}, 1.0, True)
    assert weighed([]).shed == 1.0


def test_a_lone_endpoint_is_never_ejected() -> None:
    found = weighed(members(OPEN))
    assert (found.weights, found.panic) == ({"e00": 1000}, 1.0)


def test_the_last_one_is_never_ejected_whatever_the_limit() -> None:
    everything = Pool(name="shop", max_ejection_percent=100)
    assert [*weighed(members(OPEN, OPEN, CLOSED), everything).weights.values()] == [0, 0, 1000]
    assert [*weighed(members(OPEN, OPEN, OPEN), everything).weights.values()] == [334, 333, 333]


def test_over_the_limit_all_are_suspects_and_none_is_chosen_by_name() -> None:
    found = weighed(members(OPEN, OPEN, OPEN, CLOSED))
    assert [found.factors[key].tier for key in sorted(found.factors)] == [1, 1, 1, 0]
    assert "3 of 4 want ejection, more than the limit of 2" in found.factors["e00"].why


@pytest.mark.parametrize("panic", [True, False])
def test_what_the_healthy_may_not_take_goes_to_the_ejected_or_is_shed(panic: bool) -> None:
    candidates = [Candidate("big", 100, OPEN, evidence=WELL), *members(CLOSED, CLOSED, weight=10)]
    found = weighed(candidates, Pool(name="shop", panic=panic))
    assert found.factors["e00"].target == pytest.approx(1 / 6)
    assert sum(found.weights.values()) == 1000
    if panic:
        assert (found.panic, found.shed) == (pytest.approx(2 / 3), 0)
    else:
        assert (found.panic, found.shed, found.weights["big"]) == (0, pytest.approx(2 / 3), 0)


def test_a_slow_endpoint_gets_less_and_a_fast_failing_one_does_not_attract() -> None:
    slow = Candidate("slow", 100, evidence=Evidence(30, 30, 100.0, 30, NOW_MS))
    black_hole = Candidate("hole", 100, evidence=Evidence(1, 30, 1.0, 1, NOW_MS))
    found = weighed([*members(*[CLOSED] * 8, evidence=Evidence(30, 30, 20.0, 30, NOW_MS)), slow, black_hole])
    assert found.factors["slow"].l == pytest.approx(1 / (1 + 4 * 0.6))
    assert found.factors["hole"].l == 1.0
    assert found.weights["hole"] < found.weights["slow"] < found.weights["e00"]


def test_latencies_below_the_floor_are_equal() -> None:
    fast = Candidate("fast", 100, evidence=Evidence(30, 30, 0.2, 30, NOW_MS))
    found = weighed([*members(CLOSED, CLOSED, evidence=Evidence(30, 30, 9.0, 30, NOW_MS)), fast])
    assert all(factors.l == 1.0 for factors in found.factors.values())


def test_of_two_the_failing_one_loses() -> None:
    found = weighed([*members(CLOSED), Candidate("bad", 100, evidence=Evidence(1.75, 3.5, 5.0, 2, NOW_MS))])
    assert found.weights["bad"] < 500 < found.weights["e00"]


@pytest.mark.parametrize(("elapsed_ms", "sigma"), [(0, 0.1), (3_000, 0.1), (7_500, 0.25), (15_000, 0.5), (30_000, 1.0)])
def test_warm_up_is_linear_from_ten_percent(elapsed_ms: int, sigma: float) -> None:
    found = weighed([*members(CLOSED), Candidate("new", 100, evidence=WELL, warm_up_since_ms=NOW_MS - elapsed_ms)])
    assert found.factors["new"].sigma == sigma
    assert found.at_rest is (sigma == 1.0)


def test_a_fall_is_immediate() -> None:
    found = weigh(
        POOL, members(OPEN, CLOSED, CLOSED, CLOSED, CLOSED), dict.fromkeys(["e00", "e01", "e02", "e03", "e04"], 200), NOW_MS, NOW_MS
    )
    assert [*found.weights.values()] == [0, 250, 250, 250, 250]
    assert found.at_rest


def test_a_fall_by_evidence_is_immediate_too() -> None:
    candidates = [Candidate("bad", 100, evidence=Evidence(10, 30, 5.0, 10, NOW_MS)), *members(CLOSED, CLOSED)]
    found = weigh(POOL, candidates, {"bad": 333, "e00": 333, "e01": 334}, NOW_MS, NOW_MS)
    assert found.factors["bad"].damped == found.factors["bad"].target


def test_a_rise_takes_its_time_and_the_others_carry_the_rest() -> None:
    previous, now_ms, seen = {"e00": 0, "e01": 500, "e02": 500}, NOW_MS, []
    for _ in range(12):
        now_ms += 1_000
        found = weigh(POOL, members(CLOSED, CLOSED, CLOSED), previous, now_ms - 1_000, now_ms)
        assert sum(found.weights.values()) == 1000
        previous = found.weights
        seen.append((found.weights["e00"], found.at_rest))
    assert all(abs(weight - second * 100 / 3) <= second for second, (weight, _) in enumerate(seen[:9], start=1))
    assert seen[-1] == (334, True)
    assert not seen[0][1]


def test_a_rise_that_nobody_can_take_over_is_immediate() -> None:
    found = weigh(POOL, members(CLOSED, OPEN), {"e00": 0, "e01": 1000}, NOW_MS, NOW_MS + 1)
    assert found.weights == {"e00": 1000, "e01": 0}


def test_small_shares_rise_too() -> None:
    candidates = members(*[CLOSED] * 300)
    previous = {c.id: 4 for c in candidates} | {"e00": 1}
    for second in range(1, 4):
        previous = weigh(POOL, candidates, previous, NOW_MS + second * 1000 - 1000, NOW_MS + second * 1000).weights
    assert previous["e00"] >= 3


def test_each_admitted_endpoint_has_at_least_one_part() -> None:
    found = weighed([Candidate("big", 1000), *(Candidate(f"s{n:03}", 1) for n in range(900))], Pool(name="shop", max_ejection_percent=90))
    assert min(found.weights.values()) == 1
    assert sum(found.weights.values()) == 1000


def test_a_pool_of_more_than_a_thousand_still_sums_to_a_thousand() -> None:
    found = weighed(members(*[CLOSED] * 1500))
    assert sum(found.weights.values()) == 1000
    assert set(found.weights.values()) == {0, 1}


def test_what_is_worth_publishing() -> None:
    found = weighed(members(*[CLOSED] * 4))
    same = dict(found.weights)
    assert worth_publishing(None, found)
    assert not worth_publishing(same, found)
    assert not worth_publishing(same | {"e00": 238}, found)
    assert worth_publishing(same | {"e00": 237}, found)
    assert worth_publishing({**same, "gone": 0}, found)
    tiny = weighed(members(CLOSED, HALF_OPEN))
    assert worth_publishing({"e00": 999, "e01": 1}, tiny)


@pytest.mark.parametrize("elapsed_ms", [0, -5_000])
def test_who_is_admitted_gets_a_part_even_when_no_time_has_passed(elapsed_ms: int) -> None:
    """Two weighings in one millisecond, or by two machines whose clocks differ."""
    found = weigh(POOL, members(CLOSED, CLOSED), {"e00": 1000}, NOW_MS, NOW_MS + elapsed_ms)
    assert found.weights == {"e00": 999, "e01": 1}
    assert not found.at_rest


def test_success_rates_that_have_faded_to_nothing_are_no_evidence() -> None:
    """After thousands of failures in a row a count is a denormal number, whose square is 0: an admitted endpoint still gets its part."""
    faded = [Candidate("a", 1), Candidate("b", 1, evidence=Evidence(2e-323, 3.5)), Candidate("c", 1, evidence=Evidence(0.0, 10.0))]
    assert sorted(weigh(Pool(name="shop"), faded, None, 0, 1).weights.values()) == [333, 333, 334]


def test_an_endpoint_that_users_try_has_its_trial_share_which_is_no_panic() -> None:
    tried = Candidate("tried", 100, HALF_OPEN, evidence=WELL, user_trials=True)
    found = weighed([*members(*[CLOSED] * 9), tried])
    assert found.weights["tried"] == 10
    assert (found.panic, found.shed, found.factors["tried"].trial) == (0, 0, 0.01)
    assert targets(found) == pytest.approx([0.11] * 9 + [0.01])
    assert "tokens of consumers try it" in found.factors["tried"].why

    probed = Candidate("tried", 100, HALF_OPEN, evidence=WELL)
    assert weighed([*members(*[CLOSED] * 9), probed]).weights["tried"] == 0, "probes try it before traffic does"


def test_a_trial_share_is_small_beside_the_base_share_and_never_nothing() -> None:
    tried = [Candidate(f"t{n:03}", 100, HALF_OPEN, evidence=WELL, user_trials=True) for n in range(100)]
    found = weighed([*members(*[CLOSED] * 100), *tried])
    assert {found.weights[c.id] for c in tried} == {1}
    assert weighed([*members(CLOSED), tried[0]]).weights == {"e00": 990, "t000": 10}


def test_of_a_pool_in_which_too_many_want_ejection_nobody_has_a_trial_share() -> None:
    found = weighed([*members(OPEN, OPEN), Candidate("tried", 100, HALF_OPEN, evidence=WELL, user_trials=True)])
    assert {factors.trial for factors in found.factors.values()} == {0}
    assert sum(found.weights.values()) == 1000


def test_each_source_has_its_own_references_and_the_worse_one_counts() -> None:
    """Requests are slower than probes, and more of them fail: neither is compared with the other."""
    usual = Evidence(950, 1000, 80.0, 950, NOW_MS)
    gray = Evidence(475, 1000, 80.0, 475, NOW_MS)
    found = weighed([*members(CLOSED, CLOSED, CLOSED, traffic=usual), Candidate("gray", 100, evidence=WELL, traffic=gray)])
    well, hurt = found.factors["e00"], found.factors["gray"]
    assert (well.h, well.l, well.h_traffic, well.l_traffic) == (1, 1, 1, 1)
    assert hurt.h == hurt.h_traffic == pytest.approx(0.25, rel=0.02)
    alone = weighed([*members(CLOSED, CLOSED, CLOSED), Candidate("told", 100, evidence=WELL, traffic=gray)])
    assert alone.factors["told"].h == 1, "only one of them has been reported on: there is nobody to compare it with"
