"""What must hold of the weights of any pool."""

from __future__ import annotations

from math import floor, isfinite
from statistics import median
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.endpoint import Pool
from monitor.core.medians import medians
from monitor.core.record import Breaker, Evidence, Override
from monitor.pool.balancer import ADMITTED, OUT, Candidate, Weighing, weigh

NOW_MS = 1_700_000_000_000
TOLERANCE = 1e-9


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    total = draw(st.sampled_from([0.0, 0.5, 3.5, 10.0, 200.0]))
    ok = total * draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1))
    return Evidence(ok, total, draw(st.floats(0, 5000)), ok * draw(st.sampled_from([0.0, 1.0])), NOW_MS)


def candidates(**fixed: Any) -> st.SearchStrategy[list[Candidate]]:
    fields = {
        "weight": st.integers(1, 1000),
        "breaker": st.sampled_from(Breaker),
        "override": st.none() | st.sampled_from([None, *Override]),
        "evidence": evidences(),
        "traffic": st.just(Evidence()) | evidences(),
        "flapping": st.booleans(),
        "user_trials": st.booleans(),
        "warm_up_since_ms": st.just(0) | st.integers(NOW_MS - 40_000, NOW_MS),
    } | fixed
    one = st.builds(Candidate, id=st.just(""), **fields)
    return st.lists(one, min_size=1, max_size=12).map(
        lambda found: [msgspec.structs.replace(c, id=f"e{n:02}") for n, c in enumerate(found)]
    )


POOLS = st.builds(
    Pool, name=st.just("shop"), max_ejection_percent=st.integers(0, 100), panic=st.booleans(), warm_up_ms=st.sampled_from([0, 30_000])
)
LAWS = settings(max_examples=100)


def weighed(pool: Pool, members: list[Candidate]) -> Weighing:
    return weigh(pool, members, None, 0, NOW_MS)


def target(pool: Pool, members: list[Candidate], key: str) -> float:
    return weighed(pool, members).factors[key].target


@LAWS
@given(POOLS, candidates(), st.none() | st.integers(0, 100), st.integers(0, 20_000), st.randoms())
def test_weights_are_whole_and_sum_to_a_thousand(
    pool: Pool, members: list[Candidate], seed: int | None, elapsed_ms: int, random: Any
) -> None:
    """With and without damping from any earlier weights."""
    previous = None
    if seed is not None:
        cuts = sorted(random.randint(0, 1000) for _ in members[1:])
        previous = {c.id: high - low for c, low, high in zip(members, [0, *cuts], [*cuts, 1000], strict=True)}
    found = weigh(pool, members, previous, NOW_MS - elapsed_ms, NOW_MS)
    assert all(unit >= 0 for unit in found.weights.values())
    assert all(isfinite(f.target) and isfinite(f.damped) and -TOLERANCE <= f.damped <= 1 + TOLERANCE for f in found.factors.values())
    assert all(found.weights[key] >= 1 for key, f in found.factors.items() if f.tier == 0)
    assert all(found.weights[key] == 0 for key, f in found.factors.items() if f.tier == OUT)
    if all(f.tier == OUT for f in found.factors.values()):
        assert (sum(found.weights.values()), found.shed) == (0, 1.0)
        return
    assert sum(found.weights.values()) == 1000
    for shares in ([f.target for f in found.factors.values()], [f.damped for f in found.factors.values()]):
        assert abs(sum(shares) + found.shed - 1) < TOLERANCE
    assert not found.shed or not pool.panic


@LAWS
@given(POOLS, candidates())
def test_nobody_gets_more_than_its_cap(pool: Pool, members: list[Candidate]) -> None:
    """And the caps of all together always suffice."""
    for factors in weighed(pool, members).factors.values():
        assert factors.target <= factors.cap + TOLERANCE
        if pool.max_ejection_percent < 100:
            assert factors.cap <= 100 / (100 - pool.max_ejection_percent) * factors.base + TOLERANCE


@LAWS
@given(POOLS, candidates())
def test_ejections_stay_within_their_limit(pool: Pool, members: list[Candidate]) -> None:
    """And what is ejected gets nothing but its trial share unless the rest is full."""
    found = weighed(pool, members)
    present = [f for f in found.factors.values() if f.tier != OUT]
    ejected = [f for f in present if f.tier == 2]
    assert len(ejected) <= floor(pool.max_ejection_percent / 100 * len(present) + TOLERANCE)
    assert not ejected or len(ejected) < len(present)
    if any(f.target > f.trial + TOLERANCE for f in ejected):
        assert all(f.target >= f.cap - TOLERANCE for f in present if f.tier < 2)


