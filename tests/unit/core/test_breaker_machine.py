"""Any order of results, waits, tilts and overrides: what must hold of the breaker at every moment."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.core.breaker import TRANSITIONS
from monitor.core.decide import decide
from monitor.core.endpoint import Pool
from monitor.core.outcome import Outcome
from monitor.core.overlay import may_open
from monitor.core.record import Breaker, Override, moved
from monitor.core.recovery import MIN_DWELL_MS
from monitor.core.subject import Subject
from tests.timeline import CLOSED, HALF_OPEN, OPEN, Timeline, result

EDGES = {(old.value, new.value) for (old, _), new in TRANSITIONS.items()}


class BreakerMachine(RuleBasedStateMachine):
    @initialize(failures=st.integers(1, 4), successes=st.integers(1, 4))
    def begin(self, failures: int, successes: int) -> None:
        self.t = Timeline(Pool(name="shop", open_max_ms=40_000), failure_threshold=failures, success_threshold=successes)
        self.before = self.t.record
        self.seen: Outcome | None = None

    @rule(outcome=st.sampled_from(Outcome), wait_ms=st.integers(0, 20_000))
    def probe(self, outcome: Outcome, wait_ms: int) -> None:
        t = self.t.after(wait_ms)
        self.before, self.seen = t.record, outcome
        subject = Subject(t.endpoint, t.pool, t.override)
        twice = [decide(subject, t.record, result(outcome, t.now_ms), t.now_ms, tilted=t.tilted) for _ in "ab"]
        assert twice[0] == twice[1]
        t.saw(outcome)

    @rule(override=st.sampled_from([None, *Override]))
    def operate(self, override: Override | None) -> None:
        self.t.set(override)
        self.seen = None

    @rule(tilted=st.booleans())
    def tilt(self, tilted: bool) -> None:
        self.t.tilt(tilted)
        self.seen = None

    @precondition(lambda self: self.t.record.breaker.state is OPEN)
    @rule()
    def cool(self) -> None:
        self.t.now_ms = max(self.t.now_ms, self.t.record.breaker.open_until_ms)
        self.seen = None

    @invariant()
    def changes_follow_the_table_and_count(self) -> None:
        changes = [change for change in self.t.transitions if change.kind == "breaker"]
        assert all((change.old, change.new) in EDGES and change.reason for change in changes)
        assert [change.gen for change in changes] == list(range(1, len(changes) + 1))
        assert all(new.old == old.new for old, new in pairwise(changes))
        assert self.t.record.breaker.gen == len(changes)

    @invariant()
    def openings_end_and_never_end_early(self) -> None:
        breaker = self.t.record.breaker
        if breaker.state is OPEN:
            assert 0 < breaker.open_until_ms - breaker.since_ms <= 44_000
        if self.before.breaker.state is OPEN and breaker.state is not OPEN:
            assert self.seen is None or self.t.now_ms >= self.before.breaker.open_until_ms

    @invariant()
    def each_state_fits_its_run(self) -> None:
        state, t = self.t.record, self.t
        if self.seen is None or t.tilted or self.seen is Outcome.INCONCLUSIVE:
            by_ms = state.decided_ms - self.before.decided_ms if t.tilted else 0
            assert self.seen is None or state.breaker == moved(self.before, by_ms).breaker
            return
        if state.breaker.state is CLOSED and may_open(t.override):
            assert state.probes.run_outcome is Outcome.SUCCESS or state.probes.run_length < t.endpoint.failure_threshold
        if state.breaker.state is HALF_OPEN:
            dwells = t.now_ms - state.breaker.since_ms < MIN_DWELL_MS
            assert dwells or state.breaker.trial_successes < t.endpoint.success_threshold
        if not may_open(t.override) and self.before.breaker.state is not OPEN:
            assert state.breaker.state is not Breaker.OPEN


BreakerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
TestBreakerMachine = BreakerMachine.TestCase
