"""How the registry's entries are read, whoever wrote them: what cannot be read is said of that entry alone."""

from __future__ import annotations

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.store.port import Entry, digest

_endpoint = msgspec.json.Decoder(Endpoint).decode
_pool = msgspec.json.Decoder(Pool).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class _Placed(msgspec.Struct, frozen=True):
    pool: str = ""


_placed = msgspec.json.Decoder(_Placed).decode


def endpoint_entry(name: str, spec: bytes) -> Entry[Endpoint]:
    """Return the entry of an endpoint that is registered under `name`."""
    try:
        endpoint = _endpoint(spec)
    except _UNREADABLE as error:
        return Entry(digest(spec), None, _pool_of(spec), str(error))
    if endpoint.id != name:
        return Entry(digest(spec), None, endpoint.pool, f"it names itself {endpoint.id!r}")
    return Entry(digest(spec), endpoint, endpoint.pool)


def pool_entry(name: str, settings: bytes) -> Entry[Pool]:
    """Return the entry of a pool whose settings are kept under `name`."""
    try:
        pool = _pool(settings)
    except _UNREADABLE as error:
        return Entry(digest(settings), None, "", str(error))
    if pool.name != name:
        return Entry(digest(settings), None, "", f"it names itself {pool.name!r}")
    return Entry(digest(settings), pool)


def _pool_of(spec: bytes) -> str:
    try:
        return _placed(spec).pool
    except _UNREADABLE:
        return ""
