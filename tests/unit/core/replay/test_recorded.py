"""What is kept of an endpoint's probes, as a recording: its own policy decides the same again, and what only counts tell is laid out."""

from __future__ import annotations

from random import Random  # noqa: TID251 - a seed of the test's own
from typing import Any

import pytest

from monitor.core.endpoint import PolicyChoice, Pool
from monitor.core.history import HOUR, MINUTE, RING_LENGTH, Row, open_rows, read_rows, read_samples
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.policies.choice import resolved
from monitor.core.replaying.recorded import Recorded, recorded, recorded_traffic
from tests.timeline import START_MS, Timeline
from tests.unit.core.replay.playing import replayed


class Kept:
    """A life whose history is kept as the store keeps it."""

    def __init__(self, **settings: Any) -> None:
        self.timeline = Timeline(**settings)
        self.bytes = {name: bytearray(size) for name, size in (("ring", 1_600), ("min", 120 * 24), ("hour", 192 * 24), ("day", 400 * 24))}

    def saw(self, outcome: Outcome, after_ms: int = 10_000, **fields: Any) -> None:
        decision = self.timeline.after(after_ms).saw(outcome, **fields).decision
        assert decision is not None
        for write in decision.writes:
            self.bytes[write.name][write.offset : write.offset + len(write.data)] = write.data

    def recorded(self, since_ms: int = 0) -> Recorded:
        one = self.timeline
        present = open_rows(one.record.history, one.endpoint, one.now_ms)
        rows = {
            period.name: [*read_rows(period, bytes(self.bytes[period.name]), one.now_ms), *present.get(period.name, [])]
            for period in (MINUTE, HOUR)
        }
        return recorded(
            one.endpoint.id,
            resolved(one.endpoint, one.pool).active,
            samples=read_samples(bytes(self.bytes["ring"])),
            minutes=list({row.start_ms: row for row in rows["min"]}.values()),
            hours=list({row.start_ms: row for row in rows["hour"]}.values()),
            since_ms=since_ms,
        )

    def happened(self) -> list[tuple[int, str, str]]:
        return [(one.at_ms, one.old.lower(), one.new.lower()) for one in self.timeline.transitions if one.kind == "breaker"]


def played(found: Recorded) -> list[tuple[int, str, str]]:
    steps = replayed(found.recording)["steps"]
    assert not [step["error"] for step in steps if step["error"]]
    return [(one["at_ms"] + found.base_ms, one["from"], one["to"]) for step in steps for one in step["transitions"]]


@pytest.mark.parametrize("seed", range(20))
def test_its_own_policy_decides_again_what_it_decided_then(seed: int) -> None:
    draw = Random(seed)
    kept = Kept(
        pool=Pool(name="shop", open_ms=7_000, open_max_ms=40_000),
        failure_threshold=draw.randint(1, 3),
        success_threshold=draw.randint(1, 3),
    )
    failing = False
    for _ in range(RING_LENGTH - 5):
        failing ^= draw.random() < 0.2
        kept.saw(Outcome.FAILURE if failing else Outcome.SUCCESS)
    found = kept.recorded()
    assert (found.approximated, found.exact_ms) == (0, START_MS + 10_000)
    assert played(found) == kept.happened() != []


def test_a_probe_becomes_an_outcome_with_its_duration_and_a_success_asks_before() -> None:
    kept = Kept()
    kept.saw(Outcome.SUCCESS, duration_ms=12.5)
    kept.saw(Outcome.INCONCLUSIVE)
    kept.saw(Outcome.FAILURE, failure=FailureClass.TIMEOUT, duration_ms=2_000.25)
    kept.saw(Outcome.FAILURE, failure=FailureClass.STATUS, status=500, duration_ms=1.0)
    found = kept.recorded()
    assert found.base_ms % 1_000 == 0
    assert found.recording["endpoints"] == ["shop-1"]
    assert found.recording["events"] == [
        {"at_ms": 0, "acquire": True},
        {"at_ms": 0, "outcome": "success", "duration_ms": 12.5},
        {"at_ms": 20_000, "outcome": "timeout", "duration_ms": 2_000.25, "local_origin": True},
        {"at_ms": 30_000, "outcome": "failure", "duration_ms": 1.0, "code": 500},
    ]


