"""The broker: messages get lost, come twice, late and in another order, and go to whoever takes them."""

from __future__ import annotations

import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this folder.
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.virtual import NOBODY, VirtualLoop
from tests.simulation.weather import Weather
from workers.journey.dispatch import TaskMessage

RETRY_S = 0.1


class Taker(Protocol):
    def take(self, message: TaskMessage) -> None: ...


class Broker:
    """Holds no message back for good, unless it loses it."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, weather: Weather, takers: Callable[[str], list[Any]]) -> None:
        self.calm = False
        self.waiting: Counter[str] = Counter()
        """How many messages nobody takes, by queue."""
        self._loop = loop
        self._rng = rng
        self._weather = weather
        self._takers = takers

    def post(self, message: TaskMessage) -> None:
        weather = self._weather
        copies = 1
        if not self.calm and self._rng.random() < weather.message_loss:
            copies = 0
        elif not self.calm and self._rng.random() < weather.message_double:
            copies = 2
        for _ in range(copies):
            late = not self.calm and self._rng.random() < weather.message_late
            delay_s = self._rng.uniform(1.0, weather.late_max_s) if late else self._rng.expovariate(100.0)
            self._loop.call_later(delay_s, self._arrive, message, context=NOBODY)

    def _arrive(self, message: TaskMessage, waited: int = 0) -> None:
        takers = self._takers(message.queue)
        self.waiting[message.queue] += (not takers) - waited
        if not takers:
            self._loop.call_later(RETRY_S, self._arrive, message, 1, context=NOBODY)
            return
        self._rng.choice(takers).take(message)
