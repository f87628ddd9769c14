"""The endpoints and pools that this process has read, kept until the registry's revision moves."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import WatchkeeperError
from monitor.probes.base import Probe
from monitor.store.keys import ASIDE_MAX
from monitor.store.names import stored
from monitor.store.port import Entry, Store
from workers.journey.published import published
from workers.journey.quarantine import Quarantine

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

    def __init__(self, store: Store, clock: Clock, prepare: Callable[[Endpoint], Probe], quarantine: Quarantine) -> None:
        self._store = store
        self._clock = clock
        self._prepare = prepare
        self._quarantine = quarantine
        self._revs: dict[int, int] = {}
        self._known: dict[int, dict[str, Prepared | None]] = {}
        self._left: dict[str, str] = {}
        """Endpoints whose entries, by their digests, cannot be read and whose pools were told to leave them out."""
        self._pools: dict[str, Pool] = {}
        self._pools_at_ms: int | None = None

    async def ready(self, slot: int, rev: int, ids: Sequence[str]) -> dict[str, Prepared | None]:
        """The endpoints of these ids that still exist, as the slot's registry revision `rev` has them, or a later one.

        None where the entry cannot be read: it is set aside, and the pool that publishes the endpoint falls due without it.
        """
        if self._revs.get(slot) != rev:
            self._revs = {**self._revs, slot: rev}
            self._known[slot] = {}
            self._pools_at_ms = None
        known = self._known.setdefault(slot, {})
        missing = [endpoint_id for endpoint_id in ids if endpoint_id not in known]
        if missing:
            entries = await self._store.endpoint_entries(missing)
            await self._leave_out({endpoint_id: entry for endpoint_id, entry in entries.items() if entry.value is None})
            for endpoint_id, entry in entries.items():
                known[endpoint_id] = self.make(entry.value) if entry.value is not None else None
            await self._quarantine.flush()
        return {endpoint_id: known[endpoint_id] for endpoint_id in ids if endpoint_id in known}

    async def _leave_out(self, unreadable: Mapping[str, Entry[Endpoint]]) -> None:
        """Set entries aside, and once for each let the pools that publish these endpoints fall due: nothing else might weigh them."""
        for endpoint_id, entry in unreadable.items():
            self._quarantine.set_aside("endpoint", endpoint_id, entry.data, entry.why)
        fresh = {endpoint_id: entry.digest for endpoint_id, entry in unreadable.items() if self._left.get(endpoint_id) != entry.digest}
        if not fresh:
            return
        names = [b'"%b"' % stored(endpoint_id) for endpoint_id in fresh]
        pools = [pool async for pool, snapshot in published(self._store) if any(name in snapshot for name in names)]
        if pools:
            await self._store.mark_pools(pools)  # One that only mentions the name is weighed for nothing.
        if len(self._left) + len(fresh) > ASIDE_MAX:
            self._left.clear()
        self._left |= fresh

    def make(self, endpoint: Endpoint) -> Prepared:
        """The endpoint made ready to be probed from here; where it cannot be, with the reason."""
        spec = msgspec.json.encode(endpoint)
        digest = f"{zlib.crc32(spec):08x}"
        labels = {**endpoint.labels, "endpoint": endpoint.id, "pool": endpoint.pool}
        try:
            return Prepared(endpoint, digest, labels, self._prepare(endpoint))
        except (WatchkeeperError, ValueError, OSError) as error:  # A secret that cannot be read here must not stop the batch.
            return Prepared(endpoint, digest, labels, None, str(error))
        except Exception as error:  # Nor must options of a shape that no prober of this release writes.
            why = f"{type(error).__name__}: {error}"
            self._quarantine.set_aside("endpoint", endpoint.id, spec, why)
            return Prepared(endpoint, digest, labels, None, f"the {endpoint.kind} prober of this release cannot read the options: {why}")

    async def pool(self, name: str) -> Pool:
        """The pool's settings, at most POOLS_MAX_AGE_MS old, and not from before the last revision that has come to `ready` by now.

        Those that cannot be read wait for the quarantine's `flush`; the pool then works with what is built in.
        """
        now_ms, pools = self._clock.monotonic_ms(), self._pools
        if self._pools_at_ms is None or now_ms - self._pools_at_ms > POOLS_MAX_AGE_MS:
            revs = self._revs
            entries = await self._store.pool_entries()
            for pool, entry in entries.items():
                if entry.value is None:
                    self._quarantine.set_aside("pool", pool, entry.data, entry.why)
            pools = {pool: entry.value for pool, entry in entries.items() if entry.value is not None}
            if revs is self._revs:  # What was read before a revision that came meanwhile is nothing for those who ask after it.
                self._pools, self._pools_at_ms = pools, now_ms
        return pools.get(name) or Pool(name=name)
