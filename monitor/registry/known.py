"""What is registered, as a use case reads it: entries with their digests, and what of them cannot be read."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

import msgspec

from monitor.config.manifest import Registered
from monitor.config.manifest_writer import export
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.store.entries import endpoint_entry, pool_entry
from monitor.store.names import printable
from monitor.store.port import Entry, Store


class Known(msgspec.Struct, frozen=True):
    """Every entry by its name, readable or not, and the revision at which they were read."""

    endpoints: Mapping[str, Entry[Endpoint]]
    pools: Mapping[str, Entry[Pool]]
    revision: int = 0

    @property
    def registered(self) -> Registered:
        """What can be read of it."""
        return Registered(
            {name: entry.value for name, entry in self.endpoints.items() if entry.value is not None},
            {name: entry.value for name, entry in self.pools.items() if entry.value is not None},
        )

    def unreadable(self) -> list[str]:
        """One sentence for each entry that cannot be read: what is wrong, and how to fix it."""
        endpoints = (
            f"endpoint {printable(name)} cannot be read: {entry.why}; {_way_out('endpoint rm', name, 'it')}"
            for name, entry in sorted(self.endpoints.items())
            if entry.value is None
        )
        pools = (
            f"the settings of pool {printable(name)} cannot be read: {entry.why}; {_way_out('pool reset', name, 'them')}"
            for name, entry in sorted(self.pools.items())
            if entry.value is None
        )
        return [*endpoints, *pools]


def _way_out(command: str, name: str, it: str) -> str:
    """How an entry that cannot be read is made good or taken away."""
    again = "" if printable(name) != name else f"write {it} anew with `watchkeeper apply`, or "
    return f"{again}remove {it} with `watchkeeper {command} {shlex.quote(printable(name))}`"


async def read_known(store: Store) -> Known:
    """Read the whole registry."""
    revision = await store.registry_revision()  # First, so that what moves it meanwhile is noticed.
    return Known(await store.endpoint_entries(), await store.pool_entries(), revision)


async def read_members(store: Store, pool: str) -> Known:
    """Read a pool: the entries of its members, and its settings."""
    load = await store.load_pool(pool)
    endpoints = {member.id: endpoint_entry(member.id, member.spec) for member in load.members if member.spec}
    return Known(endpoints, {pool: pool_entry(pool, load.settings)} if load.settings else {})


async def find_entry(store: Store, endpoint_id: str) -> Entry[Endpoint]:
    """The entry of an endpoint, which may be one that cannot be read; ConfigError with the nearest id where there is none."""
    found = await store.endpoint_entries([endpoint_id])
    return found[endpoint_id] if endpoint_id in found else among(await store.endpoint_entries(), endpoint_id)


def among(entries: Mapping[str, Entry[Endpoint]], endpoint_id: str) -> Entry[Endpoint]:
    """As `find_entry`, where all entries are known."""
    return entries[named(entries, endpoint_id)]


def named(entries: Collection[str], endpoint_id: str) -> str:
    """The name under which an endpoint stands that people call `endpoint_id` (one that is no text is called as it is shown); ConfigError
    with the nearest where there is none."""
    if endpoint_id in entries:
        return endpoint_id
    called = {printable(name): name for name in entries}
    if endpoint_id in called:
        return called[endpoint_id]
    hint = did_you_mean(endpoint_id, sorted(called), "`watchkeeper endpoint list` shows the endpoints")
    raise ConfigError([Problem("", "endpoint", repr(endpoint_id), "there is no endpoint of this id", hint)])


async def find(store: Store, endpoint_id: str) -> Endpoint:
    """Return the endpoint. ConfigError where there is none, or where its entry cannot be read."""
    return readable(endpoint_id, await find_entry(store, endpoint_id))


def readable(endpoint_id: str, entry: Entry[Endpoint]) -> Endpoint:
    """Return the endpoint of an entry; ConfigError where it cannot be read."""
    if entry.value is None:
        problem = Problem(
            "", "endpoint", repr(endpoint_id), f"its entry cannot be read: {entry.why}", _way_out("endpoint rm", endpoint_id, "it")
        )
        raise ConfigError([problem])
    return entry.value


def export_manifest(known: Known) -> str:
    """The manifest of everything that can be read."""
    registered = known.registered
    return export(registered.endpoints.values(), registered.pools.values())
