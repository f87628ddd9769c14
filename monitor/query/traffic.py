"""What consumers have reported, and who they are, for people and programs."""

from __future__ import annotations

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.history import MINUTE, Row, merge, read_rows
from monitor.pool.traffic.shapes import NO_TRAFFIC, EndpointTraffic, TrafficHead, decode_field, faded
from monitor.query.readable import readable
from monitor.registry.known import find
from monitor.store.port import Store


class Observer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer that reports. `failing_share` is the part of the endpoints it reports on which it fails; while it is quarantined
    (`quarantined_ms` is since when, else 0) what it says does not count."""

    name: str
    seen_ms: int
    failing_share: float
    quarantined_ms: int = 0


class TrafficStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What consumers' calls have shown of an endpoint, older ones fading: by word (docs/reference/keys.md), and quantiles of
    the successful ones. `at_ms` is when it was last counted, 0: never."""

    at_ms: int = 0
    ok: float = 0.0
    failed: float = 0.0
    slow: float = 0.0
    calls: dict[str, float] = {}
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    held: str = ""
    """Why its policy would eject it, and it is not ejected."""


class TrafficHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The minutes of one endpoint's traffic, oldest first, the present one included, and what they come to together. Counts are of calls
    that consumers reported; `inconclusive` are those that speak neither for the endpoint nor against it. They have no times."""

    endpoint: Endpoint
    rows: tuple[Row, ...]
    whole: Row


async def read_traffic_history(store: Store, endpoint_id: str, now_ms: int) -> TrafficHistory:
    """ConfigError when there is no such endpoint."""
    endpoint = await find(store, endpoint_id)
    rows = read_rows(MINUTE, await store.traffic_minutes(endpoint.pool, endpoint_id), now_ms)
    data = (await store.load_pool(endpoint.pool)).traffic.fields.get(endpoint_id, b"")
    present = (readable(decode_field, data) or NO_TRAFFIC).minute
    rows = [row for row in rows if row.start_ms != present.start_ms]
    if now_ms - present.start_ms <= MINUTE.rows * MINUTE.length_ms:
        rows.append(present.row())
    return TrafficHistory(endpoint=endpoint, rows=tuple(rows), whole=merge(rows))


def observers(head: TrafficHead) -> tuple[Observer, ...]:
    """All that are known of a pool, by name."""
    return tuple(
        Observer(name=name, seen_ms=one.seen_ms, failing_share=round(one.share, 3), quarantined_ms=one.quarantined_ms)
        for name, one in sorted(head.observers.items())
    )


def traffic_status(field: EndpointTraffic, now_ms: int) -> TrafficStatus:
    """What is known of an endpoint's traffic, as it counts now."""
    evidence = faded(field.evidence, now_ms) if field.evidence.at_ms else field.evidence
    p50_ms, p90_ms, p99_ms = (None if ms is None else round(ms, 3) for ms in evidence.quantiles_ms(0.5, 0.9, 0.99))
    return TrafficStatus(
        at_ms=field.evidence.at_ms,
        ok=round(evidence.ok, 2),
        failed=round(evidence.failed, 2),
        slow=round(evidence.slow, 2),
        calls={word: round(n, 2) for word, n in sorted(evidence.calls.items())},
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        held=field.held,
    )
