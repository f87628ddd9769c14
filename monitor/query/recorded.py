"""An endpoint's past as a recording for `watchkeeper breaker replay`."""

from __future__ import annotations

from monitor.core.endpoint import Pool
from monitor.core.history import HOUR, MINUTE
from monitor.core.policies.choice import resolved
from monitor.core.replaying.recorded import Recorded, recorded
from monitor.query.history import read_history
from monitor.store.port import Store


async def read_recorded(store: Store, endpoint_id: str, since_ms: int, now_ms: int) -> Recorded:
    """What is kept of its probes since then, with the policy that judges them. ConfigError when there is no such endpoint."""
    minutes = await read_history(store, endpoint_id, MINUTE.name, now_ms)
    hours = await read_history(store, endpoint_id, HOUR.name, now_ms)
    endpoint = minutes.endpoint
    entry = (await store.pool_entries()).get(endpoint.pool)
    pool = entry.value if entry is not None and entry.value is not None else Pool(name=endpoint.pool)
    active = resolved(endpoint, pool).active
    return recorded(endpoint.id, active, samples=minutes.samples, minutes=minutes.rows, hours=hours.rows, since_ms=since_ms)
