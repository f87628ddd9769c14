"""Registering for tests that are about something else: as an operator does who reads, decides and writes."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.endpoint import Endpoint, Pool
from monitor.store.port import PoolPut, PoolRemoval, Put, RegistryAnswer, RegistryChanges, Removal, Store, digest


async def register(
    store: Store, puts: Sequence[Endpoint] = (), removes: Sequence[str] = (), pools: Sequence[Pool] = (), pool_removes: Sequence[str] = ()
) -> RegistryAnswer:
    """Read what is there, and write. What is to be removed and is not there is left out."""
    entries = await store.endpoint_entries([*(endpoint.id for endpoint in puts), *removes])
    settings = await store.pool_entries()
    return await store.register(
        RegistryChanges(
            puts=tuple(Put(endpoint=endpoint, old=entries.get(endpoint.id)) for endpoint in puts),
            removals=tuple(Removal(id=name, old=entries[name]) for name in removes if name in entries),
            pools=tuple(PoolPut(pool=pool, old=settings.get(pool.name)) for pool in pools),
            pool_removals=tuple(PoolRemoval(name=name, old=settings[name]) for name in pool_removes if name in settings),
        )
    )


async def set_override(store: Store, endpoint: Endpoint, override: bytes, transition: bytes) -> None:
    """Write an override over the one that is there."""
    (loaded,) = await store.load([endpoint.id])
    await store.set_override(endpoint, digest(loaded.override), override, transition)


async def pools(store: Store) -> dict[str, Pool]:
    """The pools with settings of their own that can be read."""
    return {name: entry.value for name, entry in (await store.pool_entries()).items() if entry.value is not None}
