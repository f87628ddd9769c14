"""An endpoint's past as a recording for `watchkeeper breaker replay`."""

from __future__ import annotations

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem
from monitor.core.history import HOUR, MINUTE
from monitor.core.policies.choice import Choices, resolved
from monitor.core.replaying.recorded import Recorded, recorded, recorded_traffic
from monitor.query.history import read_history
from monitor.query.traffic import read_traffic_history
from monitor.store.port import Store


async def read_recorded(store: Store, endpoint_id: str, since_ms: int, now_ms: int) -> Recorded:
    """What is kept of its probes since then, with the policy that judges them. ConfigError when there is no such endpoint."""
    minutes = await read_history(store, endpoint_id, MINUTE.name, now_ms)
    hours = await read_history(store, endpoint_id, HOUR.name, now_ms)
    endpoint = minutes.endpoint
    active = (await _choices(store, endpoint)).active
    return recorded(endpoint.id, active, samples=minutes.samples, minutes=minutes.rows, hours=hours.rows, since_ms=since_ms)


async def read_recorded_traffic(store: Store, endpoint_id: str, since_ms: int, now_ms: int) -> Recorded:
    """What is kept of the calls that consumers reported since then, with the policy that judges them. ConfigError also where none does."""
    found = await read_traffic_history(store, endpoint_id, now_ms)
    passive = (await _choices(store, found.endpoint)).passive
    if passive is None:
        hint = "record its probes (--source probes), or give its pool a passive policy"
        raise ConfigError([Problem("", "passive", "none", "no policy judges what consumers report of this endpoint", hint)])
    return recorded_traffic(found.endpoint.id, passive, found.rows, since_ms, now_ms)


async def _choices(store: Store, endpoint: Endpoint) -> Choices:
    entry = (await store.pool_entries()).get(endpoint.pool)
    return resolved(endpoint, entry.value if entry is not None and entry.value is not None else Pool(name=endpoint.pool))
