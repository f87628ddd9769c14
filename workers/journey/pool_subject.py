"""A pool as a subject: its rules are evaluated, and its own transitions told, on what is published of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from alert_rules.rules.evaluate import evaluate
from alert_rules.rules.facts import pool_facts
from alert_rules.rules.memory import Memory, decode_memory, encode_memory, pool_subject
from alert_rules.rules.rule import RuleSet
from monitor.pool.compose import NOTHING_TOLD, decode_pool_record, decode_snapshot, encode_pool_record, tell
from monitor.pool.snapshot import Snapshot
from monitor.store.port import Store
from workers.journey.quarantine import Quarantine
from workers.journey.subject import Subjects, Told, heard

EMPTIED = "the pool has no endpoint any more"


class PoolSubject:
    """Any number of them may run beside each other, for the same pools."""

    def __init__(self, *, store: Store, rules: RuleSet, route: Callable[[int], None], quarantine: Quarantine) -> None:
        self._store = store
        self._rules = rules
        self._quarantine = quarantine
        self._subjects = Subjects(store=store, route=route, quarantine=quarantine)

    async def tell(self, name: str, snapshot: Snapshot, at_ms: int, *, tilted: bool = False) -> int:
        """Tell what is true of the pool at that time and was not told yet; return when its rules are to be evaluated again, or 0.
        While `tilted` no time passes for them.

        The record is read before the snapshot, so that whoever publishes later also evaluates later.
        """

        async def decide(held: bytes, turn: int) -> Told:
            return self._told(name, held, await self._newest(name, snapshot) if turn else snapshot, at_ms, tilted)

        return await self._subjects.tell(pool_subject(name), at_ms, decide)

    async def _newest(self, name: str, snapshot: Snapshot) -> Snapshot:
        (data,) = await self._store.snapshots([name])
        published = self._quarantine.read("snapshot", name, data, decode_snapshot)
        return max(filter(None, (snapshot, published)), key=lambda one: (one.epoch, one.ver))

    def _told(self, name: str, held: bytes, snapshot: Snapshot, at_ms: int, tilted: bool) -> Told:
        """What the rules and the pool's own transitions make of what is published."""
        subject = pool_subject(name)
        record = self._quarantine.read("subject", subject, held, decode_pool_record) or NOTHING_TOLD
        memory = self._quarantine.read("memory", subject, bytes(record.memory), decode_memory) or Memory()
        after, transitions = tell(name, record, snapshot, at_ms)
        if not snapshot.endpoints:  # The pool is no more: its record goes, and what fired has ended.
            return Told(b"", memory=Memory() if memory.firing else None, transitions=transitions, ended=EMPTIED)
        evaluation = heard(subject, evaluate(self._rules, {"pool": name}, None, pool_facts(snapshot), memory, at_ms, tilted=tilted))
        after = msgspec.structs.replace(after, memory=msgspec.Raw(encode_memory(evaluation.memory)))
        asserted = evaluation.memory if evaluation.asserts else None
        return Told(encode_pool_record(after), bool(evaluation.memory.states), asserted, transitions, evaluation.wake_ms)
