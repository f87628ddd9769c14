"""The integers that consumers read, for any pool: from what the store holds of its members to the snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, Evidence, Override, OverrideRecord, ProbeStatistics, Record
from monitor.pool.compose import MemberState, compose, override_of, worth_telling
from monitor.pool.snapshot import WEIGHT_SUM, Snapshot, diff, fold

NOW_MS = 1_700_000_000_000
LAWS = settings(max_examples=150)
SHOP = Pool(name="shop")


def member(
    name: str,
    breaker: Breaker = Breaker.CLOSED,
    *,
    weight: int = 100,
    override: Override | None = None,
    evidence: Evidence | None = None,
    warm_up_since_ms: int = 0,
    **seen: Any,
) -> MemberState:
    """A member whose last result has just come."""
    probes = ProbeStatistics(**{"run_outcome": Outcome.SUCCESS, "run_length": 5, "last_success_ms": NOW_MS, **seen})
    state = BreakerState(state=breaker)
    record = Record(breaker=state, probes=probes, weighing=evidence or Evidence(), warm_up_since_ms=warm_up_since_ms, since_ms=NOW_MS - 1)
    said = OverrideRecord(override=override, reason="a test", at_ms=NOW_MS) if override else None
    return MemberState(Endpoint(id=name, url=f"http://127.0.0.1/{name}", pool="shop", weight=weight), record, said)


def pool_of(size: int, ejected: int) -> list[MemberState]:
    return [member(f"e{n:02}", Breaker.OPEN if n < ejected else Breaker.CLOSED) for n in range(size)]


def published(pool: Pool, states: list[MemberState]) -> dict[str, int]:
    snapshot, _ = compose(pool, states, None, 1, NOW_MS)
    return {endpoint.id: endpoint.weight for endpoint in snapshot.endpoints}


def test_the_table_of_ten() -> None:
    """Half of the pool may be ejected; beyond that the share of the unhealthy grows without a step, to the base share of all."""
    table = {0: (None, 100), 1: (0, 111), 5: (0, 200), 6: (33, 200), 8: (75, 200), 9: (88, 200), 10: (100, None)}
    for unhealthy, (of_unhealthy, of_healthy) in table.items():
        weights = published(SHOP, pool_of(10, unhealthy))
        assert sum(weights.values()) == WEIGHT_SUM
        for n, weight in enumerate(weights.values()):
            want = of_unhealthy if n < unhealthy else of_healthy
            assert want is not None
            assert weight in (want, want + 1), (unhealthy, weights)


@st.composite
def states(draw: st.DrawFn) -> list[MemberState]:
    found = []
    for n in range(draw(st.integers(1, 12))):
        total = draw(st.sampled_from([0.0, 3.0, 50.0]))
        ok = total * draw(st.floats(0, 1))
        evidence = Evidence(ok, total, draw(st.floats(0, 3_000)), ok, NOW_MS)
        found.append(
            member(
                f"e{n:02}",
                draw(st.sampled_from(Breaker)),
                weight=draw(st.integers(1, 1_000)),
                override=draw(st.sampled_from([None, None, None, *Override])),
                evidence=evidence,
                flapping=draw(st.integers(0, 9)) == 0,
                warm_up_since_ms=draw(st.sampled_from([0, NOW_MS - 1_000, NOW_MS - 60_000])),
                last_success_ms=draw(st.sampled_from([NOW_MS, NOW_MS - 3_600_000])),
            )
        )
    return found


POOLS = st.builds(
    Pool, name=st.just("shop"), max_ejection_percent=st.integers(0, 100), panic=st.booleans(), warm_up_ms=st.sampled_from([0, 30_000])
)
OUT = {Override.FORCED_OPEN.value, Override.DRAIN.value}
IN = {Override.FORCED_CLOSED.value, Override.DISABLED.value, Override.METRICS_ONLY.value}


def flapping(members: list[MemberState]) -> set[str]:
    return {state.endpoint.id for state in members if state.record.probes.flapping}


def check(pool: Pool, snapshot: Snapshot, flapping: set[str]) -> None:
    """What holds of every snapshot by itself."""
    members = snapshot.endpoints
    present = [one for one in members if one.override not in OUT]
    assert all(one.weight == 0 for one in members if one.override in OUT)
    assert all(0 <= one.weight <= WEIGHT_SUM for one in members)
    assert 0 <= snapshot.panic <= 1.0001
    assert 0 <= snapshot.shed <= 1
    if not present:
        assert (sum(one.weight for one in members), snapshot.shed) == (0, 1)
        return
    assert sum(one.weight for one in members) == WEIGHT_SUM
    assert not snapshot.shed or not pool.panic
    admitted = [one for one in present if one.override in IN or (one.breaker == "CLOSED" and one.id not in flapping)]
    unhealthy = [one for one in present if one not in admitted]
    assert all(one.weight for one in admitted), "whoever is admitted has at least 1"
    tripped = [one for one in unhealthy if one.breaker != "CLOSED"]
    assert not snapshot.panic or tripped


@LAWS
@given(POOLS, states())
def test_every_first_snapshot(pool: Pool, members: list[MemberState]) -> None:
    snapshot, weighing = compose(pool, members, None, 1, NOW_MS)
    check(pool, snapshot, flapping(members))
    assert [one.id for one in snapshot.endpoints] == [state.endpoint.id for state in members]
    assert worth_telling(None, snapshot, weighing)
    assert not worth_telling(snapshot, *compose(pool, members, snapshot, 1, NOW_MS)) or not weighing.at_rest


@LAWS
@given(POOLS, st.lists(states(), min_size=2, max_size=6), st.integers(-5_000, 20_000))
def test_every_snapshot_of_a_pool_that_changes(pool: Pool, stages: list[list[MemberState]], step_ms: int) -> None:
    """Versions grow by one, each delta leads from the last snapshot to the next, and JSON keeps every number.

    Two of them may be of one moment, or of two machines whose clocks differ.
    """
    previous, now_ms = None, NOW_MS
    for members in stages:
        snapshot, _ = compose(pool, members, previous, 1, now_ms)
        check(pool, snapshot, flapping(members))
        assert snapshot.ver == (previous.ver + 1 if previous else 1)
        if previous is not None:
            assert fold(previous, diff(previous, snapshot)) == snapshot
        assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot
        previous, now_ms = snapshot, now_ms + step_ms


@LAWS
@given(POOLS, states(), st.integers(2, 20))
def test_only_the_proportions_of_base_weights_are_published(pool: Pool, members: list[MemberState], factor: int) -> None:
    scaled = [replace(one, endpoint=msgspec.structs.replace(one.endpoint, weight=one.endpoint.weight * factor)) for one in members]
    before, after = published(pool, members), published(pool, scaled)
    assert all(abs(before[name] - after[name]) <= 1 for name in before)


@LAWS
@given(POOLS, states(), st.data())
def test_tripping_never_raises_a_published_weight(pool: Pool, members: list[MemberState], data: st.DataObject) -> None:
    """One part more is rounding."""
    n = data.draw(st.integers(0, len(members) - 1))
    own = members[n]
    worse = replace(own, record=msgspec.structs.replace(own.record, breaker=BreakerState(state=Breaker.OPEN)))
    name = own.endpoint.id
    assert published(pool, [*members[:n], worse, *members[n + 1 :]])[name] <= published(pool, members)[name] + 1


@LAWS
@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=12), st.sampled_from(list(Breaker)))
def test_a_pool_of_equals_is_published_in_proportion_to_its_base_weights(weights: list[int], breaker: Breaker) -> None:
    """Also where all have tripped."""
    found = published(SHOP, [member(f"e{n:02}", breaker, weight=weight) for n, weight in enumerate(weights)])
    for n, weight in enumerate(weights):
        share = weight / sum(weights) * WEIGHT_SUM
        assert abs(found[f"e{n:02}"] - share) <= max(1.0, len(weights) * 0.5), found


def test_the_override_that_is_published_can_be_read_back() -> None:
    members = [member("a", override=Override.DRAIN), member("b"), member("c", override=Override.FORCED_OPEN)]
    snapshot, _ = compose(SHOP, members, None, 1, NOW_MS)
    assert override_of(None, b"?", snapshot, "a") == members[0].override
    assert override_of(None, b"", snapshot, "a") is None
    assert override_of(None, b"?", snapshot, "b") is None
    assert override_of(None, b"?", snapshot, "gone") is None
    assert override_of(None, b"?", None, "a") is None
    newer = msgspec.structs.replace(snapshot.endpoints[2], override="OF_A_NEWER_RELEASE")
    assert override_of(None, b"?", msgspec.structs.replace(snapshot, endpoints=(*snapshot.endpoints[:2], newer)), "c") is None
