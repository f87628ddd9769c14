"""Probes in memory: claims, what decisions start from, commits."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from monitor.core.observation import ResultPace
from monitor.core.schedule import is_claimed
from monitor.store import keys
from monitor.store.memory.pace import move_back
from monitor.store.memory.state import MemoryState
from monitor.store.port import Asked, Claim, Claimed, Commit, Committed, Loaded
from monitor.store.queues import JUDGING_GAP_MS, QUEUES, Queue, at_once, due_time, is_lease


class MemoryProbes(MemoryState):
    """See port.probes."""

    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        home, now_ms = self._slots[slot], self._clock.now_ms()
        ready = (
            (score, endpoint_id)
            for endpoint_id, score in home.due.items()
            if score <= now_ms + horizon_ms and not is_claimed(score, now_ms)
        )
        home.pace.claimed(now_ms)
        items = []
        for score, endpoint_id in heapq.nsmallest(min(limit, keys.CLAIM_MAX), ready):
            home.due[endpoint_id] = home.plans[endpoint_id].lease_from(max(now_ms, score))
            items.append(Claimed(endpoint_id, home.due[endpoint_id], home.plans[endpoint_id].slot_at(score, now_ms)))
        interval_min_ms = min((home.plans[item.id].interval_ms for item in items), default=0)
        return Claim(slot, home.rev, now_ms, tuple(items), interval_min_ms)

    async def ask_probe(self, endpoint_id: str, ver: int) -> Asked:
        slot, now_ms = self._home(endpoint_id)[1], self._clock.now_ms()
        if endpoint_id not in slot.plans:
            return Asked.UNPLANNED
        if slot.records.get(endpoint_id, (0, b""))[0] != ver:
            return Asked.STALE
        score = slot.due.get(endpoint_id)
        if score is not None and is_claimed(score, now_ms):
            return Asked.IN_FLIGHT
        if score is None or score > now_ms:
            slot.due[endpoint_id] = at_once(now_ms)
        return Asked.DUE

    async def due_overdue(self) -> tuple[int, int]:
        now_ms = self._clock.now_ms()
        late = [now_ms - score for slot in self._slots for score in slot.due.values() if score <= now_ms]
        return len(late), max(late, default=0)

    async def judging_since(self, slot: int) -> int:
        pace, now_ms = self._slots[slot].pace, self._clock.now_ms()
        return pace.since_ms if pace.last_ms and abs(now_ms - pace.last_ms) <= JUDGING_GAP_MS else now_ms

    async def result_pace(self, slot: int) -> ResultPace:
        return self._slots[slot].pace.results(self._clock.now_ms())

    async def realign(self, slot: int) -> int:
        home, now_ms = self._slots[slot], self._clock.now_ms()
        if back_ms := home.pace.back_ms:
            self._routing[slot] = 0
        steps = home.pace.take_steps(now_ms)
        queues = self._queue(Queue.REEVALUATE, slot), self._queue(Queue.DIRTY, slot), home.judged
        moved = sum(move_back(scores, steps, now_ms) for scores in queues)
        if slot == 0:
            self._pace.claimed(now_ms)
            steps = self._pace.take_steps(now_ms, back_ms)
            moved += sum(move_back(self._queue(queue), steps, now_ms) for queue, row in QUEUES.items() if not row.per_slot)
            moved += self._move_ends_back(steps, now_ms)
        for endpoint_id, score in home.due.items():
            plan, due_ms = home.plans[endpoint_id], score
            if score > now_ms + plan.interval_ms + plan.lease_ms + plan.delay_ms:
                due_ms = plan.soon(now_ms)
            elif back_ms and score > now_ms and not is_lease(score) and (score - plan.phase_ms) % plan.interval_ms > 1:
                due_ms = min(score, plan.soon(max(now_ms, score - back_ms)))
            if due_ms != score:
                home.due[endpoint_id] = due_ms
                moved += 1
        missing = home.plans.keys() - home.due.keys()
        home.due |= dict.fromkeys(missing, at_once(now_ms))
        return moved + len(missing)

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        homes = [(endpoint_id, self._home(endpoint_id)[1]) for endpoint_id in ids]
        return [
            Loaded(*home.records.get(name, (0, b"")), home.overrides.get(name, b""), home.memories.get(name, b"")) for name, home in homes
        ]

    async def load_with_revisions(self, ids: Sequence[str]) -> tuple[list[Loaded], dict[int, int]]:
        homes = dict(self._home(endpoint_id) for endpoint_id in ids)
        return await self.load(ids), {number: slot.rev for number, slot in homes.items()}

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        answers: list[Committed] = []
        done: set[str] = set()
        for item in items:
            answers.append(Committed.STALE if item.id in done else self._commit(item))
            if answers[-1] is Committed.OK:
                done.add(item.id)
        return answers

    def _commit(self, item: Commit) -> Committed:
        number, slot = self._home(item.id)
        plan, now_ms = slot.plans.get(item.id), self._clock.now_ms()
        if item.id not in slot.specs or (item.token_ms is not None and (plan is None or slot.due[item.id] != item.token_ms)):
            return Committed.LOST
        ver, _ = slot.records.get(item.id, (0, b""))
        if ver != item.ver:
            return Committed.STALE
        slot.records[item.id] = item.next_ver, item.record
        if item.memory is not None:
            slot.memories[item.id] = item.memory
            (slot.alerting.add if item.alerting else slot.alerting.discard)(item.id)
        if item.vouched_ms:
            slot.judged[item.pool] = max(now_ms + item.vouched_ms, slot.judged.get(item.pool, 0))
        if item.token_ms is not None and plan is not None:
            # A result that came before its due time still uses up that slot.
            slot.due[item.id] = plan.after(max(now_ms, item.token_ms - plan.lease_ms), item.interval_ms)
            slot.pace.committed(now_ms)
        if item.reevaluate_ms == 0:
            self._queue(Queue.REEVALUATE, number).pop(item.id, None)
        elif item.reevaluate_ms is not None:
            self._queue(Queue.REEVALUATE, number)[item.id] = due_time(item.reevaluate_ms)
        if item.dirty_at_ms is not None:
            self._mark_dirty(number, item.pool, item.dirty_at_ms)
        for write in item.writes:
            blob = slot.blobs[item.id].setdefault(write.name, bytearray())
            blob.extend(bytes(max(0, write.offset - len(blob))))
            blob[write.offset : write.offset + len(write.data)] = write.data
        for transition in item.transitions:
            self._transitions.append(transition)
            slot.logs[item.id] = [*slot.logs[item.id], transition][-keys.OWN_LOG_LENGTH_MAX :]
        self._write_alerts(number, item.alerts)
        return Committed.OK
