"""Who may send now: a service that is slow holds its own messages, and nobody else's.

A message asks for a turn, and has it until its thread has ended, however long ago its sender stopped waiting. One service has a few turns
at most; once half of all are taken, a service that has one already gets no second. A service that has let a message run into its deadline
is slow until it answers one: it has one turn, and all the slow ones together have half of all, so that the others find room.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from concurrent.futures import Future


class Turns:
    """Turns by the name of a service, at most `each_max` for one and `all_max` together. Any thread may call it."""

    def __init__(self, *, each_max: int, all_max: int) -> None:
        self._each_max = each_max
        self._all_max = all_max
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[Future[None]]] = {}
        self._slow: set[str] = set()

    def ask(self, service: str) -> Future[None]:
        """A turn of the service: done as soon as it is there, at once where one is free. Whoever asks calls `end`, whatever happens."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(service, deque()).append(turn)
            self._give()
        return turn

    def end(self, service: str, turn: Future[None]) -> None:
        """Give a turn back, or stop waiting for it."""
        if turn.cancel():
            return
        with self._lock:
            self._taken[service] -= 1
            self._give()

    def judge(self, service: str, *, slow: bool) -> None:
        """Say whether the service has let a message run into its deadline, or has answered one."""
        with self._lock:
            if slow:
                self._slow.add(service)
            elif service in self._slow:
                self._slow.remove(service)
                self._give()

    def taken(self, service: str) -> int:
        """How many turns the service has now."""
        return self._taken[service]

    def _give(self) -> None:
        """Each free turn to the service with the fewest; of equal ones to the one that was not served for longest."""
        while free := [service for service in self._waiting if self._may(service)]:
            service = min(free, key=self._taken.__getitem__)
            queue = self._waiting.pop(service)
            turn = queue.popleft()
            if turn.set_running_or_notify_cancel():
                self._taken[service] += 1
                turn.set_result(None)
            if queue:
                self._waiting[service] = queue  # Behind the others.
        self._taken += Counter()  # Forgets those that have none.

    def _may(self, service: str) -> bool:
        mine, half = self._taken[service], self._all_max // 2
        if service in self._slow:
            return not mine and sum(self._taken[slow] for slow in self._slow) < half
        return mine < self._each_max and self._taken.total() < (half if mine else self._all_max)
