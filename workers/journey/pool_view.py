"""What a decision about one endpoint must know of its whole pool, where it must: read at most once a second for each pool."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from monitor.clock import Clock
from monitor.core.active import gather
from monitor.core.policies.choice import Chosen, resolved
from monitor.core.record import ActiveMemory, BreakerState, Source
from monitor.core.subject import Subject
from monitor.pool.traffic.shapes import decode_head
from monitor.store.port import Store
from workers.journey.members import read_states
from workers.journey.quarantine import Quarantine

POOL_VIEW_MAX_AGE_MS: Final = 1_000
POOL_VIEWS_MAX: Final = 1_000
"""Pools of which a view is kept."""
_PASSIVE: Final = f'"{Source.PASSIVE.value}"'.encode()
"""Stands in the record of an endpoint whose breaker was moved by what consumers report."""


class _View(msgspec.Struct):
    """A pool as it was read at `read_ms`, and what was gathered from it for each policy in force, in which second: policies compare whole
    intervals, which end with one."""

    members: list[tuple[str, BreakerState, ActiveMemory | None]]
    reported_ms: int | None
    read_ms: int
    gathered: list[tuple[Chosen, int, Any]] = []


class PoolViews:
    """One for each process."""

    def __init__(self, store: Store, clock: Clock, quarantine: Quarantine) -> None:
        self._store = store
        self._clock = clock
        self._quarantine = quarantine
        self._views: dict[str, _View] = {}

    async def completed(self, subject: Subject, record: bytes) -> Subject:
        """The subject with what must be known of its pool: nothing, for nearly all of them. Raises StoreError."""
        endpoint, pool = subject.endpoint, subject.pool
        if _PASSIVE in record:
            subject = msgspec.structs.replace(subject, reported_ms=(await self._view(endpoint.pool)).reported_ms)
        if endpoint.active is None and pool.active is None:
            return subject
        active = resolved(endpoint, pool).active
        if not active.policy.relative:
            return subject
        return msgspec.structs.replace(subject, gathered=self._gathered(active, await self._view(endpoint.pool)))

    def decided(self, pool: str, endpoint_id: str, breaker: BreakerState) -> None:
        """A breaker that has just been decided on counts at once: of a batch no more are ejected than may be."""
        view = self._views.get(pool)
        if view is None:
            return
        for place, (known_id, known, memory) in enumerate(view.members):
            if known_id == endpoint_id and known.gen != breaker.gen:
                view.members[place] = (known_id, breaker, memory)
                view.gathered.clear()

    def _gathered(self, active: Chosen, view: _View) -> Any:
        now_ms = self._clock.now_ms()
        for chosen, second, gathered in view.gathered:
            if chosen is active and second == now_ms // 1000:
                return gathered
        gathered = gather(active, view.members, now_ms)
        view.gathered.append((active, now_ms // 1000, gathered))
        return gathered

    async def _view(self, pool: str) -> _View:
        now_ms, known = self._clock.monotonic_ms(), self._views.get(pool)
        if known is not None and now_ms - known.read_ms <= POOL_VIEW_MAX_AGE_MS:
            return known
        load = await self._store.load_pool(pool)
        states = read_states(self._quarantine, load.members, None)
        members = [(state.endpoint.id, state.record.breaker, state.record.active) for state in states]
        head = self._quarantine.read("traffic", pool, load.traffic.head, decode_head)
        if len(self._views) >= POOL_VIEWS_MAX:
            self._views.clear()
        self._views[pool] = _View(members, head.reported_ms if head is not None else None, now_ms)
        return self._views[pool]
