"""The rules about Watchkeeper itself: what its processes and queues say, held against the rules like any other subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from alert_rules.rules.facts import system_facts
from alert_rules.rules.rule import RuleSet, evaluate
from monitor.clock import Clock
from monitor.core.record import next_version
from monitor.store.port import Store
from monitor.store.queues import Queue
from workers.journey.alerting import decode_sent
from workers.journey.publish import decode_states, encode_states

SYSTEM = "system"
DEAD_WINDOW_MS = 3_600_000
DEAD_LOOKED_AT = 100

_encode = msgspec.json.Encoder().encode


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One of our processes as it describes itself (store.keys: procs). Times are those of the shared timeline."""

    part: str
    host: str
    pid: int
    location: str = ""
    started_ms: int
    at_ms: int
    lateness_p50_ms: int = 0
    lateness_p99_ms: int = 0
    tilted: bool = False


decode_process = msgspec.json.Decoder(Process).decode
encode_process = msgspec.json.Encoder().encode


async def look_at_ourselves(store: Store, clock: Clock, rules: RuleSet, max_age_ms: int, route: Callable[[int], None]) -> None:
    """Let the rules about Watchkeeper itself look: lag, missing processes, notifications given up."""
    processes = [decode_process(data) for data in (await store.heartbeats(max_age_ms)).values()]
    parts = Counter(process.part for process in processes)
    overdue, overdue_ms = await store.due_overdue()
    facts = system_facts(
        overdue_endpoints=overdue,
        overdue_ms=overdue_ms,
        lateness_ms=max((process.lateness_p99_ms for process in processes), default=0),
        workers=parts["worker"],
        alert_workers=parts["alert-worker"],
        beats=parts["beat"],
        groups_overdue_ms=await store.overdue(Queue.GROUPS, 0),
        deliveries_overdue_ms=await store.overdue(Queue.DELIVERIES, 0),
        tilted=any(process.tilted for process in processes),
        dead_deliveries=await _dead_deliveries(store, clock.now_ms() - DEAD_WINDOW_MS),
    )
    ver, data = await store.load_subject(SYSTEM)
    states = decode_states(data)
    evaluation = evaluate(rules, {}, None, facts, states, clock.now_ms())
    if evaluation.states == states and not evaluation.events:
        return
    if (
        await store.commit_subject(
            SYSTEM, ver, next_version(ver, clock.now_ms()), encode_states(evaluation.states), alerts=list(map(_encode, evaluation.events))
        )
        and evaluation.events
    ):
        route(0)


async def _dead_deliveries(store: Store, since_ms: int) -> int:
    """How many of the last DEAD_LOOKED_AT notifications were given up since then."""
    sent = [decode_sent(data) for _, data in await store.sent(DEAD_LOOKED_AT)]
    return sum(not one.delivered and one.at_ms >= since_ms for one in sent)
