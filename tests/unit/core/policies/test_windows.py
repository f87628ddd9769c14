"""Windows that are kept as sums and rings tell what a list of all calls would: resilience4j's two, and Hystrix' buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.hystrix import Hystrix
from monitor.core.policies.hystrix import Settings as HystrixSettings
from monitor.core.policies.policy import Member
from monitor.core.policies.resilience4j import Resilience4j
from monitor.core.policies.windows import CountWindow, TimeWindow, Window
from monitor.core.record import BreakerState
from tests.fuzz.play import cases
from tests.unit.core.policies.timelines import event, played

Doing = tuple[int, str]
FAILURES = Call(CallOutcome.FAILURE, 3)


class NaiveResilience4j:
    """Every call in a list, one by one, and the source's rules over that."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = {
            "sliding_window_type": "count",
            "failure_rate_threshold": 50,
            "slow_call_rate_threshold": 100,
            "slow_call_duration_threshold_ms": 10,
            "wait_multiplier": 1,
        } | settings
        self.now_ms = self.attempts = self.permits = self.not_permitted = self.until_ms = 0
        self.begin("closed")

    def begin(self, state: str) -> None:
        self.state = state
        self.since_ms = self.now_ms
        if state == "open":
            self.attempts += 1
            self.until_ms = self.now_ms + self.settings["wait_duration_in_open_state_ms"] * self.settings["wait_multiplier"] ** (
                self.attempts - 1
            )
            return
        self.trial = state == "half_open"
        self.attempts = self.attempts if self.trial else 0
        self.permits = self.settings["permitted_number_of_calls_in_half_open_state"]
        self.not_permitted = 0
        self.calls: list[tuple[int, bool, bool]] = []

    def window(self) -> Sequence[tuple[int, bool, bool]]:
        size = self.settings["sliding_window_size"]
        if self.trial:
            return self.calls[-self.settings["permitted_number_of_calls_in_half_open_state"] :]
        if self.settings["sliding_window_type"] == "count":
            return self.calls[-size:]
        return [call for call in self.calls if call[0] > self.now_ms // 1_000 - size]

    def rates(self) -> tuple[float, float]:
        calls, minimum = self.window(), self.settings["minimum_number_of_calls"]
        if self.trial:
            minimum = min(minimum, self.settings["permitted_number_of_calls_in_half_open_state"])
        elif self.settings["sliding_window_type"] == "count":
            minimum = min(minimum, self.settings["sliding_window_size"])
        if len(calls) < minimum:
            return -1, -1
        return sum(failed for _, failed, _ in calls) * 100 / len(calls), sum(slow for _, _, slow in calls) * 100 / len(calls)

    def call(self, failed: bool, slow: bool) -> None:
        self.calls.append((self.now_ms // 1_000, failed, slow))
        failure_rate, slow_rate = self.rates()
        if failure_rate == -1 or self.state == "open":
            return
        if failure_rate >= self.settings["failure_rate_threshold"] or slow_rate >= self.settings["slow_call_rate_threshold"]:
            self.begin("open")
        elif self.state == "half_open":
            self.begin("closed")

    def do(self, at_ms: int, what: str) -> bool | None:
        patience_ms = self.settings.get("max_wait_duration_in_half_open_state_ms", 0)
        if self.state == "half_open" and patience_ms and at_ms >= self.since_ms + patience_ms:
            self.now_ms = self.since_ms + patience_ms
            self.begin("open")
        self.now_ms = at_ms
        words = what.split()
        if words[0] == "acquire":
            if self.state == "open" and at_ms > self.until_ms:
                self.begin("half_open")
            if self.state == "half_open" and self.permits:
                self.permits -= 1
                return True
            self.not_permitted += self.state != "closed"
            return self.state == "closed"
        if words[0] in {"release", "ignored"}:
            self.permits += self.state == "half_open"
            return None
        for _ in range(int(words[1][1:])):
            self.call(words[0] == "failure", float(words[2][:-2]) > 10)
        return None


def doings() -> st.SearchStrategy[list[Doing]]:
    outcome = st.builds(
        "{} x{} {}ms".format, st.sampled_from(["success", "failure"]), st.sampled_from([1, 1, 1, 2, 3, 7, 20]), st.sampled_from([1, 10, 11])
    )
    step = st.tuples(
        st.sampled_from([0, 0, 1, 400, 999, 1_000, 1_001, 2_500, 60_000]),
        st.one_of(outcome, outcome, st.sampled_from(["acquire", "acquire", "release", "ignored"])),
    )
    return st.lists(step, min_size=1, max_size=60).map(timed)


def timed(steps: list[tuple[int, str]]) -> list[Doing]:
    now_ms = 0
    return [(now_ms := now_ms + wait_ms, what) for wait_ms, what in steps]


SMALL = st.integers(1, 8)
RATES = st.sampled_from([1, 25, 33.3, 50, 66.7, 100])


@cases(300)
@given(
    done=doings(),
    settings=st.fixed_dictionaries(
        {
            "sliding_window_type": st.sampled_from(["count", "time"]),
            "sliding_window_size": SMALL,
            "minimum_number_of_calls": SMALL,
            "permitted_number_of_calls_in_half_open_state": SMALL,
            "failure_rate_threshold": RATES,
            "slow_call_rate_threshold": RATES,
            "slow_call_duration_threshold_ms": st.just(10),
            "wait_duration_in_open_state_ms": st.sampled_from([1, 1_000, 2_500]),
            "wait_multiplier": st.sampled_from([1, 2]),
            "max_wait_duration_in_half_open_state_ms": st.sampled_from([0, 0, 1_000]),
        }
    ),
)
def test_resilience4j_judges_as_a_list_of_all_calls_does(done: list[Doing], settings: dict[str, Any]) -> None:
    model = NaiveResilience4j(settings)
    steps = played({"policy": {"kind": "resilience4j", **settings}, "events": [event(*one) for one in done]})
    for (at_ms, what), step in zip(done, steps, strict=True):
        permitted = model.do(at_ms, what)
        calls, (failure_rate, slow_rate) = model.window(), model.rates()
        expected = {
            "state": model.state,
            "permitted": permitted,
            "calls": len(calls),
            "failures": sum(failed for _, failed, _ in calls),
            "slow_calls": sum(slow for _, _, slow in calls),
            "failure_rate": failure_rate,
            "slow_rate": slow_rate,
            "not_permitted": model.not_permitted,
            "open_until_ms": model.until_ms if model.state == "open" else None,
        }
        assert {name: step[name] for name in expected} == expected, (at_ms, what)


class NaiveHystrix:
    """Every call in a list, a snapshot at every interval, and the source's rules over that."""

    def __init__(self, settings: dict[str, int]) -> None:
        self.settings = settings
        self.state, self.until_ms, self.anchor_ms, self.snapshots = "closed", 0, 0, 0
        self.calls: list[tuple[int, bool]] = []
        self.seen = 0, 0

    def snapshot(self) -> None:
        interval_ms = self.settings["snapshot_interval_ms"]
        self.snapshots += 1
        now_ms = self.anchor_ms + self.snapshots * interval_ms
        from_ms = now_ms - self.settings["rolling_window_ms"] // interval_ms * interval_ms
        window = [failed for at_ms, failed in self.calls if from_ms <= at_ms < now_ms]
        self.seen = len(window), sum(window)
        enough = len(window) >= self.settings["request_volume_threshold"]
        if self.state == "closed" and enough and int(sum(window) / len(window) * 100) >= self.settings["error_threshold_percentage"]:
            self.state, self.until_ms = "open", now_ms + self.settings["sleep_window_ms"]

    def do(self, now_ms: int, what: str) -> bool | None:
        while self.anchor_ms + (self.snapshots + 1) * self.settings["snapshot_interval_ms"] <= now_ms:
            self.snapshot()
        words = what.split()
        if words[0] == "acquire":
            if self.state == "open" and now_ms > self.until_ms:
                self.state = "half_open"
                return True
            return self.state == "closed"
        if self.state == "half_open":
            if words[0] == "success":
                self.state, self.calls, self.anchor_ms, self.snapshots, self.seen = "closed", [], now_ms, 0, (0, 0)
            else:
                self.state, self.until_ms = "open", now_ms + self.settings["sleep_window_ms"]
        if words[0] in {"success", "failure"}:
            self.calls += [(now_ms, words[0] == "failure")] * int(words[1][1:])
        return None


@cases(300)
@given(
    done=doings(),
    settings=st.fixed_dictionaries(
        {
            "request_volume_threshold": SMALL,
            "error_threshold_percentage": st.sampled_from([0, 25, 33, 50, 67, 100]),
            "sleep_window_ms": st.sampled_from([0, 999, 1_000]),
            "rolling_window_ms": st.sampled_from([1_000, 2_499, 2_500, 5_000]),
            "snapshot_interval_ms": st.sampled_from([400, 500, 1_000]),
        }
    ),
)
def test_hystrix_judges_as_a_list_of_all_calls_does(done: list[Doing], settings: dict[str, int]) -> None:
    model = NaiveHystrix(settings)
    steps = played({"policy": {"kind": "hystrix", **settings}, "events": [event(*one) for one in done]})
    for (at_ms, what), step in zip(done, steps, strict=True):
        permitted = model.do(at_ms, what)
        expected = {
            "state": model.state,
            "permitted": permitted,
            "calls": model.seen[0],
            "failures": model.seen[1],
            "open_until_ms": model.until_ms if model.state == "open" else None,
        }
        assert {name: step[name] for name in expected} == expected, (at_ms, what)


PUSHES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 3)), max_size=40)


