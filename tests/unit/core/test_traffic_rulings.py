"""What consumers report moves the breaker too: a ruling counts once, for the breaker that it was made for; users try what only they see."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from monitor.core.breaker import Event
from monitor.core.decide import breaker_due_ms
from monitor.core.observation import TimePassed, TrafficRuling
from monitor.core.record import Breaker, Override, decode_record, encode_record
from monitor.core.recovery import MIN_DWELL_MS
from tests.timeline import CLOSED, OPEN, Timeline

OPEN_MS = 5_000


def ruling(t: Timeline, event: Event = Event.TRIP, **fields: Any) -> TrafficRuling:
    """What the judge of traffic says of the breaker as it is now."""
    given = {
        "seq": t.record.traffic_seq + 1,
        "gen": t.record.breaker.gen,
        "policy": "cusum",
        "rule": "cusum",
        "reason": "9 of 12 calls failed",
    }
    if event in {Event.TRIP, Event.TRIAL_FAILED}:
        given |= {"open_until_ms": t.now_ms + OPEN_MS, "opens": 1}
    return TrafficRuling(event=event, **{**given, **fields})


def refused(t: Timeline) -> str:
    assert t.decision is not None
    return t.decision.refused


def test_a_ruling_trips_and_says_whose_policy_and_which_rule_decided() -> None:
    t = Timeline().ok()
    t.observe(ruling(t, evidence={"failures": 9})).expect(OPEN).expect_reason("9 of 12 calls failed").expect_weigh(True)
    [change] = t.transitions
    assert (change.old, change.new, change.gen, change.at_ms) == ("CLOSED", "OPEN", 1, t.now_ms)
    assert (change.source, change.policy, change.rule, change.evidence) == ("passive", "cusum", "cusum", {"failures": 9})
    breaker = t.record.breaker
    assert (breaker.source, breaker.policy, breaker.rule, breaker.hard) == ("passive", "cusum", "cusum", False)
    assert (breaker.open_until_ms, breaker.opens) == (t.now_ms + OPEN_MS, 1)
    assert decode_record(encode_record(t.record)) == t.record


def test_a_ruling_counts_once_however_often_it_comes() -> None:
    t = Timeline().ok()
    said = ruling(t)
    t.observe(said).observe(said)
    assert refused(t) == "ruling 1 of the judge of traffic was heard before"
    assert t.record.breaker.gen == 1


def test_a_ruling_for_another_generation_of_the_breaker_is_refused_and_may_be_made_anew() -> None:
    t = Timeline(failure_threshold=1).ok()
    said = ruling(t)
    t.after(1).fail().expect(OPEN).observe(said)
    assert refused(t) == "it was made for generation 0 of the breaker, which is 1"
    assert t.record.traffic_seq == 0
    t.observe(ruling(t))
    assert refused(t) == "TRIP is no event of OPEN"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.tilt(), "the timeline is tilted"),
        (lambda t: t.set(Override.DISABLED), "the breaker is disabled"),
        (lambda t: setattr(t, "endpoint", replace(t.endpoint, paused=True)), "the endpoint is paused"),
    ],
)
def test_what_keeps_probes_from_tripping_keeps_reports_from_it(change: Any, why: str) -> None:
    t = Timeline().ok()
    change(t)
    t.observe(ruling(t)).expect(CLOSED)
    assert refused(t) == why


@pytest.mark.parametrize("override", [Override.FORCED_OPEN, Override.FORCED_CLOSED, Override.DRAIN])
def test_under_an_operators_word_rulings_count_as_probes_do(override: Override) -> None:
    t = Timeline().ok().set(override)
    t.observe(ruling(t)).expect(OPEN)


def test_a_change_is_not_followed_by_another_too_soon_unless_it_opens() -> None:
    t = Timeline().ok()
    t.observe(ruling(t)).after(MIN_DWELL_MS - 1).observe(ruling(t, Event.READMITTED)).expect(OPEN)
    assert refused(t) == "it changed less than 2000 ms ago"
    t.after(1).observe(ruling(t, Event.READMITTED)).expect(CLOSED)
    assert t.record.warm_up_since_ms == t.now_ms
    t.after(1).observe(ruling(t)).expect(OPEN)


def test_trials_that_have_passed_close_once_the_breaker_has_dwelt() -> None:
    t = Timeline().trip().cooled().ok().after(500).ok().expect(Breaker.HALF_OPEN)
    due_ms = breaker_due_ms(t.endpoint, t.record, t.now_ms)
    assert due_ms == t.record.breaker.since_ms + MIN_DWELL_MS
    t.now_ms = due_ms - 1
    t.observe(TimePassed()).expect(Breaker.HALF_OPEN).after(1).observe(TimePassed()).expect(CLOSED)
