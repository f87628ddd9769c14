"""The pools' part of the store on Redis: what they are weighed from, what is published, which lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from monitor.pool.snapshot import MAX_STALE_MS
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import Epoch, EpochEnded, Member, PoolLoad, Publication, Traffic, refused
from monitor.store.redis.calls import BATCH_MAX, Calls, chunks
from monitor.store.redis.replies import by
from monitor.store.redis.wire import script

_pack = msgspec.msgpack.Encoder().encode
_LAGGING = ("judged", "dirty", "unpublished")


class PoolCalls(Calls):
    """The calls of the port that concern what is published."""

    async def load_pool(self, pool: str) -> PoolLoad:
        """The snapshot is read before the members: a reading that mixes two versions is then refused when it is published."""
        (snapshot, last, traffic), settings, *readings = await self._wire.execute(
            script("load_published", [keys.snapshot(pool), keys.log(pool), keys.traffic(pool)]),
            ("HGET", keys.REGISTRY_POOLS, pool),
            *(
                script("load_pool", [keys.members(slot, pool), *(keys.in_slot(slot, name) for name in ("spec", "rec", "ovr"))])
                for slot in range(self.slots)
            ),
        )
        members = [
            Member(name_of(endpoint_id), spec or b"", keys.split_version(record)[1], override or b"")
            for reading in readings
            for endpoint_id, spec, record, override in zip(*reading, strict=True)
        ]
        return PoolLoad(
            tuple(sorted(members, key=lambda member: member.id)), snapshot or b"", settings or b"", _version(last), _traffic(traffic)
        )

    async def publish(self, publication: Publication) -> Epoch:
        pool, epoch = publication.pool, publication.epoch
        names = [keys.snapshot(pool), keys.log(pool), keys.POOLS, keys.EPOCH, keys.trials(pool), keys.trials_issued(pool)]
        version = epoch.number, publication.ver, epoch.publications
        bodies = pool, publication.delta, publication.snapshot, keys.channel(pool)
        stays_ms = MAX_STALE_MS if publication.tombstone else ""
        rest = keys.LOG_LENGTH_MAX, stays_ms, publication.until_ms, "{}-{}".format(*publication.after)
        terms = _pack([part for endpoint_id, one in publication.trials.items() for part in (endpoint_id, one.text)])
        count = int(await self._wire.run("publish", names, *version, *bodies, *rest, terms, publication.trials_ttl_ms))
        if count < 0:
            raise EpochEnded(f"epoch {epoch.number} has ended")
        if not count:
            raise refused(publication)
        return Epoch(epoch.number, count)

    async def published_pools(self) -> list[str]:
        return sorted(name_of(name) for name in await self._wire.execute_one("SMEMBERS", keys.POOLS))

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        return [
            snapshot or b"" for snapshot in await self._wire.execute(*(script("load_snapshot", [keys.snapshot(pool)]) for pool in pools))
        ]

    async def mark_pools(self, pools: Sequence[str]) -> None:
        for first in range(0, len(pools), BATCH_MAX):
            await self._wire.run("mark_pools", [keys.in_slot(0, "dirty")], *pools[first : first + BATCH_MAX])

    async def not_published(self, pool: str, slot: int) -> None:
        await self._wire.run("unpublished", [keys.in_slot(slot, "unpublished")], pool, keys.ALIVE_TTL_MS)

    async def lagging(self) -> list[str]:
        return (await self._lagging())[1]

    async def alive(self) -> list[str]:
        now_ms, names, judged = await self._lagging()
        vouches = judged and len(names) <= keys.LAGGING_MAX
        await self._wire.run("alive", [keys.ALIVE], now_ms, keys.heartbeat_value(now_ms, names) if vouches else "0", keys.ALIVE_TTL_MS)
        return names

    async def _lagging(self) -> tuple[int, list[str], bool]:
        """The server's time, the pools that lag, and whether there is another pool (or none at all): one exchange while nothing lags."""
        slots = range(self.slots)
        found = await self._wire.execute(
            *(script("lagging", [keys.in_slot(slot, name) for name in _LAGGING], keys.ALIVE_TTL_MS, keys.LAGGING_MAX + 1) for slot in slots)
        )
        now_ms = min(now_ms for now_ms, _, _ in found)
        silent = [(slot, name_of(name)) for slot, (_, names, _) in zip(slots, found, strict=True) for name in names]
        waiting = sorted({name_of(name) for _, _, names in found for name in names})
        if not silent and not waiting:
            return now_ms, [], True
        silent_pools = await self._probed(silent)
        unpublished = {name for name, size in (await self._sizes(waiting)).items() if size}
        names = sorted(silent_pools | unpublished)
        if not names:
            return now_ms, [], True
        judged = await self._wire.execute(
            *(("ZRANGEBYSCORE", keys.in_slot(slot, "judged"), now_ms, "+inf", "LIMIT", 0, keys.LAGGING_MAX + 1) for slot in slots)
        )
        return now_ms, names, not {name_of(name) for some in judged for name in some}.issubset(names)

    async def _probed(self, silent: Sequence[tuple[int, str]]) -> set[str]:
        """Those of the pools (each with its slot) that have a member there that is probed."""
        answers: list[Any] = []
        for batch in chunks(list(range(len(silent)))):
            chosen = [silent[i] for i in batch]
            answers += await self._wire.execute_each(
                *(
                    script("probed", [keys.in_slot(slot, "judged"), keys.members(slot, name), keys.in_slot(slot, "plan")], name)
                    for slot, name in chosen
                )
            )
        return {name for (_, name), probed in zip(silent, answers, strict=True) if probed}  # Where it is refused nobody can say.


def _traffic(flat: Sequence[bytes]) -> Traffic:
    """What is known of a pool's traffic; the field without a name is the pool's own."""
    fields = {name_of(endpoint_id): data for endpoint_id, data in by(2, flat)}
    return Traffic(*keys.split_version(fields.pop("", b"")), fields)


def _version(last_id: bytes) -> tuple[int, int]:
    """Epoch and version of a log's entry; nothing for one that no time can have made (publish.lua begins such a log anew)."""
    epoch, _, ver = last_id.partition(b"-")
    return (int(epoch), int(ver)) if len(epoch) < 16 and len(ver) < 16 else (0, 0)
