"""A pool's settings, taken away by an operator."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.endpoint import Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.registry.journal import ROUNDS_MAX, act, contended
from monitor.store.names import printable
from monitor.store.port import Entry, PoolRemoval, RegistryChanges, Store


async def reset_pool(store: Store, pool: str, *, actor: str, reason: str = "") -> bool:
    """Take a pool's settings away, also those that cannot be read; it works with what is built in. False where it did so already.

    ConfigError where there is no such pool, or where others keep changing its settings.
    """
    doing = await act(store, actor, reason)
    for _ in range(ROUNDS_MAX):
        entries = await store.pool_entries()
        name = await _named(store, entries, pool)
        if name not in entries:
            return False
        removal = PoolRemoval(name=name, old=entries[name], transitions=doing.pool(entries[name], None, name, {}))
        if (await store.register(RegistryChanges(pool_removals=(removal,)))).ok:
            return True
    raise await contended(store, pool, "pool")


async def _named(store: Store, entries: Mapping[str, Entry[Pool]], pool: str) -> str:
    called = {printable(name): name for name in entries}
    if pool in called:
        return called[pool]
    members = {entry.pool for entry in (await store.endpoint_entries()).values()}
    if pool in members:
        return pool
    hint = did_you_mean(pool, sorted(called.keys() | members), "`watchkeeper pool list` shows the pools")
    raise ConfigError([Problem("", "pool", repr(pool), "there is no pool of this name", hint)])
