"""Probes and consumers' reports move one breaker, in any order and by any policies: what must hold whatever they say."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.core.active import gather
from monitor.core.breaker import TRANSITIONS, Event
from monitor.core.decide import decide
from monitor.core.endpoint import PolicyChoice, Pool
from monitor.core.moves import due_ms
from monitor.core.observation import Observation, TimePassed, TrafficRuling
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.policies.choice import resolved
from monitor.core.record import Override, Record, Transition, decode_record, encode_record
from monitor.core.recovery import MIN_DWELL_MS, TRIALS_SLACK_MS
from monitor.core.subject import Subject
from tests.timeline import CLOSED, HALF_OPEN, OPEN, Timeline, result

EDGES = {(old.value, new.value) for (old, _), new in TRANSITIONS.items()}
KINDS = ("none", "consecutive", "hystrix", "resilience4j", "envoy", "cusum")
ACTIVE = st.sampled_from(
    [
        None,
        PolicyChoice("consecutive", {}),
        PolicyChoice("hystrix", {"request_volume_threshold": 2, "rolling_window_ms": 60_000, "sleep_window_ms": 700}),
        PolicyChoice("resilience4j", {"sliding_window_size": 3, "minimum_number_of_calls": 2, "wait_duration_in_open_state_ms": 900}),
        PolicyChoice(
            "resilience4j",
            {
                "sliding_window_type": "time",
                "sliding_window_size": 60,
                "minimum_number_of_calls": 1,
                "wait_duration_in_open_state_ms": 300,
                "automatic_transition_from_open_to_half_open_enabled": True,
                "max_wait_duration_in_half_open_state_ms": 1_500,
            },
        ),
        PolicyChoice("envoy", {"consecutive_5xx": 2, "max_ejection_percent": 100, "base_ejection_time_ms": 400, "interval_ms": 1_000}),
        PolicyChoice("cusum", {}),
    ]
)
PASSIVE = st.sampled_from([None, *(PolicyChoice(kind, {}) for kind in KINDS)])


class TwoJudges(RuleBasedStateMachine):
    @initialize(active=ACTIVE, passive=PASSIVE, failures=st.integers(1, 3), successes=st.integers(1, 3), open_ms=st.integers(1, 6_000))
    def begin(self, active: PolicyChoice | None, passive: PolicyChoice | None, failures: int, successes: int, open_ms: int) -> None:
        pool = Pool(name="shop", active=active, passive=passive, open_ms=open_ms, open_max_ms=20_000)
        self.t = Timeline(pool, interval_ms=1_000, timeout_ms=500, failure_threshold=failures, success_threshold=successes)
        self.log: list[tuple[Subject, Observation, int]] = []
        self.decided: list[list[Transition]] = []

    def observe(self, observation: Observation) -> None:
        t = self.t
        chosen = resolved(t.endpoint, t.pool).active
        t.gathered = gather(chosen, [(t.endpoint.id, t.record.breaker, t.record.active)], t.now_ms)
        self.log.append((t.subject, observation, t.now_ms))
        before = t.record
        t.record = decode_record(encode_record(t.record))  # As it comes from the store.
        t.observe(observation)
        assert t.decision is not None
        if t.decision.refused:
            assert t.record == before
        changes = [change for change in t.decision.transitions if change.kind == "breaker"]
        if changes:
            self.decided.append(changes)

    @rule(outcome=st.sampled_from(Outcome), failure=st.sampled_from(FailureClass), wait_ms=st.integers(0, 3_000))
    def probe(self, outcome: Outcome, failure: FailureClass, wait_ms: int) -> None:
        at_ms = self.t.after(wait_ms).now_ms
        status = {"status": 500} if failure is FailureClass.STATUS else {}
        self.observe(result(outcome, at_ms, **({"failure": failure, **status} if outcome is Outcome.FAILURE else {})))

    @rule(event=st.sampled_from(Event), wait_ms=st.integers(0, 3_000), late=st.integers(0, 1), seq=st.integers(0, 2), hard=st.booleans())
    def judge(self, event: Event, wait_ms: int, late: int, seq: int, hard: bool) -> None:
        t = self.t.after(wait_ms)
        opens = event in {Event.TRIP, Event.TRIAL_FAILED}
        self.observe(
            TrafficRuling(
                seq=t.record.traffic_seq + seq,
                gen=t.record.breaker.gen - late,
                event=event,
                policy="cusum",
                rule="cusum",
                reason="calls",
                hard=hard,
                open_ms=1_000 if opens else 0,
                opens=1 if opens else None,
            )
        )

    @precondition(lambda self: self.t.record.breaker.state is CLOSED)
    @rule()
    def trip(self) -> None:
        self.judge(Event.TRIP, 1, 0, 1, False)

    @precondition(lambda self: self.t.record.breaker.state is OPEN)
    @rule()
    def cool(self) -> None:
        """Its time ends, while probes succeed."""
        t = self.t
        for _ in range(t.endpoint.success_threshold):
            self.probe(Outcome.SUCCESS, FailureClass.STATUS, 1_000)
        t.now_ms = max(t.now_ms, t.record.breaker.open_until_ms)
        self.observe(TimePassed())

    @rule(wait_ms=st.integers(0, 70_000))
    def wait(self, wait_ms: int) -> None:
        self.t.after(wait_ms)
        self.observe(TimePassed())

    @precondition(lambda self: due_ms(self.t.subject, self.t.record, self.t.now_ms))
    @rule()
    def wake(self) -> None:
        self.t.now_ms = due_ms(self.t.subject, self.t.record, self.t.now_ms)
        self.observe(TimePassed())

    @rule(override=st.sampled_from([None, *Override]))
    def operate(self, override: Override | None) -> None:
        self.t.set(override)

    @rule(reported_ms=st.sampled_from([None, 0, 10**15]))
    def report(self, reported_ms: int | None) -> None:
        self.t.reported_ms = reported_ms

    @rule(active=ACTIVE, passive=PASSIVE)
    def apply(self, active: PolicyChoice | None, passive: PolicyChoice | None) -> None:
        self.t.pool = Pool(name="shop", active=active, passive=passive, open_ms=self.t.pool.open_ms, open_max_ms=20_000)

    @invariant()
    def changes_follow_the_table_and_say_whose_they_are(self) -> None:
        changes = [change for decided in self.decided for change in decided]
        assert all((change.old, change.new) in EDGES for change in changes)
        assert all(change.reason and change.source and change.policy and change.rule for change in changes)
        assert [change.gen for change in changes] == list(range(1, len(changes) + 1))
        assert all(new.old == old.new for old, new in pairwise(changes))
        assert self.t.record.breaker.gen == len(changes)
        assert not changes or self.t.record.breaker.state.value == changes[-1].new

    @invariant()
    def a_change_is_not_followed_too_soon_unless_it_opens(self) -> None:
        """What one observation leads to is one change."""
        for before, after in pairwise(self.decided):
            assert after[-1].new == OPEN or after[0].at_ms - before[-1].at_ms >= MIN_DWELL_MS

    @invariant()
    def users_trials_end(self) -> None:
        """And time comes back for it."""
        t, breaker = self.t, self.t.record.breaker
        assert breaker.trials is None or breaker.state is HALF_OPEN
        if breaker.trials is None:
            return
        trials = breaker.trials
        assert trials.until_ms - breaker.since_ms == trials.permitted * trials.lease_ms + TRIALS_SLACK_MS
        assert trials.concurrent <= 4
        if t.record.decided_ms == t.now_ms:
            assert t.now_ms < due_ms(t.subject, t.record, t.now_ms) <= max(trials.until_ms, t.now_ms + 1)

    @invariant()
    def time_never_comes_back_at_once(self) -> None:
        due = due_ms(self.t.subject, self.t.record, self.t.now_ms)
        assert due == 0 or due > self.t.now_ms

    def teardown(self) -> None:
        """The same evidence, the same record."""
        if not hasattr(self, "log"):
            return
        record, transitions = Record(), []
        for subject, observation, at_ms in self.log:
            decision = decide(subject, record, observation, at_ms)
            record = decision.record
            transitions += decision.transitions
        assert record == self.t.record
        assert transitions == self.t.transitions


TwoJudges.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestTwoJudges = TwoJudges.TestCase
