"""The machine: its table, its cooldown, and the shipped policy's timelines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import msgspec
import pytest
from msgspec.structs import replace

from monitor.config.fields import ENDPOINT_FIELDS, POOL_FIELDS, Field
from monitor.core.breaker import TRANSITIONS, Course, Event, Opening, UnlistedTransitionError, opening_ms, step
from monitor.core.endpoint import THRESHOLD_MAX, Endpoint, PolicyChoice, Pool
from monitor.core.policies.choice import COOLDOWN_SPREAD_PERCENT
from monitor.core.record import Breaker, BreakerState, Override, Source, Verdict, moved
from monitor.core.recovery import MIN_DWELL_MS
from tests.timeline import CLOSED, HALF_OPEN, OPEN, Timeline

POOL = Pool(name="shop")
TIMES = Opening(POOL.open_ms, POOL.open_max_ms, COOLDOWN_SPREAD_PERCENT)


def stepped(state: Breaker, event: Event) -> BreakerState:
    before = BreakerState(state=state, gen=7, since_ms=1)
    course = Course(event, Source.ACTIVE, "rule", "because", {"n": 1})
    return step(before, course, endpoint_id="a", policy="consecutive", times=TIMES, now_ms=50_000)


@pytest.mark.parametrize(("state", "event"), list(product(Breaker, Event)))
def test_every_pair_is_in_the_table_or_raises(state: Breaker, event: Event) -> None:
    if (state, event) not in TRANSITIONS:
        with pytest.raises(UnlistedTransitionError):
            stepped(state, event)
        return
    after = stepped(state, event)
    assert after.state is TRANSITIONS[state, event]
    assert (after.gen, after.since_ms, after.reason, after.evidence) == (8, 50_000, "because", {"n": 1})
    assert bool(after.open_until_ms) is (after.state is OPEN)


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(Breaker) == set(TRANSITIONS.values())
    assert {event for _, event in TRANSITIONS} == set(Event)


@pytest.mark.parametrize(("opens", "base_ms"), [(1, 5_000), (2, 10_000), (6, 160_000), (7, 300_000), (500, 300_000)])
def test_cooldown_doubles_up_to_its_maximum_within_ten_percent(opens: int, base_ms: int) -> None:
    durations = {opening_ms(f"e{n}", 1, opens, TIMES) for n in range(200)}
    assert min(durations) >= base_ms * 0.9
    assert max(durations) <= base_ms * 1.1
    assert len(durations) > 80
    assert opening_ms("e1", 3, opens, TIMES) == opening_ms("e1", 3, opens, TIMES)


def test_three_failures_in_a_row_open_it_and_say_why() -> None:
    t = Timeline()
    t.at(0).fail().at(10_000).fail().expect(CLOSED).expect_verdict(Verdict.DEGRADED)
    t.at(20_000).fail().expect(OPEN).expect_reason("3 failed probes in a row: status 500, want 2xx").expect_verdict(Verdict.UNHEALTHY)
    [change] = t.transitions
    assert (change.kind, change.old, change.new, change.gen, change.at_ms) == ("breaker", "CLOSED", "OPEN", 1, t.now_ms)
    assert change.evidence == {"failure": "status", "status": 500, "run_length": 3, "failure_threshold": 3}


def test_a_success_between_starts_the_run_again() -> None:
    Timeline().at(0).fail().at(1).fail().at(2).ok().at(3).fail().at(4).fail().expect(CLOSED).at(5).fail().expect(OPEN)


def test_one_failure_is_said_in_the_singular() -> None:
    Timeline(failure_threshold=1).at(0).fail("refused").expect_reason("1 failed probe: refused")


def test_open_ignores_successes_until_its_cooldown_is_over() -> None:
    t = Timeline().trip()
    t.after(1_000).ok().expect(OPEN).after(1_000).ok().expect(OPEN)
    t.cooled().after(-1).ok().expect(OPEN).cooled().ok().expect(HALF_OPEN).expect_verdict(Verdict.DEGRADED)
    assert t.record.breaker.trial_successes == 1
    t.after(MIN_DWELL_MS).ok().expect(CLOSED).expect_verdict(Verdict.HEALTHY)
    assert t.record.warm_up_since_ms == t.now_ms
    assert t.record.breaker.reason == "2 trial probes succeeded in a row"


def test_open_stays_open_on_failures_without_growing_older() -> None:
    t = Timeline().trip()
    until_ms, gen = t.record.breaker.open_until_ms, t.record.breaker.gen
    t.cooled().fail().after(100_000).fail().expect(OPEN)
    assert (t.record.breaker.open_until_ms, t.record.breaker.gen) == (until_ms, gen)


def test_a_failed_trial_opens_again_for_longer() -> None:
    t = Timeline(success_threshold=3).trip()
    t.cooled().ok().after(1).ok().expect(HALF_OPEN).after(1).fail("refused").expect(OPEN).expect_reason("a trial probe failed: refused")
    assert t.record.breaker.opens == 2
    assert 9_000 <= t.record.breaker.open_until_ms - t.now_ms <= 11_000


def test_with_a_success_threshold_of_one_a_single_result_goes_all_the_way() -> None:
    t = Timeline(success_threshold=1).trip().cooled().ok().expect(CLOSED)
    assert [(change.old, change.new, change.gen) for change in t.transitions[1:]] == [("OPEN", "HALF_OPEN", 2), ("HALF_OPEN", "CLOSED", 3)]


def test_inconclusive_and_tilted_results_change_nothing_but_the_last() -> None:
    t = Timeline().at(0).fail().at(1).fail()
    before = t.record
    t.at(2).inconclusive().at(3).tilt().fail().at(4).fail().tilt(False)
    after = t.record
    assert after.probes.last.at_ms == t.now_ms
    expected = moved(replace(before, decided_ms=t.now_ms - 2), 2)  # While tilted no time passes.
    assert replace(after, probes=replace(after.probes, last=expected.probes.last), history=expected.history) == expected
    minute = after.history.minute
    assert (minute.ok, minute.failed, minute.inconclusive) == (0, 2, 3)
    t.at(5).fail().expect(OPEN)


def test_healthy_time_forgives_openings_one_by_one() -> None:
    t = Timeline(success_threshold=1).trip().cooled().ok().trip().cooled().ok().trip().cooled().ok()
    assert t.record.breaker.opens == 3
    t.after(29_999).ok()
    assert t.record.breaker.opens == 3
    t.after(1).ok()
    assert t.record.breaker.opens == 2
    t.after(20_000).fail().after(29_000).ok()
    assert t.record.breaker.opens == 2
    t.after(1_000).ok()
    assert t.record.breaker.opens == 1
    t.after(600_000).ok()
    assert t.record.breaker.opens == 0


@pytest.mark.parametrize("word", [Override.DISABLED, Override.METRICS_ONLY])
def test_a_breaker_that_is_disabled_or_only_counts_records_but_never_trips(word: Override) -> None:
    t = Timeline().set(word)
    for n in range(10):
        t.at(n).fail().expect(CLOSED)
    assert t.record.probes.run_length == 10
    t.set(None).after(1).fail().expect(OPEN)


@pytest.mark.parametrize(
    ("pool", "rule"),
    [
        (POOL, "failure_threshold"),
        (
            Pool(name="shop", active=PolicyChoice("resilience4j", {"sliding_window_size": 3, "minimum_number_of_calls": 3})),
            "failure_rate_threshold",
        ),
    ],
)
def test_metrics_only_tells_once_what_would_have_opened_it(pool: Pool, rule: str) -> None:
    t = Timeline(pool).set(Override.METRICS_ONLY)
    for _ in range(9):
        t.after(1_000).fail().expect(CLOSED)
    t.after(1_000).ok().after(1_000).fail().after(1_000).fail().after(1_000).fail().expect(CLOSED)
    [told] = [change for change in t.transitions if change.kind != "flapping"]
    assert (told.kind, told.old, told.new, told.rule, told.source, told.gen) == ("metrics_only", "CLOSED", "OPEN", rule, "active", 0)
    assert told.reason.startswith("would have opened: ")
    t.set(None).after(1_000).fail().expect(OPEN)
    assert not t.record.would_open


@pytest.mark.parametrize("override", [Override.FORCED_OPEN, Override.FORCED_CLOSED, Override.DRAIN])
def test_the_machine_goes_on_by_evidence_under_an_override(override: Override) -> None:
    Timeline().set(override).trip().cooled().ok().after(MIN_DWELL_MS).ok().expect(CLOSED)


def test_a_result_older_than_the_newest_is_dropped() -> None:
    t = Timeline().at(10_000).ok()
    before = t.record
    t.at(9_000).fail()
    assert t.record is before
    assert t.decision is not None
    assert t.decision.writes == ()


def test_the_fast_interval_is_used_while_a_change_is_pending() -> None:
    t = Timeline(interval_ms=10_000, fast_interval_ms=1_000)
    t.at(0).ok().expect_interval(10_000).after(1).fail().expect_interval(1_000).after(1).ok().expect_interval(10_000)
    t.trip().expect_interval(10_000).after(1).ok().expect_interval(1_000).after(1).fail().expect_interval(10_000)
    t.cooled().ok().expect(HALF_OPEN).expect_interval(1_000).after(MIN_DWELL_MS).ok().expect(CLOSED).expect_interval(10_000)


def test_a_steady_success_is_no_reason_to_weigh() -> None:
    t = Timeline().at(0).ok().expect_weigh(True)
    for n in range(1, 50):
        t.at(n * 10_000).ok(duration_ms=5.0 + n % 3).expect_weigh(False)
    t.after(10_000).fail().expect_weigh(True)
    t.after(10_000).ok().expect_weigh(True)
    t.after(1_000_000).ok(duration_ms=80.0).expect_weigh(True)


@pytest.mark.parametrize(
    ("holder", "written", "names"),
    [(Endpoint, ENDPOINT_FIELDS, ("failure_threshold", "success_threshold")), (Pool, POOL_FIELDS, ("open", "open_max"))],
)
def test_the_short_settings_of_the_policy_of_probes_are_shown_with_their_defaults(
    holder: type[msgspec.Struct], written: Mapping[str, Field], names: tuple[str, ...]
) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(holder)}
    for name in names:
        assert written[name].parse(written[name].example) == defaults[written[name].attribute]
        with pytest.raises(ValueError, match="out of range"):
            written[name].parse("2d" if name.startswith("open") else str(THRESHOLD_MAX + 1))
