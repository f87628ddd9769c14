"""How the registry's entries are read, whoever wrote them: what cannot be read is said of that entry alone."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.errors import DECODE_ERRORS
from monitor.core.policies import POLICIES
from monitor.core.policies.choice import check_known, contradictions
from monitor.store.port import Entry, digest

RETRIES_WORKABLE_MAX = 1_000
"""Beyond what any release accepts: times are computed from 2 to this power."""

_endpoint = msgspec.json.Decoder(Endpoint).decode
_pool = msgspec.json.Decoder(Pool).decode


class _Placed(msgspec.Struct, frozen=True):
    pool: str = ""


class _Older(msgspec.Struct, frozen=True):
    """What pools had in earlier releases."""

    policy: str = ""
    """The kind of the active policy."""


_placed = msgspec.json.Decoder(_Placed).decode
_older = msgspec.json.Decoder(_Older).decode


def read_endpoint(name: str, spec: bytes) -> Endpoint:
    """Return the endpoint that is registered under `name`. Raises ValueError (msgspec's among them) where it cannot be worked with."""
    endpoint = _endpoint(spec)
    if endpoint.id != name:
        raise ValueError(f"it names itself {endpoint.id!r}")
    _ = urlsplit(endpoint.url).port  # Raises where it is no port.
    if endpoint.interval_ms < 1 or endpoint.weight < 1 or not 0 <= endpoint.retries <= RETRIES_WORKABLE_MAX:
        raise ValueError(
            f"nothing follows from interval_ms {endpoint.interval_ms}, weight {endpoint.weight} and retries {endpoint.retries}"
        )
    check_known(endpoint.active, endpoint.passive)
    return endpoint


def read_pool(name: str, settings: bytes) -> Pool:
    """Return the pool whose settings are kept under `name`. Raises as `read_endpoint` does."""
    pool = _pool(settings)
    if pool.name != name:
        raise ValueError(f"it names itself {pool.name!r}")
    check_known(pool.active, pool.passive)
    for _, error in contradictions(Endpoint(id=name, url="", pool=name), pool):
        raise error
    older = _older(settings).policy
    if older and older not in POLICIES:
        raise ValueError(f"there is no policy {older!r} in this release")
    return pool if pool.active or not older else msgspec.structs.replace(pool, active=PolicyChoice(older))


def endpoint_entry(name: str, spec: bytes) -> Entry[Endpoint]:
    """Return the entry of an endpoint that is registered under `name`."""
    try:
        endpoint = read_endpoint(name, spec)
    except DECODE_ERRORS as error:
        return Entry(digest(spec), None, _pool_of(spec), str(error), spec)
    return Entry(digest(spec), endpoint, endpoint.pool)


def pool_entry(name: str, settings: bytes) -> Entry[Pool]:
    """Return the entry of a pool whose settings are kept under `name`."""
    try:
        return Entry(digest(settings), read_pool(name, settings))
    except DECODE_ERRORS as error:
        return Entry(digest(settings), None, "", str(error), settings)


def _pool_of(spec: bytes) -> str:
    try:
        return _placed(spec).pool
    except DECODE_ERRORS:
        return ""
