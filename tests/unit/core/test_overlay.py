"""The table of modes is the one place that says what they do, for weights, decisions and policies alike."""

from __future__ import annotations

import pytest

from monitor.core.endpoint import Pool
from monitor.core.overlay import ADMITTED, OVERLAYS, WITHDRAWN
from monitor.core.record import Breaker, Override
from monitor.pool.balancer import Candidate, weigh
from tests.unit.core.replay.playing import steps

IN_REPLAY = [mode for mode in Override if mode is not Override.DRAIN]


def test_every_mode_has_its_row_and_each_lets_traffic_through_or_keeps_it_away() -> None:
    assert list(OVERLAYS) == list(Override)
    assert sorted([*ADMITTED, *WITHDRAWN]) == sorted(Override)
    assert all(overlay.meaning for overlay in OVERLAYS.values())


@pytest.mark.parametrize("mode", Override)
@pytest.mark.parametrize("breaker", Breaker)
def test_a_weight_is_there_or_not_as_the_table_says_whatever_the_breaker_is(mode: Override, breaker: Breaker) -> None:
    candidates = [Candidate(id="a", weight=1, breaker=breaker, override=mode), Candidate(id="b", weight=1)]
    assert bool(weigh(Pool(name="shop"), candidates, None, 0, 0).weights["a"]) is OVERLAYS[mode].permits


@pytest.mark.parametrize("mode", IN_REPLAY)
def test_a_policy_of_ours_does_as_the_table_says(mode: Override) -> None:
    overlay = OVERLAYS[mode]
    asked, _, failed, back = steps(
        {"kind": "consecutive"},
        [
            {"at_ms": 0, "override": mode.value.lower()},
            {"at_ms": 0, "acquire": True},
            {"at_ms": 0, "outcome": "failure", "count": 4},
            {"at_ms": 0, "outcome": "failure"},
            {"at_ms": 0, "override": "auto"},
        ],
    )[1:]
    assert asked["permitted"] is overlay.permits
    assert bool(failed["transitions"]) is overlay.opens
    assert (back["calls"] > 0 or back["state"] == "open") is overlay.records
