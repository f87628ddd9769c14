"""Manifests applied: what is written compared with what is registered, and made so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from monitor.config.kinds import Deny
from monitor.config.located import Node
from monitor.config.manifest import Manifest, Registered, read_manifest
from monitor.config.manifest_writer import pool_shown, shown
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem
from monitor.registry.journal import Act, Fields, Rounds, act
from monitor.registry.known import Known, read_known
from monitor.store.port import Entry, PoolPut, PoolRemoval, Put, RegistryAnswer, RegistryChanges, Removal, Store

WRITE_BATCH = 500
TOLD_ONE_BY_ONE_MAX = 100
"""An application that changes more tells the stream of events once of the endpoints that it writes, and their own logs each its own.
Pools and endpoints that go have no log of their own afterwards: the stream tells of each."""

Progress = Callable[[int, int], None]
"""Takes how many endpoints are written, of how many."""


class EndpointChange(msgspec.Struct, frozen=True):
    """`fields` maps each setting that differs to its old and new value as a listing shows them (None: not set)."""

    id: str
    fields: Mapping[str, tuple[Any, Any]]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a manifest does, or would do."""

    created: tuple[str, ...] = ()
    changed: tuple[EndpointChange, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    pools_changed: tuple[str, ...] = ()
    pools_removed: tuple[str, ...] = ()
    pool_owners: Mapping[str, tuple[str, str]] = {}
    """Pools that pass from one owner to another."""
    owners: tuple[str, ...] = ()
    """Whose manifests these are: `--prune` removes what they alone registered."""
    left: int = 0
    """Endpoints and pools that are not written and stay, since others registered them; counted with `--prune` only."""

    @property
    def empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.created or self.changed or self.removed or self.pools_changed or self.pools_removed)

    @property
    def size(self) -> int:
        """How many endpoints and pools are changed."""
        parts = (self.created, self.changed, self.removed, self.pools_changed, self.pools_removed)
        return sum(map(len, parts))

    @property
    def counts(self) -> str:
        """How many endpoints of each kind, and pools where there are any, in words."""
        written = f"{len(self.created)} created, {len(self.changed)} changed, {len(self.removed)} removed"
        pools = f"; pools: {len(self.pools_changed)} written, {len(self.pools_removed)} removed"
        return f"{written}, {self.unchanged} unchanged{pools if self.pools_changed or self.pools_removed else ''}"

    def as_row(self) -> dict[str, Any]:
        """The same as plain values, for programs."""
        return dict(msgspec.to_builtins(self))


def plan(known: Known, manifest: Manifest, *, prune: bool) -> Changes:
    """Compare what is written with what is registered. `prune` removes what is not written and belongs to the manifest's owners."""
    registered = known.registered
    created, changed, unchanged = [], [], 0
    for endpoint in manifest.endpoints:
        old = registered.endpoints.get(endpoint.id)
        if old is None and endpoint.id in known.endpoints:
            changed.append(EndpointChange(endpoint.id, {"entry": ("unreadable", "written anew")}))
        elif old is None:
            created.append(endpoint.id)
        elif _same(old, endpoint):
            unchanged += 1
        else:
            changed.append(EndpointChange(endpoint.id, differences(old, endpoint)))
    pools_changed = tuple(name for name, pool in manifest.pools.items() if not _same(registered.pools.get(name), pool))
    written = {endpoint.id for endpoint in manifest.endpoints}
    removed, left = _unwritten(registered.endpoints, written, manifest.owners)
    pools_removed, pools_left = _unwritten(registered.pools, manifest.pools.keys(), manifest.owners)
    return Changes(
        created=tuple(created),
        changed=tuple(changed),
        removed=removed if prune else (),
        unchanged=unchanged,
        pools_changed=pools_changed,
        pools_removed=pools_removed if prune else (),
        pool_owners={
            name: (registered.pools[name].owner, manifest.pools[name].owner)
            for name in pools_changed
            if name in registered.pools and registered.pools[name].owner != manifest.pools[name].owner
        },
        owners=tuple(sorted(manifest.owners)),
        left=left + pools_left if prune else 0,
    )


def _unwritten(
    registered: Mapping[str, Endpoint] | Mapping[str, Pool], written: Collection[str], owners: Collection[str]
) -> tuple[tuple[str, ...], int]:
    """What is registered and not written: what these owners registered, and how much others did."""
    unwritten = registered.keys() - written
    ours = sorted(name for name in unwritten if registered[name].owner in owners)
    return tuple(ours), len(unwritten) - len(ours)


