"""The store on a Redis-protocol server (Redis 6.2 or later, Valkey).

Every change of an endpoint, of a queue or of a group is one script (lua/), fenced by a token or a version, with all its keys
declared and under one hash tag. What a script packs into one argument is MessagePack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from monitor.core.errors import DECODE_ERRORS, Stale, StoreError, StoreRefusal
from monitor.core.schedule import Plan
from monitor.core.tilt import JUMP_MS
from monitor.pool.snapshot import MAX_STALE_MS
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import (
    NO_EPOCH,
    Claim,
    Claimed,
    Commit,
    Committed,
    Epoch,
    EpochEnded,
    Lease,
    Loaded,
    Member,
    PoolLoad,
    Publication,
    SetAside,
    refused,
)
from monitor.store.queues import EARLY_MS, JUDGING_GAP_MS, QUEUES, Queue
from monitor.store.redis.alerts import AlertCalls
from monitor.store.redis.cursor import Merge
from monitor.store.redis.registry import RegistryCalls
from monitor.store.redis.wire import Wire, script

_BATCH_MAX = 1_000
_ANSWERS = (Committed.OK, Committed.STALE, Committed.LOST)
_ONCE = {Queue.GROUPS: keys.GROUPS, Queue.DELIVERIES: keys.DELIVERIES, Queue.ASSERTIONS: keys.ASSERTIONS}
_LAGGING = ("judged", "dirty", "unpublished")
_COMMITTED = ("due", "plan", "rec", "reevaluate", "dirty", "events", "alerts", "spec", "mem", "judged", "alerting")
_DIGITS_MAX = 19
"""Of the server's numbers; Python refuses to read very many more."""
_pack = msgspec.msgpack.Encoder().encode
_unpack_aside = msgspec.msgpack.Decoder(SetAside).decode


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
        self._open_wire = wire

    async def close(self) -> None:
        wire, self._open_wire = self._open_wire, None
        if wire is not None:
            await wire.close()

    async def now_ms(self) -> int:
        return _ms(await self._wire.execute_one("TIME"))

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        names = [keys.EPOCH, keys.POOLS, keys.in_slot(0, "dirty")]
        return Epoch(*await self._wire.run("epoch", names, seen.number, seen.publications))

    # Probes -----------------------------------------------------------------------------------------------------
    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        names = [keys.in_slot(slot, name) for name in ("due", "plan", "rev", "pace")]
        args = min(limit, keys.CLAIM_MAX), horizon_ms, JUDGING_GAP_MS, JUMP_MS
        now_ms, rev, interval_min_ms, *taken = await self._wire.run("claim_probes", names, *args)
        items = (Claimed(name_of(endpoint_id), token_ms, due_ms) for endpoint_id, token_ms, due_ms in _by(3, taken))
        return Claim(slot, rev, now_ms, tuple(items), interval_min_ms)

    async def judging_since(self, slot: int) -> int:
        time, (last, since) = await self._wire.execute(("TIME",), ("HMGET", keys.in_slot(slot, "pace"), "last", "since"))
        now_ms = _ms(time)
        return _number(since) or now_ms if abs(now_ms - _number(last)) <= JUDGING_GAP_MS else now_ms

    async def realign(self, slot: int) -> int:
        queues = [keys.in_slot(slot, name) for name in ("pace", "reevaluate", "dirty", "judged", "routing")]
        moves = [script("realign", queues, 3, JUMP_MS, "0", 0)]
        if slot == 0:
            once = [*_ONCE.values(), keys.ALERT_ENDS]
            back_ms = await self._wire.execute_one("HGET", queues[0], "back")
            moves.append(script("realign", [keys.ALERTS_PACE, *once], len(once), JUMP_MS, "1", back_ms or 0))
        moved: int = sum(await self._wire.execute(*moves))
        names, cursor = [keys.in_slot(slot, "due"), keys.in_slot(slot, "plan")], b"0"
        while True:
            cursor, now_moved, broken = await self._wire.run("realign_probes", names, cursor, _BATCH_MAX)
            moved += now_moved
            await self._replan(names, list(map(name_of, broken)))
            if cursor == b"0":
                return moved

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
        batches = [batch for members in _grouped(slots).values() for batch in _chunks(members)]
        replies = await self._wire.execute(
            *(
                script("load", [keys.in_slot(slots[batch[0]], name) for name in ("rec", "ovr", "mem", "rev")], *(ids[i] for i in batch))
                for batch in batches
            )
        )
        revisions: dict[int, int] = {}
        answers = [Loaded(0, b"", b"")] * len(ids)
        for batch, (records, overrides, memories, revision) in zip(batches, replies, strict=True):
            revisions[slots[batch[0]]] = _number(revision)
            for i, record, override, memory in zip_longest(batch, records, overrides, memories):
                if record or override or memory:
                    answers[i] = Loaded(*keys.split_version(record), override or b"", memory or b"")
        return answers, revisions

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
        queues = [(queue, slot) for slot in range(self.slots) for queue in Queue if slot == 0 or QUEUES[queue].per_slot]
        firsts = (("ZRANGE", _queue(queue, slot), 0, 0, "WITHSCORES") for queue, slot in queues)
        time, *heads = await self._wire.execute_each(("TIME",), *firsts)
        return [
            at for at, head in zip(queues, heads, strict=True) if isinstance(head, StoreRefusal) or (head and float(head[1]) <= _ms(time))
        ]

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        names = [_queue(queue, slot)]
        taken = await self._wire.run("claim", names, min(limit, keys.CLAIM_MAX), lease_ms, EARLY_MS, *members[:limit])
        return [Lease(name_of(member), token_ms, due_ms) for member, token_ms, due_ms in _by(3, taken)]

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        return bool(await self._wire.run("finish", [_queue(queue, slot)], member, token_ms, "" if next_ms is None else next_ms))

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int) -> None:
        if not await self._wire.run("renew", [_queue(queue, slot)], member, token_ms, until_ms):
            raise Stale(f"{member} in {queue.value} is not ours any more")

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
        (snapshot, last), settings, *readings = await self._wire.execute(
            script("load_published", [keys.snapshot(pool), keys.log(pool)]),
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
        return PoolLoad(tuple(sorted(members, key=lambda member: member.id)), snapshot or b"", settings or b"", _version(last))

    async def publish(self, publication: Publication) -> Epoch:
        pool, epoch = publication.pool, publication.epoch
        names = [keys.snapshot(pool), keys.log(pool), keys.POOLS, keys.EPOCH]
        version = epoch.number, publication.ver, epoch.publications
        bodies = pool, publication.delta, publication.snapshot, keys.channel(pool)
        stays_ms = MAX_STALE_MS if publication.tombstone else ""
        rest = keys.LOG_LENGTH_MAX, stays_ms, publication.until_ms, "{}-{}".format(*publication.base)
        count = int(await self._wire.run("publish", names, *version, *bodies, *rest))
        if count < 0:
            raise EpochEnded(f"epoch {epoch.number} has ended")
        if not count:
            raise refused(publication)
        return Epoch(epoch.number, count)

    async def published_pools(self) -> list[str]:
        return sorted(name_of(name) for name in await self._wire.execute_one("SMEMBERS", keys.POOLS))

    async def mark_pools(self, pools: Sequence[str]) -> None:
        for first in range(0, len(pools), _BATCH_MAX):
            await self._wire.run("mark_pools", [keys.in_slot(0, "dirty")], *pools[first : first + _BATCH_MAX])

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
        sizes = await self._wire.execute(*(("SCARD", keys.members(slot, name)) for name in waiting for slot in slots))
        unpublished = {name for n, name in enumerate(waiting) if sum(sizes[n * self.slots : (n + 1) * self.slots])}
        names = sorted(silent_pools | unpublished)
        if not names:
            return now_ms, [], True
        judged = await self._wire.execute(
            *(("ZRANGEBYSCORE", keys.in_slot(slot, "judged"), now_ms, "+inf", "LIMIT", 0, keys.LAGGING_MAX + 1) for slot in slots)
        )
        return now_ms, names, not {name_of(name) for some in judged for name in some}.issubset(names)

    async def _probed(self, silent: Sequence[tuple[int, str]]) -> set[str]:
        """Those of the pools (each with its slot) that have a member there that is probed."""
        answers: list[int] = []
        for batch in _chunks(list(range(len(silent)))):
            chosen = [silent[i] for i in batch]
            answers += await self._wire.execute(
                *(
                    script("probed", [keys.in_slot(slot, "judged"), keys.members(slot, name), keys.in_slot(slot, "plan")], name)
                    for slot, name in chosen
                )
            )
        return {name for (_, name), probed in zip(silent, answers, strict=True) if probed}

    # What cannot be read ----------------------------------------------------------------------------------------
    async def set_aside(self, items: Sequence[SetAside]) -> None:
        now_ms = await self.now_ms()
        copies: list[str | bytes] = []
        for item in items:
            kept = item.kept(keys.ASIDE_BYTES_MAX, now_ms)
            copies += keys.aside_field(kept.kind, kept.key), _pack(kept)
        await self._wire.run("set_aside", [keys.ASIDE], keys.ASIDE_MAX, *copies)

    async def aside_count(self) -> int:
        return int(await self._wire.execute_one("HLEN", keys.ASIDE))

    async def aside(self) -> list[SetAside]:
        held = await self._wire.execute_one("HGETALL", keys.ASIDE)
        return sorted((_copy(name_of(field), data) for field, data in _by(2, held)), key=lambda item: (item.kind, item.key))

    async def drop_foreign(self) -> list[str]:
        slots = range(self.slots)
        kinds = {**keys.REFILLED, **{keys.in_slot(slot, name): kind for slot in slots for name, kind in keys.REFILLED_IN_SLOT.items()}}
        filled = {keys.POOLS: [keys.in_slot(slot, "judged") for slot in slots]}
        for slot in slots:
            plan, due, dirty = (keys.in_slot(slot, name) for name in ("plan", "due", "dirty"))
            filled |= {plan: [due], due: [plan], dirty: [keys.POOLS]}
        dropped = await self._wire.execute(*(script("drop_foreign", [key, *filled.get(key, ())], kind) for key, kind in kinds.items()))
        return [key for key, gone in zip(kinds, dropped, strict=True) if gone]

    async def discard_aside(self, kind: str, key: str) -> bool:
        return bool(await self._wire.execute_one("HDEL", keys.ASIDE, keys.aside_field(kind, key)))

    # Reading ----------------------------------------------------------------------------------------------------
    async def alerting(self) -> tuple[list[str], list[str]]:
        subjects, *found = await self._wire.execute(
            ("HKEYS", keys.SUBJECTS), *(("SMEMBERS", keys.in_slot(slot, "alerting")) for slot in range(self.slots))
        )
        return sorted(name_of(name) for names in found for name in names), sorted(map(name_of, subjects))

    async def pool_sizes(self) -> dict[str, int]:
        slots = range(self.slots)
        published, settings, *marked = await self._wire.execute(
            ("SMEMBERS", keys.POOLS), ("HKEYS", keys.REGISTRY_POOLS), *(("ZRANGE", keys.in_slot(slot, "dirty"), 0, -1) for slot in slots)
        )
        names = sorted({name_of(name) for found in (published, settings, *marked) for name in found})
        counts = await self._wire.execute(*(("SCARD", keys.members(slot, name)) for name in names for slot in slots))
        return {name: sum(counts[n * self.slots : (n + 1) * self.slots]) for n, name in enumerate(names)}

    async def transitions(self, endpoint_id: str) -> list[bytes]:
        slot = keys.slot_of(endpoint_id, self.slots)
        return list(await self._wire.execute_one("LRANGE", keys.of_endpoint(slot, "log", endpoint_id), 0, -1))

    async def samples(self, endpoint_id: str, name: str) -> bytes:
        slot = keys.slot_of(endpoint_id, self.slots)
        return await self._wire.execute_one("GET", keys.of_endpoint(slot, name, endpoint_id)) or b""

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        return [
            snapshot or b"" for snapshot in await self._wire.execute(*(script("load_snapshot", [keys.snapshot(pool)]) for pool in pools))
        ]

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
        return {name_of(name): process for name, process in _by(2, alive)}

    async def count(self, increments: Mapping[str, int]) -> None:
        if increments:
            await self._wire.execute(*(("HINCRBY", keys.COUNTERS, name, by) for name, by in increments.items()), repeat=False)

    async def counters(self) -> dict[str, int]:
        held = await self._wire.execute_one("HGETALL", keys.COUNTERS)
        return {name_of(name): _number(value) for name, value in _by(2, held)}


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
            item.fresh_until_ms,
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
    return script(
        "commit", fixed + own, keys.EVENTS_LENGTH_MAX, keys.ALERTS_LENGTH_MAX, ids, _pack(heads), *bodies, keys.OWN_LOG_LENGTH_MAX
    )


def _queue(queue: Queue, slot: int) -> str:
    return _ONCE.get(queue) or keys.in_slot(slot, queue.value)


def _ms(time: Sequence[bytes]) -> int:
    return int(time[0]) * 1_000 + int(time[1]) // 1_000


def _copy(field: str, data: bytes) -> SetAside:
    """A copy that was set aside; one that cannot be read either is shown as it is."""
    try:
        return _unpack_aside(data)
    except DECODE_ERRORS as error:
        kind, _, key = field.partition(" ")
        return SetAside(kind, key, data, str(error))


def _version(last_id: bytes) -> tuple[int, int]:
    """Epoch and version of a log's entry; nothing for one that no time can have made (publish.lua begins such a log anew)."""
    epoch, _, ver = last_id.partition(b"-")
    return (int(epoch), int(ver)) if len(epoch) < 16 and len(ver) < 16 else (0, 0)


def _number(held: bytes | None) -> int:
    """A count or a time; 0 for nothing, and for what is no number that the server could have counted."""
    return int(held) if held and held.isdigit() and len(held) <= _DIGITS_MAX else 0


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
