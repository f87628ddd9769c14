"""The store as it is seen over a bad network: a call is a request, its work at the server, and an answer, each with a fate of its own.

The server is the shipped store in memory. What a process has sent reaches it even when the process dies meanwhile; what a caller
has given up may still be done, seconds later.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this folder.
from collections.abc import Callable, Coroutine
from typing import Any

from monitor.core.errors import StoreError
from monitor.store.port import Store
from tests.simulation.virtual import NOBODY, Life, VirtualLoop
from tests.simulation.weather import Weather

TIMEOUT_S = 5.0
"""How long a caller waits for an answer."""
NOT_REPEATED = frozenset({"count", "now_ms", "register", "renew", "set_override"})
"""All other calls are sent once more over a connection that broke; the second answer is the one that counts."""


def run_now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the store in memory waited")


class Network:
    """Between all processes and the one store."""

    def __init__(self, loop: VirtualLoop, store: Store, rng: random.Random, weather: Weather) -> None:
        self.loop = loop
        self.store = store
        self.weather = weather
        self.calm = False
        self.down_until_s = 0.0
        """Until then the server hangs: what is sent to it waits."""
        self.task: asyncio.Task[Any] | None = None
        """The work that asked for what the server is doing."""
        self.listeners: list[tuple[Life, asyncio.Future[Any], Callable[[int], None]]] = []
        self._rng = rng

    def hang(self, seconds: float) -> None:
        """Let the server stand still; what callers send meanwhile is done when it goes on, or was lost with its connection."""
        self.down_until_s = self.loop.time() + seconds
        self.cut()

    def wire(self) -> float:
        """How long a packet is on its way, seconds."""
        slow = not self.calm and self._rng.random() < self.weather.store_slow
        return self._rng.uniform(0.1, 2.0) if slow else self._rng.uniform(0.0001, 0.003)

    def hits(self, probability: float) -> bool:
        """Whether something bad happens that the weather holds likely by so much; in the calm nothing does."""
        return not self.calm and self._rng.random() < probability

    def send(self, life: Life, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Send a request; returns where its answer will be. A process has many connections: its requests overtake each other."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        now_s = self.loop.time()
        arrives_s = now_s + self.wire()
        if self.hits(self.weather.store_refusal):
            self._at(now_s + self.wire(), self._fail, answer, "refused")
            return answer
        self._at(now_s + TIMEOUT_S, self._fail, answer, "no answer in time")
        if arrives_s < self.down_until_s:
            if self._rng.random() < 0.5:
                return answer  # Lost with its connection.
            arrives_s = self.down_until_s + self._rng.uniform(0, 0.2)
        elif self.hits(self.weather.store_late):
            arrives_s += self._rng.uniform(TIMEOUT_S, 4 * TIMEOUT_S)
        task = asyncio.current_task()
        if method not in NOT_REPEATED and self.hits(self.weather.store_repeat):  # Its connection is lost, and it is sent again.
            self._at(arrives_s, self._serve, life, task, method, args, kwargs, None)
            arrives_s += self._rng.uniform(0, 0.3)
        self._at(arrives_s, self._serve, life, task, method, args, kwargs, answer)
        return answer

    def _serve(
        self,
        life: Life,
        task: asyncio.Task[Any] | None,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: asyncio.Future[Any] | None,
    ) -> None:
        """Do what is asked for; `answer` None: nobody hears of it."""
        self.task = task
        result, error = None, None
        try:
            result = run_now(getattr(self.store, method)(*args, **kwargs))
        except Exception as raised:
            error = raised
        finally:
            self.task = None
        life.served_s = self.loop.time()
        if answer is None:
            return
        if self.hits(self.weather.store_silence):
            self._at(self.loop.time() + self.wire(), self._fail, answer, "the answer was lost")
        else:
            self._at(self.loop.time() + self.wire(), _give, answer, result, error)

    # Hints ----------------------------------------------------------------------------------------------------------

    def hint(self, slot: int) -> None:
        """Alert events were written to a slot's stream: tell who listens, unless the hint is lost."""
        for life, listening, heard in self.listeners:
            if life.alive and not listening.done() and not self.hits(self.weather.hint_loss):
                self.loop.call_later(self.wire(), heard, slot, context=life.context())

    def cut(self) -> None:
        """Break every subscription, as an outage and a restart do."""
        for _, listening, _ in self.listeners:
            _give(listening, None, StoreError("simulated: the connection was lost"))
        self.listeners.clear()

    def _fail(self, answer: asyncio.Future[Any], why: str) -> None:
        _give(answer, None, StoreError(f"simulated: {why}"))

    def _at(self, when_s: float, do: Callable[..., None], *args: Any) -> None:
        self.loop.call_at(when_s, do, *args, context=NOBODY)


def _give(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
        answer.exception()  # A caller that died meanwhile never asks.
    else:
        answer.set_result(result)


class Link:
    """One process's connection: the store, as this process can reach it."""

    def __init__(self, network: Network, life: Life) -> None:
        self._network = network
        self._life = life

    @property
    def slots(self) -> int:
        return self._network.store.slots

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        await self.streams()  # A connection that cannot be made fails as any other call does.
        ends: asyncio.Future[None] = self._network.loop.create_future()
        self._network.listeners.append((self._life, ends, heard))
        listening()
        await ends

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if not self._life.alive:
                raise GeneratorExit  # Its coroutine is being taken apart.
            return await self._network.send(self._life, method, args, kwargs)

        setattr(self, method, call)
        return call
