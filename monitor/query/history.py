"""One endpoint's past: rows of minutes, hours or days, and its last results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.history import DAY, HOUR, PERIODS, Period, Row, Sample, merge, open_rows, read_rows, read_samples, report
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


async def read_history(store: Store, endpoint_id: str, period_name: str, now_ms: int, zone: tzinfo | None = UTC) -> History:
    """ConfigError when there is no such endpoint; `period_name` is min, hour or day. Days are those of `zone`, None: this machine's, as
    far as hours are kept."""
    endpoint = await find(store, endpoint_id)
    period = next(period for period in PERIODS if period.name == period_name)
    record = readable(decode_record, (await store.load([endpoint_id]))[0].record) or Record()

    async def read(kind: Period) -> list[Row]:
        rows = read_rows(kind, await store.samples(endpoint_id, kind.name), now_ms)
        present = open_rows(record.history, endpoint, now_ms).get(kind.name, [])
        newer = {row.start_ms for row in present}
        return [*(row for row in rows if row.start_ms not in newer), *present]

    rows = await read(period)
    if period is DAY:
        rows = days_of(zone, rows, await read(HOUR), now_ms)
    return History(
        endpoint=endpoint,
        rows=tuple(rows),
        whole=report(rows, now_ms),
        samples=tuple(read_samples(await store.samples(endpoint_id, "ring"))),
    )


def days_of(zone: tzinfo | None, days: Sequence[Row], hours: Sequence[Row], now_ms: int) -> list[Row]:
    """The days of a zone, oldest first, made of rows of UTC days and hours.

    As far as hours are kept (eight days) a day goes from midnight to midnight there, with 23 or 25 hours where the zone's clocks change;
    where its offset is no whole number of hours, from the first whole hour of UTC after midnight. Days before are UTC's; between the
    two is a row of the hours that belong to neither.
    """
    if not hours or all(_midnight_ms(row.start_ms, zone) == row.start_ms // DAY.length_ms * DAY.length_ms for row in days):
        return list(days)
    first_ms = hours[0].start_ms
    if days[0].start_ms // HOUR.length_ms == first_ms // HOUR.length_ms:  # All that ever was is in the hours.
        return list(_by_day(zone, hours, now_ms))
    whole_ms = -(-first_ms // DAY.length_ms) * DAY.length_ms  # From this day of UTC on every hour is there.
    midnight_ms = _first_hour_ms(whole_ms if _midnight_ms(whole_ms, zone) == whole_ms else _midnight_ms(whole_ms, zone, days=1))
    until_ms = midnight_ms // DAY.length_ms * DAY.length_ms
    between = [row for row in hours if until_ms <= row.start_ms < midnight_ms]
    return [
        *(row for row in days if row.start_ms < until_ms),
        *([_whole(between, until_ms, midnight_ms)] if between else []),
        *_by_day(zone, [row for row in hours if row.start_ms >= midnight_ms], now_ms),
    ]


def _by_day(zone: tzinfo | None, hours: Sequence[Row], now_ms: int) -> Iterator[Row]:
    for midnight_ms, found in groupby(hours, lambda row: _midnight_ms(row.start_ms, zone)):
        rows = list(found)
        start_ms = rows[0].start_ms if rows[0] is hours[0] else _first_hour_ms(midnight_ms)
        yield _whole(rows, start_ms, min(now_ms, _first_hour_ms(_midnight_ms(rows[0].start_ms, zone, days=1))))


def _whole(rows: Sequence[Row], start_ms: int, end_ms: int) -> Row:
    """One row from `start_ms` to `end_ms`, of which is unknown what the rows do not tell."""
    row = merge(rows)
    known_ms = row.up_ms + row.down_ms + row.paused_ms
    return msgspec.structs.replace(row, start_ms=start_ms, unknown_ms=max(0, end_ms - start_ms - known_ms))


def _midnight_ms(at_ms: int, zone: tzinfo | None, *, days: int = 0) -> int:
    """The midnight of the zone before that time, or so many days after it."""
    there = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    midnight = datetime(there.year, there.month, there.day, tzinfo=zone) + timedelta(days=days)
    return int(midnight.timestamp() * 1000)


def _first_hour_ms(at_ms: int) -> int:
    return -(-at_ms // HOUR.length_ms) * HOUR.length_ms
