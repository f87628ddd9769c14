"""Another name for an endpoint, with all that is known of it."""

from __future__ import annotations

import msgspec

from monitor.config.fields import name as checked_name
from monitor.core.endpoint import Endpoint
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem
from monitor.core.record import decode_record, encode_record
from monitor.core.texts import shorten
from monitor.registry.apply import differences
from monitor.registry.journal import Act, Rounds, act
from monitor.registry.known import Known, among, named, read_known, readable
from monitor.store.port import Put, Renaming, Store

CHILDREN_MAX = 500
"""Endpoints that depend on the one that is renamed: they are written with it, in one script."""


async def rename(store: Store, old_id: str, new_id: str, *, actor: str, reason: str = "") -> tuple[str, ...]:
    """Rename an endpoint in its pool, with its history, record, override and log; those that depend on it follow, and are returned.

    ConfigError where there is no such endpoint, where the new name is none or taken, or where others keep changing what is written.
    """
    doing = await act(store, actor, reason)
    try:
        checked_name(new_id)
    except ValueError as error:
        raise ConfigError([Problem("", "new name", shorten(new_id), str(error), "")]) from None
    rounds = Rounds()
    while True:
        known = await read_known(store)
        renaming = await _decided(store, known, named(known.endpoints, old_id), new_id, doing)
        answer = await store.rename(renaming)
        if answer.ok:
            return tuple(put.endpoint.id for put in renaming.children)
        await rounds.lost(store, answer)


async def _decided(store: Store, known: Known, old_id: str, new_id: str, doing: Act) -> Renaming:
    entry = among(known.endpoints, old_id)
    old = readable(old_id, entry)
    if new_id in known.endpoints:
        hint = f"give another name, or remove it first with `watchkeeper endpoint rm {new_id}`"
        raise ConfigError([Problem("", "new name", repr(new_id), "an endpoint of this name is registered already", hint)])
    loaded, left = await store.load([old_id, new_id])
    if left.ver or left.record or left.memory:
        why = "an endpoint of this name was removed a moment ago, and what is left of it is still being taken away"
        raise ConfigError([Problem("", "new name", repr(new_id), why, "repeat the command in some seconds, with workers and beat running")])
    new = msgspec.structs.replace(old, id=new_id)
    children = tuple(
        Put(endpoint=after, old=child, transitions=doing.changed(before, after, differences(before, after)))
        for child, before, after in (
            (child, child.value, _following(child.value, old_id, new_id))
            for child in known.endpoints.values()
            if child.value is not None and old_id in child.value.depends_on
        )
    )
    if len(children) > CHILDREN_MAX:
        why = f"{len(children)} endpoints depend on it, and at most {CHILDREN_MAX} can follow at once"
        raise ConfigError([Problem("", "endpoint", repr(old_id), why, "take it out of the `depends_on` of some first")])
    told_old, told_new = doing.renamed(old, new)
    return Renaming(
        old_id=old_id,
        old=entry,
        endpoint=new,
        told_old=told_old,
        told_new=told_new,
        ver=loaded.ver,
        record=_renamed(loaded.record, old_id),
        children=children,
        revision=known.revision,
    )


def _renamed(record: bytes, old_id: str) -> bytes:
    """The record as that of the new name; one that cannot be read stays as it is."""
    try:
        return encode_record(msgspec.structs.replace(decode_record(record), renamed_from=old_id))
    except DECODE_ERRORS:
        return record


def _following(child: Endpoint, old_id: str, new_id: str) -> Endpoint:
    return msgspec.structs.replace(child, depends_on=tuple(new_id if parent == old_id else parent for parent in child.depends_on))
