"""The rules about Watchkeeper itself: what its processes and queues say, held against the rules like any other subject."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from alert_rules.notify.sent import decode_sent
from alert_rules.rules.evaluate import evaluate
from alert_rules.rules.facts import system_facts
from alert_rules.rules.memory import SYSTEM_SUBJECT, Memory, assertion, decode_memory, encode_assertion, encode_memory
from alert_rules.rules.rule import RuleSet
from monitor.clock import Clock
from monitor.core.errors import Stale
from monitor.core.process import decode_process
from monitor.core.record import next_version
from monitor.store.port import Store
from monitor.store.queues import Queue
from workers.journey.quarantine import Quarantine

DEAD_WINDOW_MS = 3_600_000
DEAD_EXAMINED = 100
ROUNDS_MAX = 8

log = logging.getLogger(__name__)


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
        self._route = route
        self._quarantine = quarantine

    async def evaluate(self) -> None:
        """Evaluate the rules about Watchkeeper itself: lag, missing processes, notifications given up, data that cannot be read."""
        facts = await self._facts()
        for _ in range(ROUNDS_MAX):
            ver, data = await self._store.load_subject(SYSTEM_SUBJECT)
            memory = self._quarantine.read("subject", SYSTEM_SUBJECT, data, decode_memory) or Memory()
            await self._quarantine.flush()
            now_ms = self._clock.now_ms()
            evaluation = evaluate(self._rules, {}, None, facts, memory, now_ms)
            for error in evaluation.errors:
                log.warning("rule error on the system: %s", error)
            if evaluation.memory is memory and not evaluation.asserts:
                return
            next_ver = next_version(ver, now_ms)
            alerts = [encode_assertion(assertion(SYSTEM_SUBJECT, next_ver, evaluation.memory, now_ms))] if evaluation.asserts else []
            if await self._store.commit_subject(SYSTEM_SUBJECT, ver, next_ver, encode_memory(evaluation.memory), alerts=alerts):
                if alerts:
                    self._route(0)
                return
        raise Stale("what is told of the system kept changing")

    async def _facts(self) -> dict[str, Any]:
        store, read = self._store, self._quarantine.read
        hearts = await store.heartbeats(self._heartbeat_age_max_ms)
        processes = [process for name, data in hearts.items() if (process := read("heartbeat", name, data, decode_process)) is not None]
        parts = Counter(process.part for process in processes)
        overdue, overdue_ms = await store.due_overdue()
        return system_facts(
            overdue_endpoints=overdue,
            overdue_ms=overdue_ms,
            lateness_ms=max((process.lateness_p99_ms for process in processes), default=0),
            workers=parts["worker"],
            alert_workers=parts["alert-worker"],
            beats=parts["beat"],
            groups_overdue_ms=await store.overdue(Queue.GROUPS, 0),
            deliveries_overdue_ms=await store.overdue(Queue.DELIVERIES, 0),
            tilted=any(process.tilted for process in processes),
            dead_deliveries=await self._dead_deliveries(self._clock.now_ms() - DEAD_WINDOW_MS),
            pools_lagging=len(await store.lagging()),
            unreadable=await store.aside_count(),
        )

    async def _dead_deliveries(self, since_ms: int) -> int:
        """How many of the last DEAD_EXAMINED notifications were given up since then."""
        found = [self._quarantine.read("notification", cursor, data, decode_sent) for cursor, data in await self._store.sent(DEAD_EXAMINED)]
        return sum(one is not None and not one.delivered and not one.superseded and one.at_ms >= since_ms for one in found)
