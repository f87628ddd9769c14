"""Versions never go back, and any loss, doubling or reordering ends at the last snapshot (rules 2 and 3)."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.client.view import NOTHING, Fetch, View
from monitor.pool.snapshot import Snapshot, diff

FETCH = Fetch(server_ms=1_000_000, alive_ms=None, at_ms=0)


def test_an_older_or_equal_version_changes_nothing(timeline, make_snapshot):
    view = timeline.view
    assert view.offer(make_snapshot({"a": 1_000}, epoch=2, ver=5), FETCH)
    assert not view.offer(make_snapshot({"b": 1_000}, epoch=2, ver=4), FETCH)
    assert not view.offer(make_snapshot({"b": 1_000}, epoch=1, ver=9), FETCH)
    assert view.offer(make_snapshot({"b": 1_000}, epoch=2, ver=5), FETCH)
    assert timeline.picks() == {"a": 1_000}


def test_a_new_epoch_begins_at_any_version_but_is_never_folded(timeline, make_snapshot):
    old, new = make_snapshot({"a": 1_000}, epoch=1, ver=50), make_snapshot({"b": 1_000}, epoch=2, ver=51)
    timeline.view.offer(old, FETCH)
    assert not timeline.view.advance("shop", [diff(old, new)], FETCH)
    assert timeline.view.offer(new, FETCH)
    assert timeline.view.version("shop") == (2, 51)


def test_another_schema_is_refused(timeline, make_snapshot):
    assert not timeline.view.offer(make_snapshot({"a": 1_000}, schema=2), FETCH)


def test_a_gap_in_the_log_asks_for_the_snapshot(timeline, make_snapshot):
    states = [make_snapshot({"a": weight, "b": 1_000 - weight}, ver=weight) for weight in (1, 2, 3)]
    timeline.view.offer(states[0], FETCH)
    assert not timeline.view.advance("shop", [diff(states[1], states[2])], FETCH)
    assert timeline.view.version("shop") == (1, 1)


weights = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1_000), min_size=1)


@st.composite
def histories(draw):
    """Consecutive published states, in up to three epochs."""
    epoch, states = 1, []
    for ver, chosen in enumerate(draw(st.lists(weights, min_size=1, max_size=12)), start=1):
        epoch += draw(st.booleans()) and epoch < 3
        states.append((chosen, epoch, ver))
    return states


@given(histories(), st.data())
def test_any_order_of_hints_ends_at_the_last_snapshot(make_snapshot_of, history, data):
    states: list[Snapshot] = [make_snapshot_of(chosen, epoch=epoch, ver=ver) for chosen, epoch, ver in history]
    deltas = [diff(old, new) for old, new in zip([None, *states], states, strict=False)]
    view, seen = View(bytes), [NOTHING]
    for _ in range(data.draw(st.integers(0, 30))):
        if data.draw(st.booleans()):
            first = data.draw(st.integers(0, len(deltas) - 1))
            last = data.draw(st.integers(first, len(deltas)))
            view.advance("shop", data.draw(st.permutations(deltas[first:last])), FETCH)
        else:
            view.offer(data.draw(st.sampled_from(states)), FETCH)
        known = view.snapshot("shop")
        if known is not None:
            assert known in states
        seen.append(view.version("shop"))
    assert seen == sorted(seen)
    view.offer(states[-1], FETCH)
    assert view.snapshot("shop") == states[-1]
    assert {one.id: one.weight for one in view.endpoints("shop")} == history[-1][0]
    assert set(view.index) == set(history[-1][0])