@cases(200)
@given(pushes=PUSHES, size=SMALL, resized=SMALL, counted=st.booleans())
def test_a_window_of_another_size_holds_what_one_of_that_size_would(pushes: list[Any], size: int, resized: int, counted: bool) -> None:
    window: Window = CountWindow(size) if counted else TimeWindow(size)
    smaller: Window = CountWindow(min(size, resized)) if counted else TimeWindow(min(size, resized))
    second = 0
    for kind, count, wait in pushes:
        second += wait
        window, smaller = window.pushed(kind, count, second), smaller.pushed(kind, count, second)
    changed = window.resized(resized)
    assert (changed.calls, changed.failed, changed.slow) == (smaller.calls, smaller.failed, smaller.slow)
    assert changed.size == resized


@pytest.mark.parametrize(("window", "bytes_max"), [(CountWindow(100), 250), (TimeWindow(100), 2_500)])
def test_json_holds_a_window_and_gives_it_back(window: Window, bytes_max: int) -> None:
    for second in range(1_000):
        window = window.pushed(second % 4, 1 if isinstance(window, CountWindow) else 5, second)
    written = msgspec.json.encode(window)
    assert msgspec.json.decode(written, type=Window) == window
    assert len(written) < bytes_max


def test_memories_are_json() -> None:
    for policy in (Hystrix(), Resilience4j()):
        settings = policy.settings()
        step = policy.observe(settings, Member("a", BreakerState(), policy.begin(settings, 0)), FAILURES, None, 700)
        memory = step.member.memory
        assert msgspec.json.decode(msgspec.json.encode(memory), type=policy.memory) == memory


def test_a_year_of_silence_is_no_work_for_hystrix() -> None:
    policy, settings = Hystrix(), HystrixSettings()
    member = Member("a", BreakerState(), policy.begin(settings, 0))
    member = policy.observe(settings, member, FAILURES, None, 100).member
    ticks = 0
    while due_ms := policy.due_ms(settings, member):
        member, ticks = policy.tick(settings, member, due_ms).member, ticks + 1
    assert ticks == 2