def _same(old: Endpoint | Pool | None, new: Endpoint | Pool) -> bool:
    """Compare values: what comes from the store has lists where tuples were written."""
    return old == new or (old is not None and _values(old) == _values(new))


def _values(entry: Endpoint | Pool) -> bytes:
    """JSON leaves a default out only where it is the very same object, so that the struct itself does not always give the same."""
    return msgspec.json.encode(msgspec.structs.asdict(entry), order="sorted")


def differences(old: Endpoint, new: Endpoint) -> Fields:
    """Each setting that differs, as a listing shows it."""
    return _differing(shown(old), shown(new))


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Fields:
    return {key: (before.get(key), after.get(key)) for key in {**before, **after} if before.get(key) != after.get(key)}


async def apply(
    store: Store,
    roots: Sequence[Node],
    *,
    actor: str,
    reason: str = "",
    owner: str | None = None,
    deny: Deny | None = None,
    dry_run: bool = False,
    prune: bool = False,
    progress: Progress | None = None,
) -> Changes:
    """Make the registry as the documents say. ConfigError: nothing was written, unless it says that others keep changing an entry.

    `owner` (None: the one that each document states, else `manual`) is who registers what is written; what another registered passes
    to him. Where others change the registry meanwhile, what is left is decided afresh, as long as something is written that was not
    written yet. Repeating it after a StoreError completes it.
    """
    doing = await act(store, actor, reason)
    made = _Made()
    rounds = Rounds()
    while True:
        known = await read_known(store)
        registered = known.registered
        paused = {name: endpoint.paused for name, endpoint in registered.endpoints.items()}
        manifest = read_manifest(roots, registered=registered, deny=deny, paused=paused, owner=owner, prune=prune)
        changes = plan(known, manifest, prune=prune)
        _refuse_orphans(registered, manifest, changes)
        if dry_run:
            return changes
        made.begin(changes)
        before = made.size
        refused = await _Round(store, known, manifest, changes, doing, made).write(progress)
        if refused is None:
            done = made.changes(manifest, changes)
            if made.summarised and not done.empty:
                await store.register(RegistryChanges(transitions=(doing.summary(done.counts),)))
            return done
        if made.size > before:
            rounds.won()
        else:
            await rounds.lost(store, refused)


class _Made:
    """What was written so far, over all rounds."""

    def __init__(self) -> None:
        self.summarised = False
        self.created: dict[str, None] = {}
        self.changed: dict[str, EndpointChange] = {}
        self.removed: dict[str, None] = {}
        self.pools_changed: dict[str, None] = {}
        self.pools_removed: dict[str, None] = {}
        self.pool_owners: dict[str, tuple[str, str]] = {}

    @property
    def size(self) -> int:
        """How many entries were written, each once."""
        return len(self.created) + len(self.changed) + len(self.removed) + len(self.pools_changed) + len(self.pools_removed)

    def begin(self, changes: Changes) -> None:
        self.summarised = self.summarised or changes.size > TOLD_ONE_BY_ONE_MAX

    def wrote(self, changes: Changes, names: Collection[str]) -> None:
        self.created |= dict.fromkeys(name for name in changes.created if name in names)
        self.changed |= {change.id: change for change in changes.changed if change.id in names}
        self.removed |= dict.fromkeys(name for name in changes.removed if name in names)

    def wrote_pools(self, changes: Changes, written: RegistryChanges) -> None:
        names = [put.pool.name for put in written.pools]
        self.pools_changed |= dict.fromkeys(names)
        self.pool_owners |= {name: owners for name, owners in changes.pool_owners.items() if name in names}
        self.pools_removed |= dict.fromkeys(gone.name for gone in written.pool_removals)

    def changes(self, manifest: Manifest, last: Changes) -> Changes:
        return Changes(
            created=tuple(self.created),
            changed=tuple(self.changed.values()),
            removed=tuple(self.removed),
            unchanged=len(manifest.endpoints) - len({*self.created, *self.changed}),
            pools_changed=tuple(self.pools_changed),
            pools_removed=tuple(self.pools_removed),
            pool_owners=self.pool_owners,
            owners=last.owners,
            left=last.left,
        )


