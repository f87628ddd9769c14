"""One endpoint's past: rows of minutes, hours or days, and its last results."""

from __future__ import annotations

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.history import PERIODS, Row, Sample, open_rows, read_rows, read_samples, report
from monitor.core.record import Record, decode_record
from monitor.query.readable import readable
from monitor.registry.known import find
from monitor.store.port import Store


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint's rows of one period, oldest first, the present one included, and what they come to together."""

    endpoint: Endpoint
    rows: tuple[Row, ...]
    whole: Row
    samples: tuple[Sample, ...]


async def read_history(store: Store, endpoint_id: str, period_name: str, now_ms: int) -> History:
    """ConfigError when there is no such endpoint; `period_name` is min, hour or day."""
    endpoint = await find(store, endpoint_id)
    period = next(period for period in PERIODS if period.name == period_name)
    record = readable(decode_record, (await store.load([endpoint_id]))[0].record) or Record()
    rows = read_rows(period, await store.samples(endpoint_id, period.name), now_ms)
    present = open_rows(record.history, endpoint, now_ms).get(period.name, [])
    newer = {row.start_ms for row in present}
    rows = [*(row for row in rows if row.start_ms not in newer), *present]
    return History(
        endpoint=endpoint,
        rows=tuple(rows),
        whole=report(rows, now_ms),
        samples=tuple(read_samples(await store.samples(endpoint_id, "ring"))),
    )
