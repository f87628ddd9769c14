"""The pace of claims and of results in memory: since when they come without a gap, and by how much the time has stepped back meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.observation import ResultPace
from monitor.core.schedule import LEASE_SLACK_MS
from monitor.core.tilt import JUMP_MS
from monitor.store.queues import JUDGING_GAP_MS


@dataclass(slots=True)
class Pace:
    """The pace of claims and of results in one slot."""

    last_ms: int = 0
    """When the last claim came; 0 before the first."""
    since_ms: int = 0
    back_ms: int = 0
    """By how much the time has stepped back, until `take_back`."""
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
        return ResultPace(max(0, now_ms - self.result_ms), self.gap_ms, self.resumed_ms)

    def take_back(self) -> int:
        taken_ms, self.back_ms = self.back_ms, 0
        return taken_ms


def move_back(scores: dict[str, int], back_ms: int, now_ms: int) -> int:
    """Move what lies ahead back by so much, to the present at the earliest, each score as even or odd as it was; return how many."""
    ahead = [member for member, score in scores.items() if score > now_ms] if back_ms else []
    for member in ahead:
        scores[member] = max(now_ms - (now_ms + scores[member]) % 2, scores[member] - back_ms - back_ms % 2)
    return len(ahead)