@dataclass(slots=True)
class _Round:
    """One attempt: what was read, what follows from it, and what of it was written."""

    store: Store
    known: Known
    manifest: Manifest
    changes: Changes
    doing: Act
    made: _Made
    revision: int = field(init=False)
    """The registry's revision that follows from the one that was read."""

    def __post_init__(self) -> None:
        self.revision = self.known.revision

    async def write(self, progress: Progress | None) -> RegistryAnswer | None:
        """Write pools, then endpoints, then what goes. The first answer that is not ok ends it; None: all is written."""
        return (
            await self._write_pools(RegistryChanges(pools=tuple(map(self._pool_put, self.changes.pools_changed))))
            or await self._write_endpoints(progress)
            or await self._remove_endpoints()
            or await self._write_pools(RegistryChanges(pool_removals=tuple(map(self._pool_removal, self.changes.pools_removed))))
        )

    async def _register(self, changes: RegistryChanges) -> RegistryAnswer:
        summarised = self.made.summarised and bool(changes.puts)
        changes = msgspec.structs.replace(changes, revision=self.revision, in_stream=not summarised)
        answer = await self.store.register(changes)
        self.revision = answer.revision
        return answer

    async def _write_pools(self, changes: RegistryChanges) -> RegistryAnswer | None:
        answer = await self._register(changes)
        if not answer.ok:
            return answer
        self.made.wrote_pools(self.changes, changes)
        return None

    async def _write_endpoints(self, progress: Progress | None) -> RegistryAnswer | None:
        wanted = {*self.changes.created, *(change.id for change in self.changes.changed)}
        puts = [self._put(endpoint) for endpoint in self.manifest.endpoints if endpoint.id in wanted]
        for batch in _batches(puts):
            answer = await self._register(RegistryChanges(puts=tuple(batch)))
            self.made.wrote(self.changes, {put.endpoint.id for put in batch} - answer.unwritten)
            if not answer.ok:
                return answer
            if progress:
                progress(len({*self.made.created, *self.made.changed}), len(puts))
        return None

    async def _remove_endpoints(self) -> RegistryAnswer | None:
        for batch in _batches([self._removal(name) for name in self.changes.removed]):
            answer = await self._register(RegistryChanges(removals=tuple(batch)))
            self.made.wrote(self.changes, {removal.id for removal in batch} - answer.unwritten)
            if not answer.ok:
                return answer
        return None

    def _put(self, endpoint: Endpoint) -> Put:
        entry = self.known.endpoints.get(endpoint.id)
        if entry is None:
            transitions = self.doing.created(endpoint)
        elif entry.value is None:
            transitions = self.doing.rewritten(endpoint)
        else:
            transitions = self.doing.changed(entry.value, endpoint, differences(entry.value, endpoint))
        return Put(endpoint=endpoint, old=entry, transitions=transitions)

    def _removal(self, name: str) -> Removal:
        entry = self.known.endpoints[name]
        return Removal(id=name, old=entry, transitions=self.doing.removed(name, entry.value, entry.pool))

    def _pool_put(self, name: str) -> PoolPut:
        pool, entry = self.manifest.pools[name], self.known.pools.get(name)
        return PoolPut(pool=pool, old=entry, transitions=self._told(entry, pool, name))

    def _pool_removal(self, name: str) -> PoolRemoval:
        entry = self.known.pools[name]
        return PoolRemoval(name=name, old=entry, transitions=self._told(entry, None, name))

    def _told(self, entry: Entry[Pool] | None, new: Pool | None, name: str) -> tuple[bytes, ...]:
        return self.doing.pool(
            entry, new, name, _differing(pool_shown(entry.value), pool_shown(new)) if entry and entry.value and new else {}
        )


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + WRITE_BATCH] for start in range(0, len(items), WRITE_BATCH))


def _refuse_orphans(registered: Registered, manifest: Manifest, changes: Changes) -> None:
    """Raise ConfigError where what others registered depends on what would be removed."""
    gone = set(changes.removed)
    written = {endpoint.id for endpoint in manifest.endpoints}
    problems = [
        Problem(
            "",
            "endpoint",
            parent,
            f"{child.id} of {child.owner} depends on it, and --prune would remove it",
            f"edit {child.id} first, or write {parent}",
        )
        for child in registered.endpoints.values()
        if child.id not in gone and child.id not in written
        for parent in child.depends_on
        if parent in gone
    ]
    if problems:
        raise ConfigError(problems)
