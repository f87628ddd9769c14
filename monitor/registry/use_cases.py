"""Use cases behind the command line and the API: what is registered, and what operators say of it.

Each reads the registry, decides everything, and only then writes; what is refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from monitor.config.kinds import Deny
from monitor.config.located import Node
from monitor.config.manifest import Manifest, Registered, read_manifest
from monitor.config.manifest_writer import entry_node, entry_of, export, shown
from monitor.core.decide import Subject, decide
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.observation import OperatorWord
from monitor.core.record import Override, OverrideRecord, Record, Transition
from monitor.store.port import Store

WRITE_BATCH = 500
REASON_LENGTH_MAX = 300

Progress = Callable[[int, int], None]
"""Takes how many endpoints are written, of how many."""


class Change(msgspec.Struct, frozen=True):
    """`fields` maps each setting that differs to its old and new value as a listing shows them (None: not set)."""

    id: str
    fields: Mapping[str, tuple[Any, Any]]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a manifest does, or would do."""

    created: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    pools_changed: tuple[str, ...] = ()
    pools_removed: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.created or self.changed or self.removed or self.pools_changed or self.pools_removed)

    def as_row(self) -> dict[str, Any]:
        """The same as plain values, for programs."""
        return dict(msgspec.to_builtins(self))


async def registered(store: Store) -> Registered:
    return Registered(await store.endpoints(), await store.pools())


async def export_manifest(store: Store) -> str:
    known = await registered(store)
    return export(known.endpoints.values(), known.pools.values())


async def find(store: Store, endpoint_id: str) -> Endpoint:
    """Return the endpoint; ConfigError with the nearest id when there is none."""
    found = await store.endpoints([endpoint_id])
    if endpoint_id in found:
        return found[endpoint_id]
    hint = did_you_mean(endpoint_id, (await store.endpoints()).keys(), "`watchkeeper endpoint list` shows the endpoints")
    raise ConfigError([Problem("", "endpoint", repr(endpoint_id), "there is no endpoint of this id", hint)])


def plan(known: Registered, manifest: Manifest, *, prune: bool) -> Changes:
    """Compare what is written with what is registered. `prune` removes every endpoint and pool that is not written."""
    created, changed, unchanged = [], [], 0
    for endpoint in manifest.endpoints:
        old = known.endpoints.get(endpoint.id)
        if old is None:
            created.append(endpoint.id)
        elif _same(old, endpoint):
            unchanged += 1
        else:
            changed.append(Change(endpoint.id, _differences(old, endpoint)))
    written = {endpoint.id for endpoint in manifest.endpoints}
    return Changes(
        created=tuple(created),
        changed=tuple(changed),
        removed=tuple(sorted(known.endpoints.keys() - written)) if prune else (),
        unchanged=unchanged,
        pools_changed=tuple(name for name, pool in manifest.pools.items() if not _same(known.pools.get(name), pool)),
        pools_removed=tuple(sorted(known.pools.keys() - manifest.pools.keys())) if prune else (),
    )


def _same(old: Endpoint | Pool | None, new: Endpoint | Pool) -> bool:
    """Compare as stored: JSON has no tuples."""
    return old == new or msgspec.json.encode(old, order="sorted") == msgspec.json.encode(new, order="sorted")


def _differences(old: Endpoint, new: Endpoint) -> dict[str, tuple[Any, Any]]:
    before, after = shown(old), shown(new)
    return {key: (before.get(key), after.get(key)) for key in (before | after) if before.get(key) != after.get(key)}


async def apply(
    store: Store,
    roots: Sequence[Node],
    *,
    deny: Deny | None = None,
    dry_run: bool = False,
    prune: bool = False,
    progress: Progress | None = None,
) -> Changes:
    """Make the registry as the documents say. ConfigError: nothing was written. Repeating it after a StoreError completes it."""
    known = await registered(store)
    visible = Registered() if prune else known
    paused = {endpoint_id: endpoint.paused for endpoint_id, endpoint in known.endpoints.items()}
    manifest = read_manifest(roots, registered=visible, deny=deny, paused=paused)
    changes = plan(known, manifest, prune=prune)
    if not dry_run and not changes.empty:
        await _write(store, manifest, changes, progress)
    return changes


async def _write(store: Store, manifest: Manifest, changes: Changes, progress: Progress | None) -> None:
    wanted = {*changes.created, *(change.id for change in changes.changed)}
    puts = [endpoint for endpoint in manifest.endpoints if endpoint.id in wanted]
    pools = [manifest.pools[name] for name in changes.pools_changed]
    await store.register([], [], pools)
    for start in range(0, len(puts), WRITE_BATCH):
        await store.register(puts[start : start + WRITE_BATCH], [], [])
        if progress:
            progress(min(start + WRITE_BATCH, len(puts)), len(puts))
    for start in range(0, len(changes.removed), WRITE_BATCH):
        await store.register([], changes.removed[start : start + WRITE_BATCH], [])
    if changes.pools_removed:
        await store.register([], [], [], changes.pools_removed)


