"""History: a ring of the last results, and rows of counts and times per minute, hour and day. Nothing here reads or writes a store.

Every length is in time since the epoch, never in local time: a day is 86,400 s in UTC, so no daylight-saving change makes one
longer or leaves a hole. What a probe belongs to is decided by the slot it was scheduled for, not by when it ended.

Ring: RING_LENGTH samples of SAMPLE_BYTES, each at the place after the one before it, whatever the interval is. A commit that is
repeated is refused by its lease's token, so no sample is written twice.

Rows count results, and measure time: a result stands from its slot until the next one, at most for STANDS_INTERVALS of the
interval then in force. Time for which no result stands is unknown, a pause is paused; neither is ever down. Uptime is up / (up + down)
of time, so that a failing endpoint that is probed faster is not down for longer.

The present minute is counted in the record; when the next one begins, the closed minute becomes a row and is added to the hour, and
so the hour to the day. Thus `history.hour` lacks the present minute, and `history.day` the present hour; `open_rows` adds them.

A row takes 24 bytes, an endpoint's whole history at most 1,600 + (120 + 192 + 400) * 24 = 18,688 bytes. Latencies are counted
in buckets that grow by 10 %, so a quantile is within 4.9 % of a latency that was really seen there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, inf, log
from struct import Struct
from typing import Final, TypeAlias

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.record import HistoryState, Rollup, Standing
from monitor.core.schedule import result_age_max_ms

RING_LENGTH: Final = 100
SAMPLE_BYTES: Final = 16
ROW_BYTES: Final = 24
STANDS_INTERVALS: Final = 1.5
"""A result stands for its interval and half of it: the next one may come late within its slot."""

_SAMPLE: Final = Struct("<QfHBB")
# A code is a place in these: finding an enum's member in a short tuple is faster than hashing it. New ones go to the end.
_LATEST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: no calendar goes further."""
_OUTCOMES: Final = tuple(Outcome)
_FAILURES: Final = (None, *FailureClass)

# Start in minutes since the epoch; ok, failed, inconclusive; up, down, paused, unknown in ms; by how many bits the counts and
# the times were shifted; p50, p90, p99 as bucket numbers.
_ROW: Final = Struct("<IHHHHHHHBBBBBx")
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_BUCKET_GROWTH: Final = 1.1
_BUCKET_FIRST_MS: Final = 0.1
BUCKET_MAX: Final = 254
_NO_BUCKET: Final = 255
_PER_BUCKET: Final = 1.0 / log(_BUCKET_GROWTH)
_EMPTY: Final = Rollup()
_UNKNOWN, _UP, _DOWN, _PAUSED = Standing.UNKNOWN, Standing.UP, Standing.DOWN, Standing.PAUSED
_SUCCESS: Final = Outcome.SUCCESS
_FAILURE: Final = Outcome.FAILURE


class RowWrite(msgspec.Struct, frozen=True):
    """Bytes to lay into an endpoint's ring or rows at an offset; `name` is ring, min, hour or day."""

    name: str
    offset: int
    data: bytes


class Sample(msgspec.Struct, frozen=True):
    """One result of the ring. `at_ms` is when it ended; `duration_ms` that of its last attempt."""

    at_ms: int
    duration_ms: float
    status: int
    outcome: Outcome
    failure: FailureClass | None


class Period(msgspec.Struct, frozen=True):
    """A kind of row and how many of them are kept."""

    name: str
    length_ms: int
    rows: int


