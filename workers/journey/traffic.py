"""What consumers report, judged: claimed by pool, folded once, written, and told to the endpoints' records as rulings.

Nothing is decided here: monitor.pool.traffic does that. Entries are read after what they are folded into, and leave the stream with the
commit that folds them, so that each counts once whoever dies when. A ruling waits in the pool's traffic until the endpoint's record shows
it: whoever judges next tells it again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from monitor.clock import Clock
from monitor.core.endpoint import Pool
from monitor.core.errors import Stale, StoreError
from monitor.core.observation import TrafficRuling
from monitor.core.record import next_version
from monitor.pool.traffic.fold import QUIET_MS, Folded, fold
from monitor.pool.traffic.shapes import NO_HEAD, EndpointTraffic, decode_field, decode_head, encode, forgotten
from monitor.store.entries import read_pool
from monitor.store.keys import REPORTS_READ_BYTES_MAX
from monitor.store.port import Lease, PoolLoad, Store, TrafficCommit
from monitor.store.queues import Queue, due_time
from workers.journey.counters import Counters
from workers.journey.members import read_states
from workers.journey.quarantine import Quarantine
from workers.journey.soon import SoonAt

ENTRIES_MAX = 200
"""So many entries are folded in one step: they keep the process from anything else meanwhile."""
ROUNDS_MAX = 20
"""So many steps are done under one lease."""
POOLS_TOGETHER_MAX = 4
"""So many claimed pools are judged side by side."""

log = logging.getLogger(__name__)


class TrafficStep:
    """Any number of them may run: the lease chooses one for each pool, and the commit refuses all others.

    `rule` tells the endpoints' records; `soon(queue, slot, member, due_ms)` is told what falls due, and must return at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rule: Callable[[Mapping[str, TrafficRuling]], Awaitable[None]],
        counters: Counters,
        quarantine: Quarantine,
        soon: SoonAt,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rule = rule
        self._counters = counters
        self._quarantine = quarantine
        self._soon = soon
        self._turns = asyncio.Semaphore(POOLS_TOGETHER_MAX)

    async def judge(self, leases: Sequence[Lease]) -> None:
        """Judge claimed pools, some side by side."""

        async def turn(lease: Lease) -> None:
            async with self._turns:
                await self.judge_one(lease)

        await asyncio.gather(*(turn(lease) for lease in leases))

    async def judge_one(self, lease: Lease) -> None:
        """Fold in what a pool's consumers have reported, and say when to judge it again. What fails stays in the queue."""
        try:
            await self._judged(lease)
        except (StoreError, Stale) as error:
            log.warning("the traffic of pool %s could not be judged yet: %s", lease.member, error)
        except Exception:
            log.exception("the traffic of pool %s could not be judged", lease.member)
            self._counters.add("unjudged")

    async def _judged(self, lease: Lease) -> None:
        name = lease.member
        if self._clock.tilted:  # What is a second ago, nobody can say. What waits meanwhile is late afterwards.
            await self._store.finish(Queue.TRAFFIC, 0, name, lease.token_ms, self._clock.now_ms() + QUIET_MS)
            return
        next_ms: int | None = self._clock.now_ms()
        for _ in range(ROUNDS_MAX):
            load = await self._store.load_pool(name)
            if not load.members:
                if await self._store.drop_traffic(name, lease.token_ms):
                    self._counters.add("reports_of_no_pool")
                return
            entries = await self._store.reports(name, ENTRIES_MAX)
            folded = await self._fold(lease, load, entries)
            if folded is None:
                await self._store.finish(Queue.TRAFFIC, 0, name, lease.token_ms, self._clock.now_ms() + QUIET_MS)
                return
            if folded.rulings:
                await self._rule(folded.rulings)
            if folded.weigh:
                await self._store.mark_pools([name])
                self._soon(Queue.DIRTY, 0, name, self._clock.now_ms())
            if len(entries) < ENTRIES_MAX and sum(len(data) for _, data in entries) < REPORTS_READ_BYTES_MAX:
                next_ms = folded.next_ms
                break
        kept = await self._store.finish(Queue.TRAFFIC, 0, name, lease.token_ms, next_ms)
        if kept and next_ms is not None:
            self._soon(Queue.TRAFFIC, 0, name, due_time(next_ms))
        elif kept and await self._store.reports(name, 1):  # Announced while we still held the pool.
            await self._store.announce_reports([name])

    async def _fold(self, lease: Lease, load: PoolLoad, entries: Sequence[tuple[str, bytes]]) -> Folded | None:
        """Fold and commit; None where no member can be read."""
        name, read = lease.member, self._quarantine.read
        states = read_states(self._quarantine, load.members, None)
        settings = read("pool", name, load.settings, functools.partial(read_pool, name)) if load.settings else None
        head = read("traffic", name, load.traffic.head, decode_head) or NO_HEAD
        fields: dict[str, EndpointTraffic] = {}
        for endpoint_id, data in load.traffic.fields.items():
            field = read("traffic", endpoint_id, data, decode_field)
            fields[endpoint_id] = field if field is not None else EndpointTraffic(kind="?")
        if not states:
            await self._quarantine.flush()
            return None
        now_ms = self._clock.now_ms()
        next_ver = next_version(load.traffic.ver, now_ms)
        pool = settings or Pool(name=name)
        try:
            folded = fold(pool, states, head, fields, entries, now_ms, next_ver)
        except Exception as error:  # Where it raises without what policies remember as well, the error is ours, and nothing is written.
            log.exception("the policies of pool %s cannot go on from what they remember, and begin anew", name)
            afresh = {endpoint_id: forgotten(field) for endpoint_id, field in fields.items()}
            folded = fold(pool, states, head, afresh, entries, now_ms, next_ver)
            for endpoint_id, data in load.traffic.fields.items():
                self._quarantine.set_aside("traffic", endpoint_id, data, f"{type(error).__name__}: {error}")
        for _, data, why in folded.refused:
            self._quarantine.set_aside("report", name, data, why)
        for endpoint_id, why in folded.unreadable.items():
            self._quarantine.set_aside("traffic", endpoint_id, load.traffic.fields.get(endpoint_id, b""), why)
        await self._quarantine.flush()
        await self._store.commit_traffic(
            TrafficCommit(
                pool=name,
                token_ms=lease.token_ms,
                ver=load.traffic.ver,
                next_ver=next_ver,
                head=encode(folded.head),
                fields={endpoint_id: encode(field) for endpoint_id, field in folded.fields.items()},
                gone=folded.gone,
                last=entries[-1][0] if entries else "",
                rows=folded.rows,
            )
        )
        for counter, n in folded.counters.items():
            self._counters.add(counter, n)
        self._counters.add("traffic_rulings", sum(ruling.seq == next_ver for ruling in folded.rulings.values()))
        return folded