async def add(store: Store, entry: Mapping[str, Any], *, deny: Deny | None = None) -> Endpoint:
    """Register one endpoint, written as in a manifest. ConfigError where its id is taken."""
    known = await registered(store)
    endpoint = _read_one(known, entry, entry.keys(), deny)
    if endpoint.id in known.endpoints:
        hint = f"change it with `watchkeeper endpoint edit {endpoint.id}`, or give another --id"
        raise ConfigError([Problem("--id", "id", repr(endpoint.id), "an endpoint of this id is registered already", hint)])
    await store.register([endpoint], [], [])
    return endpoint


async def edit(store: Store, endpoint_id: str, entry: Mapping[str, Any], *, deny: Deny | None = None) -> Change:
    """Change some settings of an endpoint; the others stay. Labels are merged, and a label of None is taken away."""
    old = await find(store, endpoint_id)
    known = await registered(store)
    written = entry_of(old, known.pools.get(old.pool))
    labels = {**written.get("labels", {}), **entry.get("labels", {})}
    merged = {**written, **entry, **({"labels": labels} if labels else {}), "id": endpoint_id}
    new = _read_one(known, merged, entry.keys(), deny)
    if new != old:
        await store.register([new], [], [])
    return Change(endpoint_id, _differences(old, new))


def _read_one(known: Registered, entry: Mapping[str, Any], given: Collection[str], deny: Deny | None) -> Endpoint:
    return read_manifest([entry_node(entry, given)], registered=known, deny=deny).endpoints[0]


async def remove(store: Store, endpoint_ids: Sequence[str], *, force: bool = False) -> None:
    """Remove endpoints. ConfigError where others depend on one; with `force` those lose that parent."""
    for endpoint_id in endpoint_ids:
        await find(store, endpoint_id)
    gone = set(endpoint_ids)
    orphans = [child for child in (await store.endpoints()).values() if child.id not in gone and gone.intersection(child.depends_on)]
    if orphans and not force:
        raise ConfigError([_depended_on(child, gone) for child in orphans])
    freed = [msgspec.structs.replace(child, depends_on=tuple(p for p in child.depends_on if p not in gone)) for child in orphans]
    await store.register(freed, list(endpoint_ids), [])


def _depended_on(child: Endpoint, gone: Collection[str]) -> Problem:
    parents = ", ".join(parent for parent in child.depends_on if parent in gone)
    return Problem(
        "", "endpoint", parents, f"{child.id} depends on it", f"edit {child.id} first, or give --force to take the parent out of it"
    )


async def set_paused(store: Store, endpoint_ids: Sequence[str], *, paused: bool) -> tuple[str, ...]:
    """Pause or resume; returns the ids that were not so before."""
    found = [await find(store, endpoint_id) for endpoint_id in endpoint_ids]
    puts = [msgspec.structs.replace(endpoint, paused=paused) for endpoint in found if endpoint.paused is not paused]
    if puts:
        await store.register(puts, [], [])
    return tuple(endpoint.id for endpoint in puts)


async def set_override(
    store: Store, endpoint_id: str, override: Override | None, reason: str, now_ms: int, *, only: Override | None = None
) -> Transition | None:
    """Write an operator's word, or take it back with None. Returns the transition, or None where nothing changed.

    ConfigError where the word to be taken back is another than `only`.
    """
    endpoint = await find(store, endpoint_id)
    reason = reason.strip()
    if not reason or len(reason) > REASON_LENGTH_MAX or not reason.isprintable():
        why = f"the reason is no printable text of 1 to {REASON_LENGTH_MAX} characters"
        raise ConfigError([Problem("--reason", "reason", repr(reason[:80]), why, "say in a few words why; others will read it")])
    (loaded,) = await store.load([endpoint_id])
    old = msgspec.json.decode(loaded.override, type=OverrideRecord).override if loaded.override else None
    if old is override:
        return None
    if only is not None and old is not only:
        raise ConfigError(
            [Problem("", "endpoint", old or "", f"{endpoint_id} is not under {only}", "`watchkeeper breaker auto` takes any override back")]
        )
    word = OperatorWord(override=override, reason=reason, by="", replaces=old)
    (transition,) = decide(Subject(endpoint, Pool(name=endpoint.pool)), Record(), word, now_ms).transitions
    record = msgspec.json.encode(OverrideRecord(override=override, reason=reason, at_ms=now_ms)) if override else b""
    await store.set_override(endpoint, record, msgspec.json.encode(transition))
    return transition
