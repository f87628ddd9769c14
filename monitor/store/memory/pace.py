"""The pace of claims and of results in memory: since when they come without a gap, and by how much the time has stepped back meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from monitor.core.observation import ResultPace
from monitor.core.schedule import LEASE_SLACK_MS
from monitor.core.tilt import JUMP_MS
from monitor.store.queues import JUDGING_GAP_MS, KNOWN_MS, is_lease


class Step(NamedTuple):
    """A step back of the time: what lies beyond `from_ms` was put there by the wrong time, and moves back by `back_ms`; of leases those
    that lie ahead by more than `lease_max_ms`."""

    from_ms: int
    back_ms: int
    lease_max_ms: int


@dataclass(slots=True)
class Pace:
    """The pace of claims and of results in one slot."""

    last_ms: int = 0
    """When the last claim came; 0 before the first."""
    since_ms: int = 0
    back_ms: int = 0
    """By how much the time has stepped back, until `take_steps`."""
    left: Step | None = None
    """The last step, until everybody knows of it."""
    known_ms: int = 0
    """When everybody does."""
    result_ms: int = 0
    """When the last result was committed; 0 before the first."""
    gap_ms: int = 0
    resumed_ms: int = 0

    def claimed(self, now_ms: int) -> None:
        back_ms = self.last_ms - now_ms
        stepped = self.last_ms > 0 and back_ms > JUMP_MS
        if stepped:
            self.back_ms += back_ms
        if stepped or not self.last_ms or -back_ms > JUDGING_GAP_MS:
            self.since_ms = now_ms
        self.last_ms = now_ms

    def committed(self, now_ms: int) -> None:
        gap_ms = now_ms - self.result_ms
        if gap_ms > LEASE_SLACK_MS:
            self.gap_ms, self.resumed_ms = gap_ms, now_ms
        self.result_ms = now_ms

    def results(self, now_ms: int) -> ResultPace:
        known = self.resumed_ms <= now_ms + JUMP_MS  # No pause can have ended later.
        return ResultPace(max(0, now_ms - self.result_ms), self.gap_ms if known else 0, self.resumed_ms if known else 0)

    def take_steps(self, now_ms: int, seen_elsewhere_ms: int = 0) -> list[Step]:
        """What is to be made good now, once: what was written by a wrong time before everybody knew of the last step, and a new one."""
        back_ms = max(self.back_ms, seen_elsewhere_ms)
        back_ms += back_ms % 2
        steps = []
        if self.left and (back_ms or now_ms >= self.known_ms):
            steps.append(self.left)
            self.left = None
        if back_ms:
            self.back_ms, self.left, self.known_ms = 0, Step(now_ms + back_ms - 1, back_ms, KNOWN_MS), now_ms + KNOWN_MS
            steps.append(Step(now_ms, back_ms, 0))
        return steps


def move_back(scores: dict[str, int], steps: Sequence[Step], now_ms: int) -> int:
    """Move what lies ahead back by each step, to the present at the earliest, each score as even or odd as it was; return how many."""
    moved = 0
    for from_ms, back_ms, lease_max_ms in steps:
        ahead = [m for m, score in scores.items() if score > from_ms and (not is_lease(score) or score > now_ms + lease_max_ms)]
        for member in ahead:
            scores[member] = max(now_ms - (now_ms + scores[member]) % 2, scores[member] - back_ms)
        moved += len(ahead)
    return moved
