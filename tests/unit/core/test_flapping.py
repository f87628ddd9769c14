"""Flapping by Icinga's formula, and the two notices around it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.core import flapping
from monitor.core.endpoint import Pool
from monitor.core.record import Verdict
from tests.timeline import Timeline


@given(st.lists(st.booleans(), max_size=60))
def test_the_value_is_icingas(outcomes: list[bool]) -> None:
    bits = 0
    for outcome in outcomes:
        bits = flapping.remember(bits, outcome)
    last = outcomes[-21:]
    changed = [a != b for a, b in pairwise(last)]
    changed = [False] * (20 - len(changed)) + changed
    wanted = 100 / 20 * sum(c * (0.80 + 0.02 * i) for i, c in enumerate(changed))
    assert abs(flapping.value_percent(bits, len(last)) - wanted) < 1e-9


def test_between_the_bounds_it_stays_what_it_was() -> None:
    assert [flapping.is_flapping(was, value, Pool(name="shop")) for was in (False, True) for value in (25.0, 30.0, 30.1)] == [
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_one_outage_is_no_flapping_and_many_are_one_notice_each_way() -> None:
    t = Timeline(failure_threshold=100)
    for _ in range(21):
        t.after(10_000).ok()
    t.after(10_000).fail().after(10_000).fail().after(10_000).ok()
    assert not t.record.probes.flapping
    for n in range(12):
        t.after(10_000)
        (t.ok if n % 2 else t.fail)()
    assert t.record.probes.flapping
    t.expect_verdict(Verdict.DEGRADED)
    for _ in range(30):
        t.after(10_000).ok()
    assert [(change.kind, change.old, change.new) for change in t.transitions] == [
        ("flapping", "steady", "flapping"),
        ("flapping", "flapping", "steady"),
    ]
    assert t.transitions[0].reason.startswith("the outcome changed too often: 3")
    t.expect_verdict(Verdict.HEALTHY)
    assert t.record.probes.flapping_since_ms == 0


def changing(pool: Pool, changes: int = 12) -> Timeline:
    t = Timeline(pool, failure_threshold=100)
    for n in range(21 + changes):
        t.after(10_000)
        (t.fail if n > 20 and n % 2 else t.ok)()
    return t


def test_a_pools_bounds_are_its_own() -> None:
    assert not changing(Pool(name="shop", flapping_start_percent=90, flapping_stop_percent=80)).record.probes.flapping
    t = changing(Pool(name="shop", flapping_start_percent=10, flapping_stop_percent=5), changes=3)
    assert t.record.probes.flapping
    assert "more than 10 %" in t.transitions[-1].reason


def test_a_start_of_zero_switches_it_off_and_ends_what_flaps() -> None:
    off = Pool(name="shop", flapping_start_percent=0)
    assert not changing(off).record.probes.flapping
    t = changing(Pool(name="shop"))
    assert t.record.probes.flapping
    t.pool = off
    t.after(10_000).ok()
    assert not t.record.probes.flapping
    assert t.transitions[-1].reason == "flapping is switched off in its pool"