@LAWS
@given(POOLS, candidates(), st.data())
def test_worse_evidence_never_raises_and_better_never_lowers(pool: Pool, members: list[Candidate], data: st.DataObject) -> None:
    """Fewer successes, slower successes, or a worse breaker."""
    n = data.draw(st.integers(0, len(members) - 1))
    own = members[n]
    evidence = own.evidence
    change = data.draw(st.sampled_from(["success", "latency", "breaker", "flapping", "traffic"]))
    worse = own
    if change == "success":
        fewer = Evidence(evidence.ok * data.draw(st.floats(0, 1)), evidence.total, evidence.latency_ms, evidence.latency_n, evidence.at_ms)
        worse = msgspec.structs.replace(own, evidence=fewer)
    elif change == "traffic":
        fewer = msgspec.structs.replace(own.traffic, ok=own.traffic.ok * data.draw(st.floats(0, 1)))
        worse = msgspec.structs.replace(own, traffic=fewer)
    elif change == "latency":
        slower = Evidence(
            evidence.ok, evidence.total, evidence.latency_ms + data.draw(st.floats(0, 5000)), evidence.latency_n, evidence.at_ms
        )
        worse = msgspec.structs.replace(own, evidence=slower)
    elif change == "breaker" and own.override is None:
        worse = msgspec.structs.replace(own, breaker=Breaker.OPEN)
    elif change == "flapping":
        worse = msgspec.structs.replace(own, flapping=True)
    after = target(pool, [*members[:n], worse, *members[n + 1 :]], own.id)
    assert after <= target(pool, members, own.id) + TOLERANCE


@LAWS
@given(POOLS, candidates(), st.randoms())
def test_order_does_not_matter_and_names_only_in_the_last_part(pool: Pool, members: list[Candidate], random: Any) -> None:
    found = weighed(pool, members)
    shuffled = random.sample(members, len(members))
    assert weighed(pool, shuffled) == found
    renamed = {c.id: f"n{n:02}" for n, c in enumerate(shuffled)}
    again = weighed(pool, [msgspec.structs.replace(c, id=renamed[c.id]) for c in members])
    for key, name in renamed.items():
        assert abs(found.factors[key].target - again.factors[name].target) < TOLERANCE
        assert abs(found.weights[key] - again.weights[name]) <= 1


@LAWS
@given(POOLS, candidates(), st.integers(2, 50))
def test_only_the_proportions_of_base_weights_count(pool: Pool, members: list[Candidate], factor: int) -> None:
    scaled = [msgspec.structs.replace(c, weight=c.weight * factor) for c in members]
    before, after = weighed(pool, members), weighed(pool, scaled)
    assert all(abs(before.factors[c.id].target - after.factors[c.id].target) < TOLERANCE for c in members)


@LAWS
@given(
    POOLS,
    evidences(),
    candidates(breaker=st.just(Breaker.CLOSED), override=st.none(), flapping=st.just(False), warm_up_since_ms=st.just(0)),
)
def test_equal_evidence_gives_base_shares(pool: Pool, evidence: Evidence, members: list[Candidate]) -> None:
    found = weighed(pool, [msgspec.structs.replace(c, evidence=evidence, traffic=evidence) for c in members])
    assert all(abs(f.target - f.base) < TOLERANCE for f in found.factors.values())


@LAWS
@given(POOLS, candidates(breaker=st.sampled_from([Breaker.OPEN, Breaker.HALF_OPEN]), override=st.none()))
def test_a_pool_that_is_all_bad_gets_its_base_shares(pool: Pool, members: list[Candidate]) -> None:
    """The balancer fails open."""
    found = weighed(pool, members)
    assert all(abs(f.target - f.base) < TOLERANCE for f in found.factors.values())
    assert (abs(found.panic - 1) < TOLERANCE, found.shed) == (True, 0)


@LAWS
@given(POOLS, candidates(), st.integers(0, 20_000), st.randoms())
def test_a_rise_below_the_base_share_is_slow_while_others_can_carry_it(
    pool: Pool, members: list[Candidate], elapsed_ms: int, random: Any
) -> None:
    cuts = sorted(random.randint(0, 1000) for _ in members[1:])
    previous = {c.id: high - low for c, low, high in zip(members, [0, *cuts], [*cuts, 1000], strict=True)}
    found = weigh(pool, members, previous, NOW_MS - elapsed_ms, NOW_MS)
    limits = {}
    for key, f in found.factors.items():
        before = previous[key] / 1000 * (1 - found.shed)
        limit = before + max(0.1 * f.base, 0.001) * elapsed_ms / 1000
        limits[key] = f.cap if before >= f.base - 0.001 else min(f.cap, limit)
    factors = found.factors
    if all(f.tier != ADMITTED for f in factors.values()):
        return  # nobody can carry it
    if any(f.damped > limits[key] + 0.001 + TOLERANCE for key, f in factors.items()):
        others = [key for key, f in factors.items() if 0 < f.target <= limits[key]]
        assert all(factors[key].damped >= limits[key] - TOLERANCE for key in others)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_a_median_without_one_is_the_median_of_the_others(values: list[float]) -> None:
    others = medians(values)
    for n, own in enumerate(values):
        assert abs(others.without(own) - median(values[:n] + values[n + 1 :])) < TOLERANCE
