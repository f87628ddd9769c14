"""A pool judged by cusum, played as `breaker replay` plays it."""

from __future__ import annotations

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.cusum import Cusum
from monitor.core.policies.cusum_state import Memory, Settings
from monitor.core.policies.policy import Change, Member, Shown, Step
from monitor.core.record import BreakerState

POLICY = Cusum()
SUCCESS, FAILURE, TIMEOUT = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT


class PoolOfCusum:
    def __init__(self, *names: str, **settings: float) -> None:
        self.settings = Settings(**settings)
        self.members: dict[str, Member[Memory]] = {
            name: Member(name, BreakerState(), POLICY.begin(self.settings, 0)) for name in names or ("a",)
        }
        self.changes: list[tuple[str, Change]] = []
        self.events: list[str] = []

    def take(self, name: str, step: Step[Memory]) -> Step[Memory]:
        self.members[name] = step.member
        self.changes += [(name, change) for change in step.changes]
        self.events += step.events
        return step

    def pass_time(self, until_ms: int) -> None:
        while due := [due_ms for member in self.members.values() if 0 < (due_ms := POLICY.due_ms(self.settings, member)) <= until_ms]:
            now_ms = min(due)
            for name, member in self.members.items():
                if POLICY.due_ms(self.settings, member) == now_ms:
                    self.take(name, POLICY.tick(self.settings, member, now_ms))
            self.compare(now_ms)

    def compare(self, now_ms: int) -> None:
        for name, member in self.members.items():
            self.take(name, POLICY.compare(self.settings, member, self.gathered(now_ms), now_ms))

    def gathered(self, now_ms: int) -> object:
        return POLICY.gather(self.settings, self.members.values(), now_ms)

    def call(self, at_ms: int, name: str, call: Call) -> None:
        self.pass_time(at_ms)
        self.take(name, POLICY.observe(self.settings, self.members[name], call, self.gathered(at_ms), at_ms))

    def second(self, at_s: int, name: str, *, good: int = 0, bad: int = 0, timeouts: int = 0, slow: int = 0) -> None:
        """What a report says of one second: 10 ms for a good call, 1 s for a slow one."""
        for call in (Call(SUCCESS, good, 10.0), Call(SUCCESS, slow, 1_000.0), Call(FAILURE, bad), Call(TIMEOUT, timeouts)):
            if call.count:
                self.call(at_s * 1000, name, call)

    def acquire(self, at_ms: int, name: str = "a") -> bool | None:
        return self.take(name, POLICY.acquire(self.settings, self.members[name], at_ms)).permitted

    def state(self, name: str = "a") -> str:
        return self.members[name].state

    def shows(self, at_ms: int, name: str = "a") -> Shown:
        return POLICY.shows(self.settings, self.members[name], at_ms)

    def states(self) -> str:
        return " ".join(self.state(name) for name in self.members)