def test_it_names_the_policy_in_force_with_all_of_its_settings() -> None:
    pool = Pool(name="shop", open_ms=7_000, active=PolicyChoice("hystrix", {"request_volume_threshold": 3}))
    policy = Kept(pool=pool).recorded().recording["policy"]
    assert (policy["kind"], policy["request_volume_threshold"], policy["sleep_window_ms"]) == ("hystrix", 3, 5_000)
    policy = Kept(pool=Pool(name="shop", open_ms=7_000)).recorded().recording["policy"]
    assert (policy["kind"], policy["failure_threshold"], policy["success_threshold"]) == ("consecutive", 3, 2)
    assert (policy["cooldown_ms"], policy["cooldown_max_ms"], policy["cooldown_spread_percent"]) == (7_000, 300_000, 10)


def test_nothing_kept_is_a_recording_without_events() -> None:
    found = Kept().recorded(START_MS)
    assert (found.recording["events"], found.exact_ms, found.approximated) == ([], None, 0)
    assert replayed(found.recording)["steps"] == []


@pytest.mark.parametrize("results", [RING_LENGTH, 600, 1_500])
def test_what_the_ring_does_not_reach_comes_from_minutes_and_hours_and_nothing_is_told_twice(results: int) -> None:
    kept = Kept()
    for number in range(results):
        kept.saw(Outcome.FAILURE if 300 <= results - number < 330 else Outcome.SUCCESS, duration_ms=20.0)
    found = kept.recorded()
    outcomes = [event for event in found.recording["events"] if "outcome" in event]
    assert len(outcomes) == results
    assert found.approximated == results - RING_LENGTH
    assert sum(event["outcome"] == "failure" for event in outcomes) == (30 if results > 330 else 0)
    times = [event["at_ms"] for event in found.recording["events"]]
    assert times == sorted(times)
    # An outage of five minutes is one outage still.
    assert [change[1:] for change in played(found)] == [change[1:] for change in kept.happened()]


def test_since_leaves_out_what_was_before() -> None:
    kept = Kept()
    for _ in range(50):
        kept.saw(Outcome.SUCCESS)
    found = kept.recorded(kept.timeline.now_ms - 95_000)
    assert len(found.recording["events"]) == 20
    assert found.base_ms == kept.timeline.now_ms - 90_000


def test_a_minute_that_went_over_goes_on_as_the_one_before_had_ended() -> None:
    minutes = [
        Row(start_ms=0, ok=2, failed=2, p50_ms=7.0),
        Row(start_ms=60_000, ok=2, failed=2),
        Row(start_ms=120_000, ok=1),
    ]
    active = resolved(Kept().timeline.endpoint, Pool(name="shop")).active
    found = recorded("a", active, samples=(), minutes=minutes, hours=(), since_ms=0)
    assert [(event["at_ms"] + found.base_ms, event["outcome"]) for event in found.recording["events"] if "outcome" in event] == [
        (7_500, "success"),
        (22_500, "success"),
        (37_500, "failure"),
        (52_500, "failure"),
        (67_500, "failure"),
        (82_500, "failure"),
        (97_500, "success"),
        (112_500, "success"),
        (150_000, "success"),
    ]
    assert found.recording["events"][1]["duration_ms"] == 7.0


def test_the_calls_of_consumers_are_laid_evenly_into_the_seconds_of_their_minutes() -> None:
    passive = resolved(Kept().timeline.endpoint, Pool(name="shop")).passive
    assert passive is not None
    minutes = [
        Row(start_ms=START_MS // 60_000 * 60_000, ok=150, failed=6, p50_ms=7.25),
        Row(start_ms=START_MS // 60_000 * 60_000 + 60_000, ok=10),
    ]
    base_ms = minutes[0].start_ms
    found = recorded_traffic("shop-1", passive, minutes, 0, base_ms + 65_000)
    events = found.recording["events"]
    assert found.recording["policy"]["kind"] == "cusum"
    assert (found.base_ms, found.exact_ms, found.approximated) == (base_ms, None, 166)
    assert events[:2] == [{"at_ms": 0, "acquire": True}, {"at_ms": 0, "outcome": "success", "count": 2, "duration_ms": 7.25}]
    counts = {word: sum(event["count"] for event in events if event.get("outcome") == word) for word in ("success", "failure")}
    assert counts == {"success": 160, "failure": 6}
    assert [event["at_ms"] for event in events if event.get("outcome") == "failure"] == [9_000, 19_000, 29_000, 39_000, 49_000, 59_000]
    assert [(event["at_ms"], event["count"]) for event in events if event["at_ms"] >= 60_000 and "count" in event] == [
        (60_000 + 1_000 * second, 2) for second in range(5)
    ]
    assert not [step["error"] for step in replayed(found.recording)["steps"] if step["error"]]
    assert recorded_traffic("shop-1", passive, minutes, base_ms + 60_000, base_ms + 65_000).base_ms == base_ms + 60_000
    assert recorded_traffic("shop-1", passive, (), 5, 9).recording["events"] == []
