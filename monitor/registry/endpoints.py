"""Endpoints one at a time: add, edit, remove, pause, resume."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from monitor.config.kinds import Deny
from monitor.config.manifest import Registered, read_manifest
from monitor.config.manifest_writer import entry_node, entry_of
from monitor.config.policies import line_names
from monitor.core.endpoint import Endpoint
from monitor.core.errors import ConfigError, Problem
from monitor.registry.apply import EndpointChange, differences
from monitor.registry.journal import Act, Rounds, act
from monitor.registry.known import among, find_entry, named, read_known, readable
from monitor.store.port import Put, RegistryChanges, Removal, Store


async def add(store: Store, entry: Mapping[str, Any], *, actor: str, reason: str = "", deny: Deny | None = None) -> Endpoint:
    """Register one endpoint, written as in a manifest. ConfigError where its id is taken, or where others keep changing what it
    inherits or depends on."""
    doing = await act(store, actor, reason)
    rounds = Rounds()
    while True:
        known = await read_known(store)
        endpoint = _read_one(known.registered, entry, entry.keys(), deny)
        if endpoint.id in known.endpoints:
            hint = f"change it with `watchkeeper endpoint edit {endpoint.id}`, or give another --id"
            raise ConfigError([Problem("--id", "id", repr(endpoint.id), "an endpoint of this id is registered already", hint)])
        put = Put(endpoint=endpoint, transitions=doing.created(endpoint))
        answer = await store.register(RegistryChanges(puts=(put,), revision=known.revision))
        if answer.ok:  # Where somebody has just registered it, the next round says so.
            return endpoint
        await rounds.lost(store, answer)


async def edit(
    store: Store, endpoint_id: str, entry: Mapping[str, Any], *, actor: str, reason: str = "", deny: Deny | None = None
) -> EndpointChange:
    """Change some settings of an endpoint; the others stay as they are when this is written, whoever changed them, also in another pool
    that has defaults of its own.

    Labels are merged, and a label of None is taken away. ConfigError where others keep changing it.
    """
    doing = await act(store, actor, reason)
    rounds = Rounds()
    while True:
        known = await read_known(store)
        found = among(known.endpoints, endpoint_id)
        old = readable(endpoint_id, found)
        registered = known.registered
        written = entry_of(old, registered.pools.get(entry.get("pool", old.pool)), flat=True)
        for key in line_names(entry.get("active") or ""):
            written.pop(key, None)  # The new policy says it.
        labels = {**written.get("labels", {}), **entry.get("labels", {})}
        merged = {**written, **entry, **({"labels": labels} if labels else {}), "id": endpoint_id}
        new = _read_one(registered, merged, entry.keys(), deny)
        change = EndpointChange(endpoint_id, differences(old, new))
        if new == old:
            return change
        put = Put(endpoint=new, old=found, transitions=doing.changed(old, new, change.fields))
        answer = await store.register(RegistryChanges(puts=(put,), revision=known.revision))
        if answer.ok:
            return change
        await rounds.lost(store, answer)


def _read_one(known: Registered, entry: Mapping[str, Any], given: Collection[str], deny: Deny | None) -> Endpoint:
    return read_manifest([entry_node(entry, given)], registered=known, deny=deny).endpoints[0]


async def remove(store: Store, endpoint_ids: Sequence[str], *, actor: str, reason: str = "", force: bool = False) -> None:
    """Remove endpoints, and entries that cannot be read.

    ConfigError where others depend on one; with `force` those lose that parent.
    """
    doing = await act(store, actor, reason)
    known = await read_known(store)
    gone = {named(known.endpoints, endpoint_id): None for endpoint_id in endpoint_ids}
    rounds = Rounds()
    while True:
        entries = known.endpoints
        orphans = [
            (entry, entry.value)
            for name, entry in entries.items()
            if name not in gone and entry.value and not gone.keys().isdisjoint(entry.value.depends_on)
        ]
        if orphans and not force:
            raise ConfigError([_depended_on(child, gone) for _, child in orphans])
        freed = [(entry, child, _without(child, gone)) for entry, child in orphans]
        puts = tuple(Put(endpoint=new, old=entry, transitions=doing.changed(old, new, differences(old, new))) for entry, old, new in freed)
        removals = tuple(
            Removal(id=name, old=entry, transitions=doing.removed(name, entry.value, entry.pool))
            for name, entry in entries.items()
            if name in gone
        )
        # Children first, so that whatever ends this leaves none without its parent.
        answer = await store.register(RegistryChanges(puts=puts, revision=known.revision))
        if answer.ok:
            answer = await store.register(RegistryChanges(removals=removals, revision=answer.revision))
        if answer.ok:
            return
        await rounds.lost(store, answer)
        known = await read_known(store)


def _without(child: Endpoint, gone: Collection[str]) -> Endpoint:
    return msgspec.structs.replace(child, depends_on=tuple(parent for parent in child.depends_on if parent not in gone))


def _depended_on(child: Endpoint, gone: Collection[str]) -> Problem:
    parents = ", ".join(parent for parent in child.depends_on if parent in gone)
    return Problem(
        "", "endpoint", parents, f"{child.id} depends on it", f"edit {child.id} first, or give --force to take the parent out of it"
    )


async def set_paused(store: Store, endpoint_ids: Sequence[str], *, paused: bool, actor: str, reason: str = "") -> tuple[str, ...]:
    """Pause or resume; returns the ids that were not so before. Whatever else is changed meanwhile stays."""
    doing = await act(store, actor, reason)
    changed: dict[str, None] = {}
    rounds = Rounds()
    while True:
        puts = [put for endpoint_id in dict.fromkeys(endpoint_ids) if (put := await _pause(store, endpoint_id, doing, paused=paused))]
        answer = await store.register(RegistryChanges(puts=tuple(puts)))
        changed |= dict.fromkeys(put.endpoint.id for put in puts if put.endpoint.id not in answer.unwritten)
        if answer.ok:
            return tuple(endpoint_id for endpoint_id in endpoint_ids if endpoint_id in changed)
        await rounds.lost(store, answer)


async def _pause(store: Store, endpoint_id: str, doing: Act, *, paused: bool) -> Put | None:
    entry = await find_entry(store, endpoint_id)
    old = readable(endpoint_id, entry)
    if old.paused is paused:
        return None
    new = msgspec.structs.replace(old, paused=paused)
    return Put(endpoint=new, old=entry, transitions=doing.changed(old, new, {}))
