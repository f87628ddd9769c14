"""The `consecutive` policy is HAProxy's rise and fall, and Kubernetes' thresholds, when no cooldown stands between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.endpoint import Pool
from monitor.core.outcome import Outcome
from tests.timeline import CLOSED, Timeline

NO_COOLDOWN = Pool(name="shop", open_ms=1, open_max_ms=1)
THRESHOLDS = st.integers(1, 5)


class HAProxy:
    """check_notify_success and check_notify_failure of src/check.c: health from 0 to rise + fall - 1, UP from rise on."""

    def __init__(self, rise: int, fall: int) -> None:
        self.rise, self.fall, self.health = rise, fall, rise + fall - 1

    def saw(self, success: bool) -> bool:
        if success:
            if self.health < self.rise + self.fall - 1:
                self.health += 1
                if self.health >= self.rise:
                    self.health = self.rise + self.fall - 1
        elif self.health > self.rise:
            self.health -= 1
        else:
            self.health = 0
        return self.health >= self.rise


class Kubernetes:
    """doProbe of pkg/kubelet/prober/worker.go: an error of the prober leaves everything as it was."""

    def __init__(self, success_threshold: int, failure_threshold: int) -> None:
        self.thresholds = {Outcome.SUCCESS: success_threshold, Outcome.FAILURE: failure_threshold}
        self.last: Outcome | None = None
        self.run, self.ready = 0, True

    def saw(self, outcome: Outcome) -> bool:
        if outcome is Outcome.INCONCLUSIVE:
            return self.ready
        self.run = self.run + 1 if outcome is self.last else 1
        self.last = outcome
        if self.run >= self.thresholds[outcome]:
            self.ready = outcome is Outcome.SUCCESS
        return self.ready


@given(THRESHOLDS, THRESHOLDS, st.lists(st.booleans(), max_size=60))
def test_rise_and_fall_as_haproxy(rise: int, fall: int, results: list[bool]) -> None:
    peer = HAProxy(rise, fall)
    ours = Timeline(NO_COOLDOWN, failure_threshold=fall, success_threshold=rise)
    for success in results:
        ours.after(10_000).saw(Outcome.SUCCESS if success else Outcome.FAILURE)
        assert (ours.record.breaker.state is CLOSED) is peer.saw(success)


@given(THRESHOLDS, THRESHOLDS, st.lists(st.sampled_from(Outcome), max_size=60))
def test_thresholds_as_kubernetes(success_threshold: int, failure_threshold: int, results: list[Outcome]) -> None:
    peer = Kubernetes(success_threshold, failure_threshold)
    ours = Timeline(NO_COOLDOWN, failure_threshold=failure_threshold, success_threshold=success_threshold)
    for outcome in results:
        ours.after(10_000).saw(outcome)
        assert (ours.record.breaker.state is CLOSED) is peer.saw(outcome)


S, F, X = Outcome.SUCCESS, Outcome.FAILURE, Outcome.INCONCLUSIVE
KUBERNETES = [
    # failureThreshold, successThreshold, results, ready after each; X is an error of the prober itself
    (3, 1, [F, F, F], [1, 1, 0]),
    (3, 1, [F, F, S, F, F, F], [1, 1, 1, 1, 1, 0]),
    (3, 1, [F, F, F, S], [1, 1, 0, 1]),
    (3, 1, [F, F, F, S, F, F, F], [1, 1, 0, 1, 1, 1, 0]),
    (1, 1, [F, S, F], [0, 1, 0]),
    (3, 3, [F, F, F, S, S, F, S, S, S], [1, 1, 0, 0, 0, 0, 0, 0, 1]),
    (3, 2, [F, X, F, X, F], [1, 1, 1, 1, 0]),
    (1, 2, [F, S, X, S], [0, 0, 0, 1]),
    (2, 2, [F, F, X, X, X], [1, 0, 0, 0, 0]),
]


@pytest.mark.parametrize(("failure_threshold", "success_threshold", "results", "ready"), KUBERNETES)
def test_thresholds_as_kubernetes_documents_them(
    failure_threshold: int, success_threshold: int, results: list[Outcome], ready: list[int]
) -> None:
    peer = Kubernetes(success_threshold, failure_threshold)
    ours = Timeline(NO_COOLDOWN, failure_threshold=failure_threshold, success_threshold=success_threshold)
    assert [int(peer.saw(outcome)) for outcome in results] == ready
    assert [int(ours.after(10_000).saw(outcome).record.breaker.state is CLOSED) for outcome in results] == ready
