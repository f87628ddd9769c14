"""Picks: exact over a turn of the wheel, even on the way, different between consumers."""

import collections
import itertools
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.client.wheel import equal_weights, gate, wheel


@given(st.lists(st.integers(0, 1_000), max_size=20), st.integers(0, 5_000), st.randoms(use_true_random=False))
def test_any_full_turn_holds_the_exact_weights(weights, skip, rng):
    turning = wheel(list(enumerate(weights)), rng.randbytes)
    total = sum(weights)
    if total == 0:
        with pytest.raises(StopIteration):
            next(turning)
        return
    counts = collections.Counter(itertools.islice(turning, skip, skip + total))
    assert counts == {index: weight for index, weight in enumerate(weights) if weight}


def test_picks_are_spread_over_the_turn():
    turning = wheel([("a", 500), ("b", 300), ("c", 200)], os.urandom)
    for _ in range(10):
        counts = collections.Counter(itertools.islice(turning, 100))
        assert 45 <= counts["a"] <= 55
        assert 26 <= counts["b"] <= 34
        assert 17 <= counts["c"] <= 23


def test_two_consumers_do_not_move_together():
    one, other = (list(itertools.islice(wheel([("a", 500), ("b", 500)], os.urandom), 1_000)) for _ in range(2))
    assert one != other


def test_threads_share_a_wheel_exactly():
    turning = wheel([("a", 700), ("b", 299), ("c", 1)], os.urandom)
    taken: list[list[str]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=lambda mine: mine.extend(itertools.islice(turning, 10_000)), args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collections.Counter(itertools.chain(*taken)) == {"a": 56_000, "b": 23_920, "c": 80}


@pytest.mark.parametrize(("shed", "refused"), [(0.0, 0), (0.25, 250), (0.0004, 0), (1.0, 1_000)])
def test_a_gate_refuses_the_fraction(shed, refused):
    assert sum(itertools.islice(gate(shed, os.urandom), 1_000)) == refused


@pytest.mark.parametrize(("count", "total"), [(0, 0), (1, 1_000), (3, 1_000), (1_000, 1_000), (2_500, 2_500)])
def test_equal_weights(count, total):
    shares = equal_weights(count)
    assert len(shares) == count
    assert sum(shares) == total
    assert not shares or max(shares) - min(shares) <= 1
