"""The endpoints and pools that this process has read, kept until the registry's revision moves."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import msgspec

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import WatchkeeperError
from monitor.probes.base import Probe
from monitor.store.port import Store

POOLS_MAX_AGE_MS = 1_000


class Prepared(msgspec.Struct, frozen=True):
    """An endpoint made ready: `probe` is None where it cannot be probed from here, and `error` says why.

    `digest` changes with anything that a rule can see of the endpoint itself.
    """

    endpoint: Endpoint
    digest: str
    labels: dict[str, str]
    """Labels that every alert of this endpoint carries."""
    probe: Probe | None
    error: str = ""


class EndpointCache:
    """A cache by revision: a claim carries its slot's revision, so a change reaches every worker with the next claim.

    A smaller revision counts as well as a larger one: a server that lost its data counts from the beginning.
    """

    def __init__(self, store: Store, clock: Clock, prepare: Callable[[Endpoint], Probe]) -> None:
        self._store = store
        self._clock = clock
        self._prepare = prepare
        self._revs: dict[int, int] = {}
        self._known: dict[int, dict[str, Prepared]] = {}
        self._pools: dict[str, Pool] = {}
        self._pools_at_ms: int | None = None

    async def ready(self, slot: int, rev: int, ids: Sequence[str]) -> dict[str, Prepared]:
        """The endpoints of these ids that still exist, as the slot's registry revision `rev` has them, or a later one."""
        if self._revs.get(slot) != rev:
            self._revs = {**self._revs, slot: rev}
            self._known[slot] = {}
            self._pools_at_ms = None
        known = self._known.setdefault(slot, {})
        missing = [endpoint_id for endpoint_id in ids if endpoint_id not in known]
        if missing:
            for endpoint_id, endpoint in (await self._store.endpoints(missing)).items():
                known[endpoint_id] = self.make(endpoint)
        return {endpoint_id: known[endpoint_id] for endpoint_id in ids if endpoint_id in known}

    def make(self, endpoint: Endpoint) -> Prepared:
        """The endpoint made ready to be probed from here; where it cannot be, with the reason."""
        digest = f"{zlib.crc32(msgspec.json.encode(endpoint)):08x}"
        labels = {**endpoint.labels, "endpoint": endpoint.id, "pool": endpoint.pool}
        try:
            return Prepared(endpoint, digest, labels, self._prepare(endpoint))
        except (WatchkeeperError, ValueError, OSError) as error:  # A secret that cannot be read here must not stop the batch.
            return Prepared(endpoint, digest, labels, None, str(error))

    async def pool(self, name: str) -> Pool:
        """The pool's settings, at most POOLS_MAX_AGE_MS old, and not from before the last revision that has come to `ready` by now."""
        now_ms, pools = self._clock.monotonic_ms(), self._pools
        if self._pools_at_ms is None or now_ms - self._pools_at_ms > POOLS_MAX_AGE_MS:
            revs = self._revs
            pools = await self._store.pools()
            if revs is self._revs:  # What was read before a revision that came meanwhile is nothing for those who ask after it.
                self._pools, self._pools_at_ms = pools, now_ms
        return pools.get(name) or Pool(name=name)
