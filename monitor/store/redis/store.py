"""The store on a Redis-protocol server (Redis 6.2 or later, Valkey).

Every change of an endpoint, of a queue or of a group is one script (lua/), fenced by a token or a version, with all its keys
declared and under one hash tag. What a script packs into one argument is MessagePack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from monitor.core.errors import StoreError
from monitor.pool.snapshot import MAX_STALE_MS
from monitor.store import keys
from monitor.store.port import Claim, Claimed, Commit, Committed, Lease, Loaded, Member, PoolLoad, Publication, Queue
from monitor.store.redis.alerts import AlertCalls
from monitor.store.redis.cursor import Merge
from monitor.store.redis.registry import RegistryCalls
from monitor.store.redis.wire import Wire, script

_BATCH_MAX = 1_000
_ANSWERS = (Committed.OK, Committed.STALE, Committed.LOST)
_ONCE = {Queue.GROUPS: keys.GROUPS, Queue.DELIVERIES: keys.DELIVERIES}
_COMMITTED = ("due", "plan", "rec", "reevaluate", "dirty", "events", "alerts", "spec", "mem", "judged")
_pack = msgspec.msgpack.Encoder().encode


class RedisStore(RegistryCalls, AlertCalls):
    """See port.Store. Use it from one event loop at a time, between `open` and `close`.

    `slots` is the number that the data set must have; None takes whatever it has, and SLOTS_DEFAULT where it is made.
    """

    def __init__(self, url: str, *, slots: int | None = None, timeout_s: float = 5.0) -> None:
        self.slots = slots or keys.SLOTS_DEFAULT
        self._slots_wanted = slots
        self._url = url
        self._timeout_s = timeout_s
        self._open_wire: Wire | None = None
        self._epoch = (-1, 0)

    @property
    def _wire(self) -> Wire:
        if self._open_wire is None:
            raise StoreError("the store is not open")
        return self._open_wire

    # Life -------------------------------------------------------------------------------------------------------
    async def open(self, *, create: bool = False) -> None:
        wire = Wire(self._url, self._timeout_s)
        try:
            if create:
                await wire.execute_one("SETNX", keys.SLOTS, self._slots_wanted or keys.SLOTS_DEFAULT)
            self.slots = keys.read_slots(await wire.execute_one("GET", keys.SLOTS), self._slots_wanted)
        except BaseException:
            await wire.close()
            raise
        self._open_wire, self._epoch = wire, (-1, 0)

    async def close(self) -> None:
        wire, self._open_wire = self._open_wire, None
        if wire is not None:
            await wire.close()

    async def now_ms(self) -> int:
        return _ms(await self._wire.execute_one("TIME"))

    async def epoch(self) -> int:
        """Asked of the server once per connection made: a restart of the server breaks them all."""
        connections, epoch = self._epoch
        if connections != self._wire.connections_made:
            epoch = int(await self._wire.run("epoch", [keys.EPOCH]))
            self._epoch = self._wire.connections_made, epoch
        return epoch

    # Probes -----------------------------------------------------------------------------------------------------
    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        names = [keys.in_slot(slot, name) for name in ("due", "plan", "rev")]
        now_ms, rev, *taken = await self._wire.run("claim_probes", names, min(limit, keys.CLAIM_MAX), horizon_ms)
        items = (Claimed(endpoint_id.decode(), token_ms, due_ms) for endpoint_id, token_ms, due_ms in _by(3, taken))
        return Claim(slot, rev, now_ms, tuple(items))

    async def realign(self, slot: int) -> int:
        names = [keys.in_slot(slot, "due"), keys.in_slot(slot, "plan")]
        cursor, moved = b"0", 0
        while True:
            cursor, now_moved = await self._wire.run("realign", names, cursor, _BATCH_MAX)
            moved += now_moved
            if cursor == b"0":
                return int(moved)

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        slots = [keys.slot_of(endpoint_id, self.slots) for endpoint_id in ids]
        batches = [batch for members in _grouped(slots).values() for batch in _chunks(members)]
        replies = await self._wire.execute(
            *(
                script("load", [keys.in_slot(slots[batch[0]], name) for name in ("rec", "ovr", "mem")], *(ids[i] for i in batch))
                for batch in batches
            )
        )
        answers = [Loaded(0, b"", b"")] * len(ids)
        for batch, (records, overrides, memories) in zip(batches, replies, strict=True):
            for i, record, override, memory in zip(batch, records, overrides, memories, strict=True):
                if record or override or memory:
                    answers[i] = Loaded(*keys.split_version(record), override or b"", memory or b"")
        return answers

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        slots = [keys.slot_of(item.id, self.slots) for item in items]
        batches = [batch for members in _grouped(slots).values() for batch in _chunks(members)]
        replies = await self._wire.execute(*(_commit(slots[batch[0]], [items[i] for i in batch]) for batch in batches))
        answers = [Committed.LOST] * len(items)
        for batch, reply in zip(batches, replies, strict=True):
            for i, answer in zip(batch, reply, strict=True):
                answers[i] = _ANSWERS[answer]
        return answers

    # Work queues ------------------------------------------------------------------------------------------------
    async def ready(self) -> list[tuple[Queue, int]]:
        queues = [(queue, slot) for slot in range(self.slots) for queue in Queue if slot == 0 or queue not in _ONCE]
        firsts = (("ZRANGE", _queue(queue, slot), 0, 0, "WITHSCORES") for queue, slot in queues)
        time, *heads = await self._wire.execute(("TIME",), *firsts)
        return [at for at, head in zip(queues, heads, strict=True) if head and float(head[1]) <= _ms(time)]

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int) -> list[Lease]:
        taken = await self._wire.run("claim", [_queue(queue, slot)], min(limit, keys.CLAIM_MAX), lease_ms)
        return [Lease(member.decode(), token_ms, due_ms) for member, token_ms, due_ms in _by(3, taken)]

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        return bool(await self._wire.run("finish", [_queue(queue, slot)], member, token_ms, "" if next_ms is None else next_ms))

    async def overdue(self, queue: Queue, slot: int) -> int:
        return await self._late(_queue(queue, slot))

    async def due_overdue(self) -> tuple[int, int]:
        now_ms = await self.now_ms()
        names = [keys.in_slot(slot, "due") for slot in range(self.slots)]
        counts = await self._wire.execute(*(("ZCOUNT", name, "-inf", now_ms) for name in names))
        return sum(counts), max([await self._late(name) for name in names])

    async def _late(self, name: str) -> int:
        time, first = await self._wire.execute(("TIME",), ("ZRANGE", name, 0, 0, "WITHSCORES"))
        return max(0, _ms(time) - int(float(first[1]))) if first else 0

    # Pools ------------------------------------------------------------------------------------------------------
    async def load_pool(self, pool: str) -> PoolLoad:
        """The snapshot is read before the members: a reading that mixes two versions is then refused when it is published."""
        snapshot, *readings = await self._wire.execute(
            ("GET", keys.snapshot(pool)),
            *(
                script("load_pool", [keys.members(slot, pool), keys.in_slot(slot, "rec"), keys.in_slot(slot, "ovr")])
                for slot in range(self.slots)
            ),
        )
        members = [
            Member(endpoint_id.decode(), keys.split_version(record)[1], override or b"")
            for ids, records, overrides in readings
            for endpoint_id, record, override in zip(ids, records, overrides, strict=True)
        ]
        return PoolLoad(tuple(sorted(members, key=lambda member: member.id)), snapshot or b"")

    async def publish(self, publication: Publication) -> bool:
        pool, version = publication.pool, f"{publication.epoch}-{publication.ver}"
        names = [keys.snapshot(pool), keys.log(pool)]
        bodies = publication.delta, publication.snapshot
        published = await self._wire.run("publish", names, version, *bodies, keys.channel(pool), keys.LOG_LENGTH_MAX)
        if published:
            await self._wire.execute_one("SADD", keys.POOLS, pool)
        return bool(published)

    async def unpublish(self, pool: str) -> None:
        await self._wire.execute(
            ("SREM", keys.POOLS, pool),
            ("PEXPIRE", keys.snapshot(pool), MAX_STALE_MS),
            ("PEXPIRE", keys.log(pool), MAX_STALE_MS),
        )

    async def alive(self) -> None:
        await self._wire.run("alive", [keys.ALIVE], keys.ALIVE_TTL_MS)

    # Reading ----------------------------------------------------------------------------------------------------
    async def samples(self, endpoint_id: str, name: str) -> bytes:
        slot = keys.slot_of(endpoint_id, self.slots)
        return await self._wire.execute_one("GET", keys.of_endpoint(slot, name, endpoint_id)) or b""

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        return [snapshot or b"" for snapshot in await self._wire.execute(*(("GET", keys.snapshot(pool)) for pool in pools))]

    async def events(self, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        merge = Merge(self.slots, after)
        streams = [keys.in_slot(slot, "events") for slot in range(self.slots)]
        if after:
            found = await self._wire.execute(
                *(("XRANGE", stream, f"({at}", "+", "COUNT", limit) for stream, at in zip(streams, merge.positions, strict=True))
            )
            return merge.first([_entries(entries) for entries in found], limit)
        found = await self._wire.execute(*(("XREVRANGE", stream, "+", "-", "COUNT", limit) for stream in streams))
        return merge.last([_entries(reversed(entries)) for entries in found], limit)

    async def heartbeat(self, name: str, process: bytes) -> None:
        marker, _, held = await self._wire.execute(
            ("SETNX", keys.SLOTS, self.slots), script("heartbeat", [keys.PROCESSES], name, process), ("GET", keys.SLOTS)
        )
        if not marker:
            keys.read_slots(held, self.slots)

    async def deregister(self, name: str) -> None:
        await self._wire.execute_one("HDEL", keys.PROCESSES, name)

    async def heartbeats(self, max_age_ms: int) -> dict[str, bytes]:
        alive = await self._wire.run("heartbeats", [keys.PROCESSES], max_age_ms)
        return {name.decode(): process for name, process in _by(2, alive)}

    async def count(self, increments: Mapping[str, int]) -> None:
        if increments:
            await self._wire.execute(*(("HINCRBY", keys.COUNTERS, name, by) for name, by in increments.items()), repeat=False)

    async def counters(self) -> dict[str, int]:
        held = await self._wire.execute_one("HGETALL", keys.COUNTERS)
        return {name.decode(): int(value) for name, value in _by(2, held)}


def _commit(slot: int, items: Sequence[Commit]) -> Sequence[Any]:
    fixed = [
        keys.in_slot(slot, name) for name in ("due", "plan", "rec", "reevaluate", "dirty", "events", "alerts", "spec", "mem", "judged")
    ]
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
            item.fresh_until_ms,
            item.memory is not None,
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
    return script(
        "commit", fixed + own, keys.EVENTS_LENGTH_MAX, keys.ALERTS_LENGTH_MAX, ids, _pack(heads), *bodies, keys.OWN_LOG_LENGTH_MAX
    )


def _queue(queue: Queue, slot: int) -> str:
    return _ONCE.get(queue) or keys.in_slot(slot, queue.value)


def _ms(time: Sequence[bytes]) -> int:
    return int(time[0]) * 1_000 + int(time[1]) // 1_000


def _by(size: int, flat: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    return zip(*[iter(flat)] * size, strict=True)


def _grouped(slots: Sequence[int]) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = defaultdict(list)
    for i, slot in enumerate(slots):
        grouped[slot].append(i)
    return grouped


def _chunks(members: list[int]) -> Iterable[list[int]]:
    return (members[first : first + _BATCH_MAX] for first in range(0, len(members), _BATCH_MAX))


def _entries(entries: Iterable[Any]) -> list[tuple[str, bytes]]:
    return [(entry_id.decode(), fields[1]) for entry_id, fields in entries]
