"""Tests read as timelines: `Timeline().at(0).fail().at(10_000).fail().expect(OPEN)`, on a clock that moves only when told to."""

from __future__ import annotations

from typing import Any, Self

from monitor.core.decide import Decision, decide
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.observation import Observation
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.record import Breaker, Override, Record, Transition, Verdict
from monitor.core.subject import Subject
from monitor.core.verdict import verdict

START_MS = 1_700_000_000_000
CLOSED, OPEN, HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN


def result(outcome: Outcome, at_ms: int, **fields: Any) -> Result:
    """A result that was scheduled, started and finished at one moment, unless told otherwise."""
    return Result(outcome=outcome, **{"at_ms": at_ms, "started_ms": at_ms, "scheduled_ms": at_ms, "duration_ms": 5.0, **fields})


class Timeline:
    """One endpoint's life. Times are milliseconds since the timeline's start; settings are the endpoint's or the pool's."""

    def __init__(self, pool: Pool | None = None, **settings: Any) -> None:
        self.pool = pool or Pool(name="shop")
        self.endpoint = Endpoint(id="shop-1", url="http://127.0.0.1:9001/", pool=self.pool.name, **settings)
        self.record = Record()
        self.override: Override | None = None
        self.reported_ms: int | None = None
        self.gathered: Any = None
        self.tilted = False
        self.now_ms = START_MS
        self.transitions: list[Transition] = []
        self.decision: Decision | None = None

    @property
    def subject(self) -> Subject:
        return Subject(self.endpoint, self.pool, self.override, self.reported_ms, self.gathered)

    def at(self, ms: int) -> Self:
        self.now_ms = START_MS + ms
        return self

    def after(self, ms: int) -> Self:
        self.now_ms += ms
        return self

    def cooled(self) -> Self:
        """Move to the moment at which the open breaker lets trials in."""
        self.now_ms = self.record.breaker.open_until_ms
        return self

    def saw(self, outcome: Outcome, **fields: Any) -> Self:
        return self.observe(result(outcome, self.now_ms, **fields))

    def observe(self, observation: Observation) -> Self:
        """Let anything happen, whatever its source."""
        self.decision = decide(self.subject, self.record, observation, self.now_ms, tilted=self.tilted)
        self.record = self.decision.record
        self.transitions.extend(self.decision.transitions)
        return self

    def ok(self, **fields: Any) -> Self:
        return self.saw(Outcome.SUCCESS, **fields)

    def fail(self, text: str = "status 500, want 2xx", **fields: Any) -> Self:
        return self.saw(Outcome.FAILURE, **{"text": text, "failure": FailureClass.STATUS, "status": 500, **fields})

    def inconclusive(self) -> Self:
        return self.saw(Outcome.INCONCLUSIVE, text="loop lag")

    def set(self, override: Override | None) -> Self:
        self.override = override
        return self

    def tilt(self, tilted: bool = True) -> Self:
        self.tilted = tilted
        return self

    def trip(self) -> Self:
        """Fail, 1 ms apart, until the threshold is reached."""
        for _ in range(self.endpoint.failure_threshold):
            self.after(1).fail()
        return self.expect(OPEN)

    def expect(self, state: Breaker) -> Self:
        assert self.record.breaker.state is state, self.transitions
        return self

    def expect_verdict(self, wanted: Verdict) -> Self:
        assert verdict(self.record, no_data=False) is wanted
        return self

    def expect_reason(self, text: str) -> Self:
        assert self.record.breaker.reason == text
        return self

    def expect_interval(self, ms: int) -> Self:
        assert self.decision is not None
        assert self.decision.interval_ms == ms
        return self

    def expect_weigh(self, wanted: bool) -> Self:
        assert self.decision is not None
        assert self.decision.weigh is wanted
        return self
