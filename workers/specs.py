"""The endpoints and pools that this process has read, kept until the registry's revision moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint, Pool
from monitor.probes.base import Probe
from monitor.store.port import Store

POOLS_MAX_AGE_MS = 1_000


class Specs:
    """A cache by revision: a claim carries its slot's revision, so a change reaches every worker with the next claim."""

    def __init__(self, store: Store, clock: Clock, prepare: Callable[[Endpoint], Probe]) -> None:
        self._store = store
        self._clock = clock
        self._prepare = prepare
        self._revs: dict[int, int] = {}
        self._known: dict[int, dict[str, tuple[Endpoint, Probe | Exception]]] = {}
        self._pools: dict[str, Pool] = {}
        self._pools_at_ms: int | None = None

    async def ready(self, slot: int, rev: int, ids: Sequence[str]) -> dict[str, tuple[Endpoint, Probe | Exception]]:
        """The endpoints of these ids that still exist, each with its compiled probe or with what is wrong with it."""
        if self._revs.get(slot, -1) < rev:
            self._revs[slot] = rev
            self._known[slot] = {}
        known = self._known.setdefault(slot, {})
        missing = [endpoint_id for endpoint_id in ids if endpoint_id not in known]
        if missing:
            for endpoint_id, endpoint in (await self._store.endpoints(missing)).items():
                known[endpoint_id] = (endpoint, self._compile(endpoint))
        return {endpoint_id: known[endpoint_id] for endpoint_id in ids if endpoint_id in known}

    def _compile(self, endpoint: Endpoint) -> Probe | Exception:
        try:
            return self._prepare(endpoint)
        except Exception as error:  # A secret that cannot be read here must not stop the batch.
            return error

    async def pool(self, name: str) -> Pool:
        """The pool's settings, at most POOLS_MAX_AGE_MS old."""
        now_ms = self._clock.monotonic_ms()
        if self._pools_at_ms is None or now_ms - self._pools_at_ms > POOLS_MAX_AGE_MS:
            self._pools = await self._store.pools()
            self._pools_at_ms = now_ms
        return self._pools.get(name) or Pool(name=name)
