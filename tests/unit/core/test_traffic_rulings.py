"""What consumers report moves the breaker too: a ruling counts once, for the breaker that it was made for; users try what only they see."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from monitor.core.breaker import Event
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.moves import due_ms
from monitor.core.observation import TimePassed, TrafficRuling
from monitor.core.record import Breaker, Override, UserTrials, decode_record, encode_record
from monitor.core.recovery import MIN_DWELL_MS, TRIALS_SLACK_MS
from monitor.core.schedule import silent_after_ms
from tests.timeline import CLOSED, HALF_OPEN, OPEN, START_MS, Timeline

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
        given |= {"open_ms": OPEN_MS, "opens": 1}
    return TrafficRuling(event=event, **{**given, **fields})


def due(t: Timeline) -> int:
    """When time alone may change the breaker."""
    return due_ms(t.subject, t.record, t.now_ms)


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
        (lambda t: t.set(Override.DISABLED), "under DISABLED nothing opens the breaker"),
        (lambda t: setattr(t, "endpoint", replace(t.endpoint, paused=True)), "the endpoint is paused"),
    ],
)
def test_what_keeps_probes_from_tripping_keeps_reports_from_it(change: Any, why: str) -> None:
    t = Timeline().ok()
    change(t)
    t.observe(ruling(t)).expect(CLOSED)
    assert refused(t) == why


def test_metrics_only_tells_once_what_reports_would_have_opened() -> None:
    t = Timeline().ok().set(Override.METRICS_ONLY)
    t.observe(ruling(t)).expect(CLOSED).expect_weigh(False)
    [told] = t.transitions
    assert (told.kind, told.old, told.new, told.source, told.policy, told.gen) == ("metrics_only", "CLOSED", "OPEN", "passive", "cusum", 0)
    assert told.reason == "would have opened: 9 of 12 calls failed"
    assert (t.record.traffic_seq, t.record.warm_up_since_ms) == (1, 0), "the judge need not say it again, and nothing has closed"
    t.after(1_000).observe(ruling(t)).expect(CLOSED).after(1_000).observe(ruling(t, rule="cusum_slow")).expect(CLOSED)
    assert [change.rule for change in t.transitions] == ["cusum", "cusum_slow"], "each rule once"
    t.set(None).observe(ruling(t)).expect(OPEN)
    assert not t.record.would_open


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
    next_ms = due(t)
    assert next_ms == t.record.breaker.since_ms + MIN_DWELL_MS
    t.now_ms = next_ms - 1
    t.observe(TimePassed()).expect(Breaker.HALF_OPEN).after(1).observe(TimePassed()).expect(CLOSED)


# How an opening by reports ends -------------------------------------------------------------------------------------

REPORTED = Pool(name="shop", passive=PolicyChoice("consecutive", {"half_open_max_calls": 5}))
UNTRIED = Pool(name="shop", passive=PolicyChoice("none"))


def opened(pool: Pool = REPORTED, *, hard: bool = False, reported_ms: int | None = None, **settings: Any) -> Timeline:
    """A timeline of an endpoint that what consumers report has just opened. Its probes have all succeeded."""
    t = Timeline(pool, **{"interval_ms": 1_000, "timeout_ms": 500, **settings})
    t.reported_ms = reported_ms
    t.ok().after(1_000).ok().after(1_000).ok()
    return t.after(1).observe(ruling(t, hard=hard)).expect(OPEN)


def test_once_its_time_is_over_and_probes_agree_users_try_what_only_users_see() -> None:
    t = opened()
    assert due(t) == t.now_ms + MIN_DWELL_MS
    t.after(MIN_DWELL_MS).observe(TimePassed()).expect(OPEN)
    assert due(t) == t.record.breaker.open_until_ms
    t.cooled().after(-1).observe(TimePassed()).ok().expect(OPEN)
    t.after(1).observe(TimePassed()).expect(HALF_OPEN)
    t.expect_reason("5s open, and 2 probes in a row have succeeded: users try it, 5 trials at most")
    change, breaker = t.transitions[-1], t.record.breaker
    assert (change.source, change.policy, change.rule) == ("passive", "cusum", "cooldown")
    assert breaker.trials == UserTrials(5, 4, lease_ms=1_000, until_ms=t.now_ms + 5 * 1_000 + TRIALS_SLACK_MS)
    assert decode_record(encode_record(t.record)) == t.record


def test_a_probe_says_so_as_well_as_time_does() -> None:
    opened().cooled().ok().expect(HALF_OPEN)


def test_what_probes_see_down_is_not_offered_to_users_whatever_the_time() -> None:
    t = opened(failure_threshold=100).after(1_000).fail()
    t.cooled().observe(TimePassed()).expect(OPEN).after(60_000).ok().expect(OPEN).after(1_000).ok().expect(HALF_OPEN)


def test_where_probes_are_silent_they_are_not_waited_for() -> None:
    t = opened().after(1_000).fail().after(silent_after_ms(Endpoint(id="a", url="", pool="")) + 60_000).observe(TimePassed())
    assert t.record.silent
    t.expect(HALF_OPEN)
    t.expect_reason("1m46s open, and no probe tells how it is: users try it, 5 trials at most")


def test_a_paused_endpoint_stays_where_it_is() -> None:
    t = opened()
    t.endpoint = replace(t.endpoint, paused=True)
    t.cooled().observe(TimePassed()).expect(OPEN)


def test_probes_neither_close_nor_fail_what_users_try_unless_they_see_it_down() -> None:
    t = opened(failure_threshold=2).cooled().ok().expect(HALF_OPEN)
    for _ in range(5):
        t.after(500).ok().expect(HALF_OPEN)
    t.after(10).fail().expect(HALF_OPEN).after(10).fail().expect(OPEN)
    t.expect_reason("2 failed probes in a row while users tried it: status 500, want 2xx")
    breaker = t.record.breaker
    assert (breaker.source, breaker.policy, breaker.rule, breaker.hard) == ("active", "consecutive", "failure_threshold", True)
    t.cooled().ok().expect(HALF_OPEN)
    assert t.record.breaker.trials is None, "now it is the probes' to close"


@pytest.mark.parametrize(("event", "state"), [(Event.TRIALS_PASSED, CLOSED), (Event.TRIAL_FAILED, OPEN)])
def test_the_judge_ends_users_trials(event: Event, state: Breaker) -> None:
    t = opened().cooled().ok().after(MIN_DWELL_MS)
    t.observe(ruling(t, event)).expect(state)
    assert t.record.breaker.trials is None
    assert (t.record.warm_up_since_ms == t.now_ms) is (state is CLOSED)


def test_trials_that_nobody_ends_open_it_again_for_longer() -> None:
    t = opened().cooled().ok().expect(HALF_OPEN)
    trials = t.record.breaker.trials
    assert trials is not None
    assert due(t) == trials.until_ms
    t.now_ms = trials.until_ms - 1
    t.observe(TimePassed()).expect(HALF_OPEN).after(1).observe(TimePassed()).expect(OPEN)
    t.expect_reason("users' trials have decided nothing within 7s: lost, or never asked for")
    assert t.record.breaker.opens == 2
    assert t.record.breaker.open_until_ms - t.now_ms >= 9_000
    assert t.record.breaker.source == "passive"


@pytest.mark.parametrize("word", [Override.DISABLED, Override.METRICS_ONLY])
def test_where_nothing_may_open_it_trials_that_nobody_ends_let_it_in(word: Override) -> None:
    t = opened().cooled().ok().set(word).after(60_000).observe(TimePassed()).expect(CLOSED)
    t.expect_reason(f"users' trials have decided nothing within 7s: lost, or never asked for; but under {word} nothing opens the breaker")


def test_a_reason_that_probes_see_as_well_is_gone_once_they_have_succeeded() -> None:
    t = opened(hard=True).after(1_000).ok().expect(OPEN).after(1_000).ok().expect(HALF_OPEN)
    t.expect_reason("2 probes in a row have succeeded since it opened, for a reason that probes can see: users try it")
    assert t.now_ms < t.transitions[0].at_ms + OPEN_MS
    assert t.record.breaker.trials is not None
    assert t.transitions[-1].rule == "active_success"


def test_only_successes_in_a_row_since_it_opened_shorten_an_opening() -> None:
    t = opened(hard=True).after(1_000).ok().after(500).fail().after(500).ok().after(500).observe(TimePassed()).expect(OPEN)
    t.after(500).ok().expect(HALF_OPEN)


def test_successful_probes_shorten_nothing_that_only_users_see() -> None:
    t = opened()
    for _ in range(8):
        t.after(600).ok().expect(OPEN)


@pytest.mark.parametrize("reported_ms", [0, START_MS - 60_000])
def test_where_nobody_reports_any_more_probes_are_all_there_is(reported_ms: int) -> None:
    t = opened(reported_ms=reported_ms).cooled().observe(TimePassed()).expect(OPEN)
    t.ok().expect(HALF_OPEN)
    assert t.record.breaker.trials is None
    t.after(MIN_DWELL_MS).ok().expect(CLOSED)


def test_where_reports_are_not_judged_any_more_probes_are_all_there_is() -> None:
    t = opened()
    t.pool = UNTRIED
    t.cooled().observe(TimePassed()).expect(OPEN).ok().expect(HALF_OPEN)
    assert t.record.breaker.trials is None


def test_a_trip_of_probes_returns_by_probes_whoever_reports() -> None:
    t = Timeline(REPORTED, interval_ms=1_000).trip().cooled().ok().expect(HALF_OPEN)
    assert t.record.breaker.trials is None
    assert [(c.source, c.policy, c.rule) for c in t.transitions] == [
        ("active", "consecutive", "failure_threshold"),
        ("active", "consecutive", "cooldown"),
    ]
    t.after(MIN_DWELL_MS).ok().expect(CLOSED)
    assert t.transitions[-1].rule == "success_threshold"
