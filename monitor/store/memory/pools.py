"""Pools in memory: what they are weighed from, what is published, which lag."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.pool.snapshot import MAX_STALE_MS
from monitor.store import keys
from monitor.store.memory.trials import MemoryTrials
from monitor.store.port import Epoch, EpochEnded, Member, PoolLoad, Publication, Traffic, refused
from monitor.store.queues import Queue


class MemoryPools(MemoryTrials):
    """See port.pools."""

    async def load_pool(self, pool: str) -> PoolLoad:
        members = [
            Member(endpoint_id, self._spec(endpoint_id), slot.records.get(endpoint_id, (0, b""))[1], slot.overrides.get(endpoint_id, b""))
            for slot in self._slots
            for endpoint_id in slot.members(pool)
        ]
        settings = self._pools.get(pool, b"")
        (snapshot,) = await self.snapshots([pool])
        return PoolLoad(
            tuple(sorted(members, key=lambda member: member.id)), snapshot, settings, self._logged(pool), self._traffic.get(pool, Traffic())
        )

    async def publish(self, publication: Publication) -> Epoch:
        pool, epoch = publication.pool, publication.epoch
        if self._epoch.number != epoch.number or self._epoch.publications < epoch.publications:
            raise EpochEnded(f"epoch {epoch.number} has ended")
        late = 0 < publication.until_ms < self._clock.now_ms()
        last = self._logged(pool)
        if late or last != publication.after or (epoch.number, publication.ver) <= last:
            raise refused(publication)
        self._published[pool] = publication
        self._expiry.pop(pool, None)
        if publication.tombstone:
            self.published.discard(pool)
            self._expiry[pool] = self._clock.now_ms() + MAX_STALE_MS
        else:
            self.published.add(pool)
        self._publish_trials(publication)
        self._epoch = Epoch(epoch.number, self._epoch.publications + 1)
        return self._epoch

    async def published_pools(self) -> list[str]:
        return sorted(self.published)

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        found = (self._publication(pool) for pool in pools)
        return [publication.snapshot if publication else b"" for publication in found]

    async def mark_pools(self, pools: Sequence[str]) -> None:
        for pool in pools:
            self._mark_dirty(0, pool, self._clock.now_ms())

    async def not_published(self, pool: str, slot: int) -> None:
        now_ms = self._clock.now_ms()
        first_ms, last_ms = self._slots[slot].unpublished.get(pool, (now_ms, now_ms))
        self._slots[slot].unpublished[pool] = first_ms if now_ms - last_ms <= keys.ALIVE_TTL_MS else now_ms, now_ms

    async def lagging(self) -> list[str]:
        now_ms = self._clock.now_ms()
        lagging = set()
        for number, slot in enumerate(self._slots):
            for pool in [pool for pool, until_ms in slot.judged.items() if until_ms < now_ms]:
                if any(endpoint_id in slot.plans for endpoint_id in slot.members(pool)):
                    lagging.add(pool)
                else:
                    del slot.judged[pool]
            waiting = {pool for pool, at_ms in self._queue(Queue.DIRTY, number).items() if at_ms < now_ms - keys.ALIVE_TTL_MS}
            slot.unpublished = {pool: held for pool, held in slot.unpublished.items() if now_ms - held[1] <= keys.ALIVE_TTL_MS}
            waiting |= {pool for pool, (first_ms, last_ms) in slot.unpublished.items() if last_ms - first_ms >= keys.ALIVE_TTL_MS}
            lagging |= {pool for pool in waiting if any(slot.members(pool) for slot in self._slots)}
        return sorted(lagging)

    async def alive(self) -> list[str]:
        now_ms, names = self._clock.now_ms(), await self.lagging()
        judged = {pool for slot in self._slots for pool, until_ms in slot.judged.items() if until_ms >= now_ms}
        vouches = not names or (not judged.issubset(names) and len(names) <= keys.LAGGING_MAX)
        self.heartbeat_value = keys.heartbeat_value(now_ms, names) if vouches else "0"
        return names

    def _logged(self, pool: str) -> tuple[int, int]:
        held = self._publication(pool)
        return (held.epoch.number, held.ver) if held else (0, 0)

    def _publication(self, pool: str) -> Publication | None:
        if pool in self._expiry and self._expiry[pool] <= self._clock.now_ms():
            del self._published[pool], self._expiry[pool]
        return self._published.get(pool)