MINUTE: Final = Period("min", _MINUTE_MS, 120)
HOUR: Final = Period("hour", 3_600_000, 192)
DAY: Final = Period("day", 86_400_000, 400)
PERIODS: Final = (MINUTE, HOUR, DAY)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one minute, hour or day, or in a report's whole range.

    Counts are of results; times (ms) say for how long the endpoint was up, down, paused, or nothing was known of it. Quantiles are of
    successful results, None where there were none; over several rows each is the largest of theirs, which the true one cannot exceed.
    """

    start_ms: int
    ok: int = 0
    failed: int = 0
    inconclusive: int = 0
    up_ms: int = 0
    down_ms: int = 0
    paused_ms: int = 0
    unknown_ms: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None

    @property
    def uptime(self) -> float | None:
        """up / (up + down) of the time that is known; None when none is."""
        known_ms = self.up_ms + self.down_ms
        return self.up_ms / known_ms if known_ms else None


Closed: TypeAlias = tuple[Period, Row]


# Writing ------------------------------------------------------------------------------------------------------------
def sample_write(place: int, result: Result, outcome: Outcome) -> RowWrite:
    """The result's bytes at a place of the ring."""
    codes = _OUTCOMES.index(outcome), _FAILURES.index(result.failure)
    data = _SAMPLE.pack(result.at_ms, result.duration_ms, min(result.status, 0xFFFF), *codes)
    return RowWrite("ring", place * SAMPLE_BYTES, data)


def observe(
    history: HistoryState, endpoint: Endpoint, result: Result, outcome: Outcome, interval_ms: int
) -> tuple[HistoryState, tuple[RowWrite, ...]]:
    """Return the history with one more result, and the bytes to write. `interval_ms` is the time to the next probe."""
    slot_ms = result.scheduled_ms or result.at_ms
    behind_ms = history.until_ms - slot_ms
    # A pause that ended after this slot has accounted for the time up to then.
    from_ms = history.until_ms if 0 < behind_ms <= result_age_max_ms(endpoint) else slot_ms
    place = history.place if 0 <= history.place < RING_LENGTH else 0
    sample = sample_write(place, result, outcome)
    minute, hour, day, rows = _account(history, endpoint, from_ms)
    if outcome is _SUCCESS:
        bucket = bucket_of(result.duration_ms)
        buckets = minute.buckets.copy()
        buckets[bucket] = buckets.get(bucket, 0) + 1
        ok, failed, inconclusive, standing = minute.ok + 1, minute.failed, minute.inconclusive, _UP
    else:
        buckets = minute.buckets
        if outcome is _FAILURE:
            ok, failed, inconclusive, standing = minute.ok, minute.failed + 1, minute.inconclusive, _DOWN
        else:
            ok, failed, inconclusive, standing = minute.ok, minute.failed, minute.inconclusive + 1, _UNKNOWN
    minute = Rollup(minute.start_ms, ok, failed, inconclusive, minute.up_ms, minute.down_ms, minute.paused_ms, buckets)
    place = place + 1 if place + 1 < RING_LENGTH else 0
    # The next probe falls due on the grid after this one has ended, which a long one moves by more than its interval.
    stands_ms = max(0, int(STANDS_INTERVALS * interval_ms) + max(0, result.at_ms - slot_ms) - (from_ms - slot_ms))
    after = HistoryState(minute, hour, day, place, from_ms, standing, stands_ms, endpoint.interval_ms)
    return after, (sample, *_writes(rows)) if rows else (sample,)


def pause(history: HistoryState, endpoint: Endpoint, paused: bool, now_ms: int) -> tuple[HistoryState, tuple[RowWrite, ...]]:
    """Return the history after a pause began or ended, and the rows that were closed by it."""
    minute, hour, day, rows = _account(history, endpoint, now_ms)
    standing = _PAUSED if paused else _UNKNOWN
    return HistoryState(minute, hour, day, history.place, now_ms, standing, 0, endpoint.interval_ms), _writes(rows)


