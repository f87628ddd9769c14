"""The rules about Watchkeeper itself: what its processes and queues say, held against the rules like any other subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from alert_rules.notify.sent import decode_sent
from alert_rules.rules.evaluate import evaluate
from alert_rules.rules.facts import system_facts
from alert_rules.rules.memory import SYSTEM_SUBJECT, Memory, decode_memory, encode_memory
from alert_rules.rules.rule import RuleSet
from monitor.clock import Clock
from monitor.core.parts import PartName
from monitor.core.process import decode_process
from monitor.store.port import Store
from monitor.store.queues import Queue
from workers.journey.quarantine import Quarantine
from workers.journey.subject import Subjects, Told, heard

DEAD_WINDOW_MS = 3_600_000
DEAD_EXAMINED = 100


class SystemStep:
    """Watchkeeper as a subject like any other; one per process that evaluates its rules."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rules: RuleSet,
        heartbeat_age_max_ms: int,
        route: Callable[[int], None],
        quarantine: Quarantine,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._heartbeat_age_max_ms = heartbeat_age_max_ms
        self._quarantine = quarantine
        self._beat_ms: int | None = None
        self._from_ms = 0
        self._subjects = Subjects(store=store, route=route, quarantine=quarantine)

    async def beat(self) -> None:
        """Evaluate with a heartbeat of this process. After a pause in which it could write none the others get the time for one first."""
        now_ms = self._clock.monotonic_ms()
        if self._beat_ms is not None and now_ms - self._beat_ms > self._heartbeat_age_max_ms:
            self._from_ms = now_ms + self._heartbeat_age_max_ms
        self._beat_ms = now_ms
        if now_ms >= self._from_ms:
            await self.evaluate()

    async def evaluate(self) -> None:
        """Evaluate the rules about Watchkeeper itself: lag, missing processes, notifications given up, data that cannot be read."""
        at_ms, tilted = self._clock.now_ms(), self._clock.tilted
        facts = await self._facts(at_ms)

        async def decide(held: bytes, _turn: int) -> Told:
            memory = self._quarantine.read("subject", SYSTEM_SUBJECT, held, decode_memory) or Memory()
            evaluation = heard(SYSTEM_SUBJECT, evaluate(self._rules, {}, None, facts, memory, at_ms, tilted=tilted))
            body = held if evaluation.memory is memory else encode_memory(evaluation.memory)
            return Told(body, bool(evaluation.memory.states), evaluation.memory if evaluation.asserts else None, ended=evaluation.ended)

        await self._subjects.tell(SYSTEM_SUBJECT, at_ms, decide)

    async def _facts(self, at_ms: int) -> dict[str, Any]:
        store, read = self._store, self._quarantine.read
        hearts = await store.heartbeats(self._heartbeat_age_max_ms)
        processes = [process for name, data in hearts.items() if (process := read("heartbeat", name, data, decode_process)) is not None]
        parts = Counter(process.part for process in processes)
        overdue, overdue_ms = await store.due_overdue()
        return system_facts(
            overdue_endpoints=overdue,
            overdue_ms=overdue_ms,
            lateness_ms=max((process.lateness_p99_ms for process in processes), default=0),
            workers=parts[PartName.WORKER],
            alert_workers=parts[PartName.ALERT_WORKER],
            beats=parts[PartName.BEAT],
            groups_overdue_ms=await store.overdue(Queue.GROUPS, 0),
            deliveries_overdue_ms=await store.overdue(Queue.DELIVERIES, 0),
            tilted=any(process.tilted for process in processes),
            dead_deliveries=await self._dead_deliveries(at_ms - DEAD_WINDOW_MS),
            pools_lagging=len(await store.lagging()),
            unreadable=await store.aside_count(),
        )

    async def _dead_deliveries(self, since_ms: int) -> int:
        """How many of the last DEAD_EXAMINED notifications were given up since then."""
        found = [self._quarantine.read("notification", cursor, data, decode_sent) for cursor, data in await self._store.sent(DEAD_EXAMINED)]
        return sum(one is not None and not one.delivered and not one.superseded and one.at_ms >= since_ms for one in found)
