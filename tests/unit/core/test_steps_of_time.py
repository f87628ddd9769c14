"""The server's time steps by an hour: what an endpoint had waited before goes on from there, in either direction."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from monitor.core.decide import silent_at_ms
from monitor.core.endpoint import Pool
from monitor.core.observation import ResultPace
from monitor.core.record import UserTrials, moved
from monitor.core.recovery import MIN_DWELL_MS
from monitor.core.schedule import silent_after_ms
from monitor.core.tilt import judging_ms, stepped_ms
from monitor.pool.compose import MemberState, compose, worth_telling
from monitor.pool.snapshot import Snapshot
from tests.timeline import CLOSED, HALF_OPEN, OPEN, START_MS, Timeline

HOUR_MS = 3_600_000
STEPS = pytest.mark.parametrize(
    ("step_ms", "tilted"), [(HOUR_MS, True), (-HOUR_MS, True), (-HOUR_MS, False)], ids=["ahead", "back", "back, and nobody saw it"]
)


def steps(t: Timeline, step_ms: int, tilted: bool) -> None:
    """Let the time step; whoever saw it judges one result while tilted."""
    t.after(step_ms)
    if tilted:
        t.tilt().ok().tilt(False)


@pytest.mark.parametrize(
    ("now_ms", "judged_ms", "wanted_ms"),
    [
        (5_000, 0, 5_000),
        (5_000, 4_000, 5_000),
        (5_000, 7_000, 7_000),  # Another process's clock is ahead.
        (5_000, 7_001, 5_000),  # The time has gone back.
    ],
)
def test_the_time_of_judging_goes_back_only_with_a_step(now_ms: int, judged_ms: int, wanted_ms: int) -> None:
    assert judging_ms(now_ms, judged_ms) == judging_ms(now_ms, 0, judged_ms, 9_999) == wanted_ms


@pytest.mark.parametrize(
    ("judged_ms", "tilted", "wanted_ms"),
    [(0, True, 0), (4_000, False, 0), (7_000, False, 0), (7_001, False, -2_001), (4_000, True, 1_000), (7_001, True, -2_001)],
)
def test_times_move_with_a_step_and_while_tilted(judged_ms: int, tilted: bool, wanted_ms: int) -> None:
    assert stepped_ms(judged_ms, 5_000, tilted=tilted) == wanted_ms


def test_all_times_of_a_record_move_but_those_of_its_history() -> None:
    t = Timeline(Pool(name="shop", open_ms=3_000), success_threshold=1)
    for _ in range(9):
        t.trip().cooled().ok()
    t.after(60_000).ok()
    trials = UserTrials(5, 4, 10_000, t.now_ms + 52_000)
    tried = msgspec.structs.replace(t.record, breaker=msgspec.structs.replace(t.record.breaker, trials=trials))
    for record in (tried, t.trip().record):
        before, after = (msgspec.to_builtins(msgspec.structs.replace(one, history=t.record.history)) for one in (record, moved(record, 7)))
        assert sum(value >= START_MS for value in _times(before)) >= 11
        expected = [value + 7 if value >= START_MS else value for value in _times(before)]
        assert _times(after) == expected


def _times(data: dict[str, Any]) -> list[float]:
    found: list[float] = []
    for name, value in sorted(data.items()):
        if isinstance(value, dict) and name != "history":
            found += _times(value)
        elif name.endswith("_ms"):
            found.append(value)
    return found


@STEPS
def test_silence_is_counted_from_the_last_result(step_ms: int, tilted: bool) -> None:
    t = Timeline(failure_threshold=100, interval_ms=1_000).at(0).ok().at(1_000).fail().at(2_000).ok()
    steps(t, step_ms, tilted)
    t.after(1_000).ok()
    assert silent_at_ms(t.endpoint, t.record, t.now_ms, ResultPace()) - t.now_ms == silent_after_ms(t.endpoint)


@STEPS
def test_an_open_breaker_waits_for_the_rest_of_its_cooldown(step_ms: int, tilted: bool) -> None:
    t = Timeline(success_threshold=2).trip()
    left_ms = t.record.breaker.open_until_ms - t.now_ms
    steps(t, step_ms, tilted)
    t.after(1_000).ok().expect(OPEN)
    t.after(left_ms).ok().expect(HALF_OPEN).after(MIN_DWELL_MS).ok().expect(CLOSED)


@STEPS
def test_a_result_after_a_step_is_not_overtaken_by_one_from_before_it(step_ms: int, tilted: bool) -> None:
    t = Timeline(interval_ms=2 * HOUR_MS).at(0).ok()
    steps(t, step_ms, tilted)
    t.after(1_000).fail()
    assert t.record.probes.run_length == 1
    assert t.record.probes.last.at_ms == t.now_ms


def published(t: Timeline, *others: Timeline, previous: Snapshot | None, tilted: bool = False) -> Snapshot:
    """What is published of these endpoints now."""
    states = [MemberState(msgspec.structs.replace(one.endpoint, id=f"e{n}"), one.record, None) for n, one in enumerate((t, *others))]
    new, weighing = compose(t.pool, states, previous, 1, t.now_ms, tilted=tilted)
    return new if worth_telling(previous, new, weighing, tilted=tilted) or not previous else previous


@STEPS
@pytest.mark.parametrize("warm_up_ms", [0, 20_000])
def test_a_weight_rises_on_from_where_it_was(step_ms: int, tilted: bool, warm_up_ms: int) -> None:
    pool = Pool(name="shop", warm_up_ms=warm_up_ms, open_ms=1_000)
    t, good = (Timeline(pool, interval_ms=1_000, failure_threshold=1, success_threshold=1) for _ in "ab")
    good.at(0).ok()
    t.at(0).fail()
    snapshot = published(t, good, previous=None)
    for second in range(2, 5):
        good.at(second * 1_000).ok()
        t.at(second * 1_000).ok()
        snapshot = published(t, good, previous=snapshot)
    before = snapshot.endpoints[0].weight
    assert 0 < before < 400

    for one in (t, good):
        one.after(step_ms).tilt(tilted)
    for _ in range(3 if tilted else 0):
        good.after(1_000).ok()
        t.after(1_000).ok()
        snapshot = published(t, good, previous=snapshot, tilted=True)
        assert abs(snapshot.endpoints[0].weight - before) <= 1
    for one in (t, good):
        one.tilt(False).after(1_000).ok()
    snapshot = published(t, good, previous=snapshot)
    assert snapshot.endpoints[0].weight <= before + 150, "one second, and what SKEW_MAX_MS leaves unsaid"
    for _ in range(25):
        good.after(1_000).ok()
        t.after(1_000).ok()
        snapshot = published(t, good, previous=snapshot)
    assert 490 <= snapshot.endpoints[0].weight <= 500