def _account(history: HistoryState, endpoint: Endpoint, until_ms: int) -> tuple[Rollup, Rollup, Rollup, list[Closed]]:
    """The present minute, hour and day with the time up to `until_ms` accounted for, and the rows that it closed.

    The first periods of an endpoint begin with its first slot, so that the time before it is not unknown. Where time went back, by
    a clock that was put right, nothing is accounted for twice: the present periods are closed, and others begin.
    """
    minute, hour, day = history.minute, history.hour, history.day
    from_ms = history.until_ms
    if not minute.start_ms:
        return Rollup(until_ms), hour, day, []
    stood_ms = _stood_ms(history, endpoint, until_ms)
    if minute.start_ms // _MINUTE_MS == until_ms // _MINUTE_MS:
        return _stand(minute, history.standing, stood_ms), hour, day, []
    if until_ms < from_ms:
        return _close(minute, hour, day, until_ms)
    rows: list[Closed] = []
    while minute.start_ms // _MINUTE_MS < until_ms // _MINUTE_MS:
        next_ms = (minute.start_ms // _MINUTE_MS + 1) * _MINUTE_MS
        if stood_ms <= 0 and until_ms - next_ms > _MINUTE_MS:
            next_ms = until_ms // _MINUTE_MS * _MINUTE_MS
        elif minute.start_ms % _HOUR_MS == 0 and until_ms - minute.start_ms > _HOUR_MS + MINUTE.rows * _MINUTE_MS:
            next_ms = minute.start_ms + _HOUR_MS  # So far back minutes are not kept: later ones are written in the place of this row.
        elif next_ms < from_ms:  # Only a damaged record says so: what lies between was accounted for.
            next_ms = max(next_ms, from_ms // _MINUTE_MS * _MINUTE_MS)
        within_ms = min(max(0, next_ms - from_ms), stood_ms)
        minute = _stand(minute, history.standing, within_ms)
        stood_ms -= within_ms
        minute, hour, day, closed = _close(minute, hour, day, next_ms)
        rows += closed
        from_ms = max(from_ms, next_ms)
    return _stand(minute, history.standing, stood_ms), hour, day, rows


def _stood_ms(history: HistoryState, endpoint: Endpoint, until_ms: int) -> int:
    """For how much of the time up to `until_ms` the newest observation stands. Where the interval was changed meanwhile, the next slot
    may be later than the old one says, and nothing was missed."""
    passed_ms = max(0, until_ms - history.until_ms)
    if history.standing is _PAUSED:
        return passed_ms
    stands_ms = history.stands_ms
    if endpoint.interval_ms != history.interval_ms:
        stands_ms += endpoint.interval_ms
    return min(passed_ms, stands_ms)


def _stand(rollup: Rollup, standing: Standing, ms: int) -> Rollup:
    if ms <= 0 or standing is _UNKNOWN:
        return rollup
    up_ms, down_ms, paused_ms = rollup.up_ms, rollup.down_ms, rollup.paused_ms
    if standing is _UP:
        up_ms += ms
    elif standing is _DOWN:
        down_ms += ms
    else:
        paused_ms += ms
    return Rollup(rollup.start_ms, rollup.ok, rollup.failed, rollup.inconclusive, up_ms, down_ms, paused_ms, rollup.buckets)


def _close(minute: Rollup, hour: Rollup, day: Rollup, next_ms: int) -> tuple[Rollup, Rollup, Rollup, list[Closed]]:
    """Write out what ended before `next_ms`, finest first, and add each closed period to the next coarser one."""
    current = [minute, hour, day]
    closed = _EMPTY
    rows: list[Closed] = []
    for level, period in enumerate(PERIODS):
        rollup = _add(current[level], closed)
        if rollup.start_ms // period.length_ms == next_ms // period.length_ms:
            current[level] = rollup
            break
        rows.append((period, _row(rollup, (rollup.start_ms // period.length_ms + 1) * period.length_ms)))
        current[level] = Rollup(next_ms // period.length_ms * period.length_ms)
        closed = rollup
    return current[0], current[1], current[2], rows


def _writes(rows: list[Closed]) -> tuple[RowWrite, ...]:
    """The bytes of closed rows. A long interval closes more minutes than are kept: of those at one place the last is written."""
    writes = [row_write(period, row) for period, row in rows]
    return tuple({(write.name, write.offset): write for write in writes}.values()) if len(writes) > MINUTE.rows else tuple(writes)


def _add(rollup: Rollup, finer: Rollup) -> Rollup:
    if not finer.start_ms:
        return rollup
    buckets = rollup.buckets.copy()
    for bucket, n in finer.buckets.items():
        buckets[bucket] = buckets.get(bucket, 0) + n
    return Rollup(
        rollup.start_ms or finer.start_ms,
        rollup.ok + finer.ok,
        rollup.failed + finer.failed,
        rollup.inconclusive + finer.inconclusive,
        rollup.up_ms + finer.up_ms,
        rollup.down_ms + finer.down_ms,
        rollup.paused_ms + finer.paused_ms,
        buckets,
    )


def row_write(period: Period, row: Row) -> RowWrite:
    """The row's place among its kind, and its bytes.

    Numbers above 65,535 are shifted until they fit, rounding up: no failure is ever rounded away.
    """
    counts, count_shift = _fitted((row.ok, row.failed, row.inconclusive))
    times, time_shift = _fitted((row.up_ms, row.down_ms, row.paused_ms, row.unknown_ms))
    quantile_buckets = (_NO_BUCKET if ms is None else bucket_of(ms) for ms in (row.p50_ms, row.p90_ms, row.p99_ms))
    index = row.start_ms // period.length_ms % period.rows
    data = _ROW.pack(row.start_ms // _MINUTE_MS, *counts, *times, count_shift, time_shift, *quantile_buckets)
    return RowWrite(period.name, index * ROW_BYTES, data)


def _fitted(numbers: tuple[int, ...]) -> tuple[list[int], int]:
    shift = max(0, max(numbers).bit_length() - 16)
    if -(-max(numbers) >> shift) > 0xFFFF:
        shift += 1
    return [-(-n >> shift) for n in numbers], shift


def _row(rollup: Rollup, until_ms: int) -> Row:
    known_ms = rollup.up_ms + rollup.down_ms + rollup.paused_ms
    p50, p90, p99 = quantiles(rollup.buckets, (0.5, 0.9, 0.99))
    return Row(
        start_ms=rollup.start_ms,
        ok=rollup.ok,
        failed=rollup.failed,
        inconclusive=rollup.inconclusive,
        up_ms=rollup.up_ms,
        down_ms=rollup.down_ms,
        paused_ms=rollup.paused_ms,
        unknown_ms=max(0, until_ms - rollup.start_ms - known_ms),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
    )


# Latency buckets ----------------------------------------------------------------------------------------------------
def bucket_of(duration_ms: float) -> int:
    """The logarithmic bucket of a latency."""
    if duration_ms <= _BUCKET_FIRST_MS:
        return 0
    return min(int(log(duration_ms / _BUCKET_FIRST_MS) * _PER_BUCKET), BUCKET_MAX)


def bucket_ms(bucket: int) -> float:
    """The latency that stands for a bucket: the geometric middle of its bounds."""
    return float(_BUCKET_FIRST_MS * _BUCKET_GROWTH ** (bucket + 0.5))


def quantiles(buckets: Mapping[int, int], shares: Sequence[float]) -> list[float | None]:
    """The latency below or at which each share of the counted results lies (nearest rank)."""
    total = sum(buckets.values())
    if not total:
        return [None] * len(shares)
    found: list[float | None] = []
    ordered = sorted(buckets.items())
    for share in shares:
        rank = max(1, ceil(share * total))
        for bucket, n in ordered:
            rank -= n
            if rank <= 0:
                found.append(bucket_ms(bucket))
                break
    return found


# Reading ------------------------------------------------------------------------------------------------------------
def read_samples(ring: bytes) -> list[Sample]:
    """The ring's results, oldest first; empty places are left out, and so are those that hold what no result is: damaged bytes."""
    whole = ring[: len(ring) // SAMPLE_BYTES * SAMPLE_BYTES]
    return sorted(
        (
            Sample(at_ms, duration_ms, status, _OUTCOMES[outcome], _FAILURES[failure])
            for at_ms, duration_ms, status, outcome, failure in _SAMPLE.iter_unpack(whole)
            if 0 < at_ms <= _LATEST_MS and outcome < len(_OUTCOMES) and failure < len(_FAILURES) and 0 <= duration_ms < inf
        ),
        key=lambda sample: sample.at_ms,
    )


def read_rows(period: Period, data: bytes, now_ms: int) -> list[Row]:
    """The rows that are still within the period's cap, oldest first.

    Empty places and rows of an earlier lap are left out, and so is what does not belong where it stands: damaged bytes, another format.
    """
    whole = data[: len(data) // ROW_BYTES * ROW_BYTES]
    oldest_ms = now_ms - period.rows * period.length_ms
    rows = []
    for place, fields in enumerate(_ROW.iter_unpack(whole)):
        start, ok, failed, inconclusive, up, down, paused, unknown, counts, times, p50, p90, p99 = fields
        start_ms = start * _MINUTE_MS
        if not start or not oldest_ms < start_ms <= now_ms or start_ms // period.length_ms % period.rows != place:
            continue
        rows.append(
            Row(
                start_ms=start_ms,
                ok=ok << counts,
                failed=failed << counts,
                inconclusive=inconclusive << counts,
                up_ms=up << times,
                down_ms=down << times,
                paused_ms=paused << times,
                unknown_ms=unknown << times,
                p50_ms=_stored_ms(p50),
                p90_ms=_stored_ms(p90),
                p99_ms=_stored_ms(p99),
            )
        )
    return sorted(rows, key=lambda row: row.start_ms)


def _stored_ms(bucket: int) -> float | None:
    return None if bucket == _NO_BUCKET else bucket_ms(bucket)


def open_rows(history: HistoryState, endpoint: Endpoint, now_ms: int) -> dict[str, list[Row]]:
    """Rows that are not written yet, by name, oldest first: those that time alone has closed, and the present one up to now.
    The newest result stands until now if it may."""
    if not history.minute.start_ms:
        return {}
    minute, hour, day, closed = _account(history, endpoint, max(now_ms, history.until_ms))
    hour = _add(hour, minute)
    present = [
        (period, _row(rollup, max(now_ms, rollup.start_ms)))
        for period, rollup in zip(PERIODS, (minute, hour, _add(day, hour)), strict=True)
    ]
    return {kind.name: [row for period, row in [*closed, *present] if period is kind] for kind in PERIODS}


def merge(rows: Iterable[Row]) -> Row:
    """One row for a report over several."""
    rows = list(rows)
    return Row(
        start_ms=min((row.start_ms for row in rows), default=0),
        ok=sum(row.ok for row in rows),
        failed=sum(row.failed for row in rows),
        inconclusive=sum(row.inconclusive for row in rows),
        up_ms=sum(row.up_ms for row in rows),
        down_ms=sum(row.down_ms for row in rows),
        paused_ms=sum(row.paused_ms for row in rows),
        unknown_ms=sum(row.unknown_ms for row in rows),
        p50_ms=max((row.p50_ms for row in rows if row.p50_ms is not None), default=None),
        p90_ms=max((row.p90_ms for row in rows if row.p90_ms is not None), default=None),
        p99_ms=max((row.p99_ms for row in rows if row.p99_ms is not None), default=None),
    )


def report(rows: Iterable[Row], until_ms: int) -> Row:
    """Merge rows; time since the first of them for which there is no row is unknown."""
    merged = merge(rows)
    if not merged.start_ms:
        return merged
    known_ms = merged.up_ms + merged.down_ms + merged.paused_ms
    return msgspec.structs.replace(merged, unknown_ms=max(0, until_ms - merged.start_ms - known_ms))
