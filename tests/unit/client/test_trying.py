"""Which endpoints a consumer tries only with a token: those whose whole weight is their trial share, while what is published holds."""

from __future__ import annotations

import pytest

from tests.unit.client.conftest import Timeline, endpoint


def publish(timeline: Timeline, weight: int, trial_share: float) -> None:
    tried = endpoint("b", weight, breaker="HALF_OPEN", trial_share=trial_share, gen=7)
    timeline.publish({}, endpoints=(endpoint("a", 1_000 - weight), tried))


@pytest.mark.parametrize(
    ("weight", "trial_share", "needs_a_token"),
    [
        (10, 0.01, True),
        (7, 0.0067, True),
        (6, 0.0067, True),
        (1, 0.001, True),
        (1, 0.0004, True),
        (12, 0.01, False),
        (500, 0.01, False),
        (0, 0.01, False),
        (10, 0.0, False),
    ],
)
def test_it_needs_a_token_while_it_gets_no_more_than_its_trial_share(
    timeline: Timeline, weight: int, trial_share: float, needs_a_token: bool
) -> None:
    publish(timeline, weight, trial_share)
    assert timeline.view.trying == ({"shop": frozenset({"b"})} if needs_a_token else {})


def test_a_state_that_has_expired_asks_for_no_token_because_nobody_could_give_one(timeline: Timeline) -> None:
    publish(timeline, 10, 0.01)
    timeline.at(179_999)
    assert timeline.view.trying
    timeline.at(180_000)
    assert timeline.view.trying == {}
    assert timeline.picks() == {"a": 500, "b": 500}
    publish(timeline, 10, 0.01)
    assert timeline.view.trying


def test_it_ends_with_the_trials_and_with_the_pool(timeline: Timeline) -> None:
    told: list[int] = []
    timeline.view._on_trials = lambda: told.append(len(timeline.view.trying))
    publish(timeline, 10, 0.01)
    publish(timeline, 10, 0.01)
    publish(timeline, 300, 0.0)
    publish(timeline, 10, 0.01)
    timeline.publish({}, endpoints=(), tombstone=True)
    assert told == [1, 0, 1, 0], "the view's task is told of each change, and of nothing else"
