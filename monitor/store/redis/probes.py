"""The probes' part of the store on Redis: claims, what decisions start from, commits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from monitor.core.observation import ResultPace
from monitor.core.schedule import FIRST_WITHIN_MS, LEASE_SLACK_MS, Plan
from monitor.core.tilt import JUMP_MS
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import Asked, Claim, Claimed, Commit, Committed, Loaded
from monitor.store.queues import JUDGING_GAP_MS, KNOWN_MS
from monitor.store.redis.calls import BATCH_MAX, Calls, chunks, grouped
from monitor.store.redis.queues import ONCE, late_ms
from monitor.store.redis.replies import by, number, to_ms
from monitor.store.redis.wire import script

_ASKED = tuple(Asked)
_ANSWERS = (Committed.OK, Committed.STALE, Committed.LOST)
_COMMITTED = ("due", "plan", "rec", "reevaluate", "dirty", "events", "alerts", "spec", "mem", "judged", "alerting", "pace")
_pack = msgspec.msgpack.Encoder().encode


class ProbeCalls(Calls):
    """The calls of the port that concern probes and what their results change."""

    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        names = [keys.in_slot(slot, name) for name in ("due", "plan", "rev", "pace")]
        args = min(limit, keys.CLAIM_MAX), horizon_ms, JUDGING_GAP_MS, JUMP_MS
        now_ms, rev, interval_min_ms, *taken = await self._wire.run("claim_probes", names, *args)
        items = (Claimed(name_of(endpoint_id), token_ms, due_ms) for endpoint_id, token_ms, due_ms in by(3, taken))
        return Claim(slot, rev, now_ms, tuple(items), interval_min_ms)

    async def ask_probe(self, endpoint_id: str, ver: int) -> Asked:
        slot = keys.slot_of(endpoint_id, self.slots)
        names = [keys.in_slot(slot, name) for name in ("due", "plan", "rec")]
        answer: int = await self._wire.run("ask_probe", names, endpoint_id, keys.version_text(ver))
        return _ASKED[answer]

    async def due_overdue(self) -> tuple[int, int]:
        now_ms = await self.now_ms()
        names = [keys.in_slot(slot, "due") for slot in range(self.slots)]
        counts = await self._wire.execute(*(("ZCOUNT", name, "-inf", now_ms) for name in names))
        return sum(counts), max([await late_ms(self._wire, name) for name in names])

    async def judging_since(self, slot: int) -> int:
        time, (last, since) = await self._wire.execute(("TIME",), ("HMGET", keys.in_slot(slot, "pace"), "last", "since"))
        now_ms = to_ms(time)
        return number(since) or now_ms if abs(now_ms - number(last)) <= JUDGING_GAP_MS else now_ms

    async def result_pace(self, slot: int) -> ResultPace:
        fields = "result", "gap", "resumed"
        time, (last, gap, resumed) = await self._wire.execute(("TIME",), ("HMGET", keys.in_slot(slot, "pace"), *fields))
        now_ms, resumed_ms = to_ms(time), number(resumed)
        known = resumed_ms <= now_ms + JUMP_MS  # No pause can have ended later.
        return ResultPace(max(0, now_ms - number(last)), number(gap) if known else 0, resumed_ms if known else 0)

    async def realign(self, slot: int) -> int:
        queues = [keys.in_slot(slot, name) for name in ("pace", "reevaluate", "dirty", "judged", "routing")]
        back_ms = number(await self._wire.execute_one("HGET", queues[0], "back"))
        moves = [script("realign", queues, 3, JUMP_MS, "0", 0, KNOWN_MS)]
        if slot == 0:
            once = [*ONCE.values(), keys.ALERT_ENDS]
            moves.append(script("realign", [keys.ALERTS_PACE, *once], len(once), JUMP_MS, "1", back_ms, KNOWN_MS))
        moved: int = sum(await self._wire.execute(*moves))
        names, cursor = [keys.in_slot(slot, "due"), keys.in_slot(slot, "plan")], b"0"
        while True:
            cursor, now_moved, broken = await self._wire.run("realign_probes", names, cursor, BATCH_MAX, FIRST_WITHIN_MS, back_ms)
            moved += now_moved
            await self._replan(names, list(map(name_of, broken)))
            if cursor == b"0":
                return moved + await self._requeue(*names)

    async def _requeue(self, due: str, plan: str) -> int:
        queued, planned = await self._wire.execute(("ZCARD", due), ("HLEN", plan))
        missing, cursor = 0, b"0"
        while queued < planned:
            cursor, found = await self._wire.run("requeue", [due, plan], cursor, BATCH_MAX)
            missing += found
            if cursor == b"0":
                break
        return missing

    async def _replan(self, names: Sequence[str], ids: Sequence[str]) -> None:
        """Make good the plans of endpoints that cannot be read."""
        entries = await self.endpoint_entries(ids) if ids else {}
        for endpoint_id in ids:
            entry = entries.get(endpoint_id)
            if entry is None or entry.value is not None:
                plan = str(Plan.of(entry.value)) if entry and entry.value and not entry.value.paused else ""
                await self._wire.run("replan", names, endpoint_id, plan)

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        return (await self.load_with_revisions(ids))[0]

    async def load_with_revisions(self, ids: Sequence[str]) -> tuple[list[Loaded], dict[int, int]]:
        slots = [keys.slot_of(endpoint_id, self.slots) for endpoint_id in ids]
        batches = [batch for members in grouped(slots).values() for batch in chunks(members)]
        replies = await self._wire.execute(
            *(
                script("load", [keys.in_slot(slots[batch[0]], name) for name in ("rec", "ovr", "mem", "rev")], *(ids[i] for i in batch))
                for batch in batches
            )
        )
        revisions: dict[int, int] = {}
        answers = [Loaded(0, b"", b"")] * len(ids)
        for batch, (records, overrides, memories, revision) in zip(batches, replies, strict=True):
            revisions[slots[batch[0]]] = number(revision)
            for i, record, override, memory in zip_longest(batch, records, overrides, memories):
                if record or override or memory:
                    answers[i] = Loaded(*keys.split_version(record), override or b"", memory or b"")
        return answers, revisions

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        slots = [keys.slot_of(item.id, self.slots) for item in items]
        batches = [batch for members in grouped(slots).values() for batch in chunks(members)]
        replies = await self._wire.execute(*(_commit(slots[batch[0]], [items[i] for i in batch]) for batch in batches))
        answers = [Committed.LOST] * len(items)
        for batch, reply in zip(batches, replies, strict=True):
            for i, answer in zip(batch, reply, strict=True):
                answers[i] = _ANSWERS[answer]
        return answers


def _commit(slot: int, items: Sequence[Commit]) -> Sequence[Any]:
    fixed = [keys.in_slot(slot, name) for name in _COMMITTED]
    own: list[str] = []
    heads: list[object] = []
    bodies: list[bytes] = []
    for item in items:
        heads += (
            item.token_ms or False,
            keys.version_text(item.ver),
            False if item.reevaluate_ms is None else item.reevaluate_ms,
            item.pool,
            False if item.dirty_at_ms is None else item.dirty_at_ms,
            item.interval_ms,
            item.vouched_ms,
            False if item.memory is None else int(item.alerting),
            len(item.transitions),
            len(item.alerts),
            len(item.writes),
        )
        heads += [write.offset for write in item.writes]
        bodies.append(b"%013d%b" % (item.next_ver, item.record))
        if item.memory is not None:
            bodies.append(item.memory)
        if item.transitions:
            own.append(keys.of_endpoint(slot, "log", item.id))
        own += [keys.of_endpoint(slot, write.name, item.id) for write in item.writes]
        bodies += [write.data for write in item.writes]
        bodies += item.transitions
        bodies += item.alerts
    ids = _pack([item.id for item in items])
    caps = keys.EVENTS_LENGTH_MAX, keys.ALERTS_LENGTH_MAX, keys.OWN_LOG_LENGTH_MAX
    return script("commit", fixed + own, *caps, LEASE_SLACK_MS, ids, _pack(heads), *bodies)
