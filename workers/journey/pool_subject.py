"""A pool as a subject: its rules are evaluated, and its own transitions told, on what is published of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from alert_rules.rules.evaluate import OperatorsWord, evaluate
from alert_rules.rules.facts import pool_facts, unsaid_pool_facts
from alert_rules.rules.memory import Ended, Memory, decode_memory, encode_memory, pool_subject
from alert_rules.rules.rule import RuleSet
from monitor.core.overlay import WITHDRAWN
from monitor.core.record import Breaker
from monitor.pool.compose import NOTHING_TOLD, MemberState, decode_pool_record, decode_snapshot, encode_pool_record, tell
from monitor.pool.snapshot import Snapshot
from monitor.pool.traffic.shapes import NO_HEAD, TrafficHead, decode_head
from monitor.store.port import Store
from workers.journey import words
from workers.journey.members import read_states
from workers.journey.quarantine import Quarantine
from workers.journey.subject import Subjects, Told, heard

EMPTIED = "the pool has no endpoint any more"
MEMBERS_LEFT = "endpoints have left the pool"
STILL_DOWN = "no endpoint of the pool is fit for traffic any more"
BY_WORD = "by an operator's word"
"""Stands in the place of the words until they are read."""


class PoolSubject:
    """Any number of them may run beside each other, for the same pools."""

    def __init__(self, *, store: Store, rules: RuleSet, route: Callable[[int], None], quarantine: Quarantine) -> None:
        self._store = store
        self._rules = rules
        self._quarantine = quarantine
        self._subjects = Subjects(store=store, route=route, quarantine=quarantine)

    async def tell(
        self, name: str, snapshot: Snapshot, states: Sequence[MemberState], traffic: TrafficHead, at_ms: int, *, tilted: bool = False
    ) -> int:
        """Tell what is true of the pool at that time and was not told yet; return when its rules are to be evaluated again, or 0.
        While `tilted` no time passes for them.

        The record is read before the snapshot and the members, so that whoever publishes later also evaluates later.
        """

        async def decide(held: bytes, turn: int) -> Told:
            newest = await self._newest(name, snapshot) if turn else (snapshot, states, traffic)
            return await self._told(name, held, *newest, at_ms, tilted)

        return await self._subjects.tell(pool_subject(name), at_ms, decide)

    async def _newest(self, name: str, snapshot: Snapshot) -> tuple[Snapshot, Sequence[MemberState], TrafficHead]:
        load = await self._store.load_pool(name)
        published = self._quarantine.read("snapshot", name, load.snapshot, decode_snapshot)
        newest = max(filter(None, (snapshot, published)), key=lambda one: (one.epoch, one.ver))
        traffic = self._quarantine.read("traffic", name, load.traffic.head, decode_head) or NO_HEAD
        return newest, read_states(self._quarantine, load.members, newest), traffic

    async def _told(  # noqa: PLR0917 - a pool is this.
        self, name: str, held: bytes, snapshot: Snapshot, states: Sequence[MemberState], traffic: TrafficHead, at_ms: int, tilted: bool
    ) -> Told:
        """What the rules and the pool's own transitions make of what is published."""
        subject = pool_subject(name)
        record = self._quarantine.read("subject", subject, held, decode_pool_record) or NOTHING_TOLD
        memory = self._quarantine.read("memory", subject, bytes(record.memory), decode_memory) or Memory()
        after, transitions = tell(name, record, snapshot, at_ms)
        size = len(snapshot.endpoints)
        left = max(record.size - size, 0)
        if not size:  # The pool is no more: its record goes, and what fired has ended.
            reason = ": ".join([EMPTIED, *await self._gone(name, 1)]) if memory.firing else ""
            ended = tuple(Ended(state, reason) for state in memory.firing)
            return Told(b"", memory=Memory() if ended else None, transitions=transitions, ended=ended)
        word = OperatorsWord(BY_WORD, unsaid_pool_facts(snapshot, left, traffic)) if left or any(map(_spoken_of, states)) else None
        facts = pool_facts(snapshot, {state.endpoint.id for state in states if _outdated(state)}, traffic)
        evaluation = heard(subject, evaluate(self._rules, {"pool": name}, None, facts, memory, at_ms, word=word, tilted=tilted))
        ended = evaluation.ended
        if any(one.reason == BY_WORD for one in ended):
            text = await self._words(name, states, left)
            ended = tuple(one._replace(reason=text) if one.reason == BY_WORD else one for one in ended)
        if facts["pool_failed"] and not facts["pool_admitted"]:  # What is true no more has become worse, and nothing is resolved.
            ended = tuple(one if one.reason else one._replace(reason=STILL_DOWN) for one in ended)
        alerting = bool(evaluation.memory.states)
        after = msgspec.structs.replace(after, size=size if alerting else 0, memory=msgspec.Raw(encode_memory(evaluation.memory)))
        asserted = evaluation.memory if evaluation.asserts else None
        return Told(encode_pool_record(after), alerting, asserted, transitions, evaluation.wake_ms, ended)

    async def _gone(self, name: str, at_most: int) -> list[str]:
        return (await words.left(self._store, name))[:at_most]

    async def _words(self, name: str, states: Sequence[MemberState], left: int) -> str:
        """What operators say of those members that take no traffic, or would take none; and who took others away."""
        gone = (await self._gone(name, left) or [MEMBERS_LEFT]) if left else []
        spoken = [(state.endpoint.id, state) for state in states if _spoken_of(state)]
        told = [f"{one} {await self._word(state)}" for one, state in spoken[: words.TOLD_MAX]]
        return words.listed([*gone, *told, *(one for one, _ in spoken[words.TOLD_MAX :])])

    async def _word(self, state: MemberState) -> str:
        return words.overridden(state.override) if state.override else await words.paused(self._store, state.endpoint.id)


def _spoken_of(state: MemberState) -> bool:
    """Whether it would be told of as failed, or admitted, if operators had said nothing."""
    if state.record.breaker.state is not Breaker.CLOSED:
        return state.override is not None or _outdated(state)
    return state.override is not None and state.override.override in WITHDRAWN


def _outdated(state: MemberState) -> bool:
    return state.endpoint.paused or state.record.outdated
