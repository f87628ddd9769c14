"""History: a ring of the last results, and rows of counts per minute, hour and day. Nothing here reads or writes a store.

Every length is in time since the epoch, never in local time: a day is 86,400 s in UTC, so no daylight-saving change makes one
longer or leaves a hole. What a probe belongs to is decided by the slot it was scheduled for, not by when it ended.

Ring: RING_LENGTH samples of SAMPLE_BYTES at index (scheduled_ms // interval_ms) % RING_LENGTH: committing a result again
overwrites itself. Rows: the present minute is counted in the state; when a result belongs to the next one, the closed minute
becomes a row and is added to the hour, and so the hour to the day. Thus `state.hour` lacks the present minute, and
`state.day` the present hour; `open_rows` adds them.

A row takes 16 bytes, an endpoint's whole history at most 1,600 + (120 + 192 + 400) * 16 = 12,992 bytes. Latencies are counted
in buckets that grow by 10 %, so a quantile is within 4.9 % of a latency that was really seen there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, log
from struct import Struct
from typing import Final

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.record import EndpointState, Rollup

RING_LENGTH: Final = 100
SAMPLE_BYTES: Final = 16
ROW_BYTES: Final = 16

_SAMPLE: Final = Struct("<QfHBB")
# A code is a place in these: finding an enum's member in a short tuple is faster than hashing it. New ones go to the end.
_OUTCOMES: Final = tuple(Outcome)
_FAILURES: Final = (None, *FailureClass)

# Start in minutes since the epoch, four counts, p50, p90, p99 as bucket numbers, and by how many bits the counts were shifted.
_ROW: Final = Struct("<IHHHHBBBB")
_MINUTE_MS: Final = 60_000
_BUCKET_GROWTH: Final = 1.1
_BUCKET_FIRST_MS: Final = 0.1
_BUCKET_MAX: Final = 254
_NO_BUCKET: Final = 255
_PER_BUCKET: Final = 1.0 / log(_BUCKET_GROWTH)
_EMPTY: Final = Rollup()
_SUCCESS: Final = Outcome.SUCCESS
_FAILURE: Final = Outcome.FAILURE


class RowWrite(msgspec.Struct, frozen=True):
    """Bytes to lay into an endpoint's ring or rows at an offset; `name` is ring, min, hour or day."""

    name: str
    offset: int
    data: bytes


class Sample(msgspec.Struct, frozen=True):
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

    `unknown` counts the scheduled probes that brought no result. Quantiles are of successful results, None where there were
    none; over several rows each is the largest of theirs, which the true one cannot exceed.
    """

    start_ms: int
    ok: int = 0
    failed: int = 0
    inconclusive: int = 0
    unknown: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None

    @property
    def uptime(self) -> float | None:
        """ok / (ok + failed); None when nothing is known."""
        known = self.ok + self.failed
        return self.ok / known if known else None


# Writing ------------------------------------------------------------------------------------------------------------
def sample_write(endpoint: Endpoint, result: Result, outcome: Outcome) -> RowWrite:
    """The result's place in the ring, and its bytes."""
    index = (result.scheduled_ms or result.at_ms) // endpoint.interval_ms % RING_LENGTH
    codes = _OUTCOMES.index(outcome), _FAILURES.index(result.failure)
    data = _SAMPLE.pack(result.at_ms, result.duration_ms, min(result.status, 0xFFFF), *codes)
    return RowWrite("ring", index * SAMPLE_BYTES, data)


def count(
    state: EndpointState, endpoint: Endpoint, result: Result, outcome: Outcome
) -> tuple[Rollup, Rollup, Rollup, tuple[RowWrite, ...]]:
    """Return the present minute, hour and day with one more result, and the rows that it closed."""
    slot_ms = result.scheduled_ms or result.at_ms
    minute, hour, day = state.minute, state.hour, state.day
    rows: tuple[RowWrite, ...] = ()
    if minute.start_ms // _MINUTE_MS != slot_ms // _MINUTE_MS:
        minute, hour, day, rows = _close(minute, hour, day, endpoint, slot_ms)
    if outcome is _SUCCESS:
        bucket = bucket_of(result.duration_ms)
        buckets = minute.buckets.copy()
        buckets[bucket] = buckets.get(bucket, 0) + 1
        minute = Rollup(minute.start_ms, minute.ok + 1, minute.failed, minute.inconclusive, buckets)
    elif outcome is _FAILURE:
        minute = Rollup(minute.start_ms, minute.ok, minute.failed + 1, minute.inconclusive, minute.buckets)
    else:
        minute = Rollup(minute.start_ms, minute.ok, minute.failed, minute.inconclusive + 1, minute.buckets)
    return minute, hour, day, rows


def _close(
    minute: Rollup, hour: Rollup, day: Rollup, endpoint: Endpoint, slot_ms: int
) -> tuple[Rollup, Rollup, Rollup, tuple[RowWrite, ...]]:
    """Write out what ended before `slot_ms`, finest first, and add each closed period to the next coarser one.

    The first periods of an endpoint begin with its first slot, so that the time before it is not unknown.
    """
    if not minute.start_ms:
        return Rollup(slot_ms), hour, day, ()
    current = [minute, hour, day]
    closed = _EMPTY
    writes = []
    for level, period in enumerate(PERIODS):
        rollup = _add(current[level], closed)
        if rollup.start_ms // period.length_ms == slot_ms // period.length_ms:
            current[level] = rollup
            break
        writes.append(row_write(period, _row(period, rollup, endpoint)))
        current[level] = Rollup(slot_ms // period.length_ms * period.length_ms)
        closed = rollup
    return current[0], current[1], current[2], tuple(writes)


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
        buckets,
    )


def row_write(period: Period, row: Row) -> RowWrite:
    """The row's place among its kind, and its bytes.

    Counts above 65,535 are shifted until they fit, rounding up: no failure is ever rounded away.
    """
    counts = (row.ok, row.failed, row.inconclusive, row.unknown)
    shift = max(0, max(counts).bit_length() - 16)
    if -(-max(counts) >> shift) > 0xFFFF:
        shift += 1
    index = row.start_ms // period.length_ms % period.rows
    data = _ROW.pack(
        row.start_ms // _MINUTE_MS,
        *(-(-n >> shift) for n in counts),
        *(_NO_BUCKET if ms is None else bucket_of(ms) for ms in (row.p50_ms, row.p90_ms, row.p99_ms)),
        shift,
    )
    return RowWrite(period.name, index * ROW_BYTES, data)


def _row(period: Period, rollup: Rollup, endpoint: Endpoint, until_ms: int | None = None) -> Row:
    end_ms = rollup.start_ms // period.length_ms * period.length_ms + period.length_ms
    expected = expected_slots(endpoint, rollup.start_ms, end_ms if until_ms is None else until_ms)
    p50, p90, p99 = quantiles(rollup.buckets, (0.5, 0.9, 0.99))
    return Row(
        start_ms=rollup.start_ms,
        ok=rollup.ok,
        failed=rollup.failed,
        inconclusive=rollup.inconclusive,
        unknown=max(0, expected - rollup.ok - rollup.failed - rollup.inconclusive),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
    )


def expected_slots(endpoint: Endpoint, since_ms: int, until_ms: int) -> int:
    """How many slots of the endpoint's grid lie in [since_ms, until_ms)."""
    interval, phase = endpoint.interval_ms, endpoint.phase_ms
    return max(0, -(-(until_ms - phase) // interval) + (since_ms - phase) // -interval)


# Latency buckets ----------------------------------------------------------------------------------------------------
def bucket_of(duration_ms: float) -> int:
    """The logarithmic bucket of a latency."""
    if duration_ms <= _BUCKET_FIRST_MS:
        return 0
    return min(int(log(duration_ms / _BUCKET_FIRST_MS) * _PER_BUCKET), _BUCKET_MAX)


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
    """The ring's results, oldest first; empty places are left out."""
    whole = ring[: len(ring) // SAMPLE_BYTES * SAMPLE_BYTES]
    return sorted(
        (
            Sample(at_ms, duration_ms, status, _OUTCOMES[outcome], _FAILURES[failure])
            for at_ms, duration_ms, status, outcome, failure in _SAMPLE.iter_unpack(whole)
            if at_ms
        ),
        key=lambda sample: sample.at_ms,
    )


def read_rows(period: Period, data: bytes, now_ms: int) -> list[Row]:
    """The rows that are still within the period's cap, oldest first; empty places and rows of an earlier lap are left out."""
    whole = data[: len(data) // ROW_BYTES * ROW_BYTES]
    oldest_ms = now_ms - period.rows * period.length_ms
    rows = []
    for start, ok, failed, inconclusive, unknown, p50, p90, p99, shift in _ROW.iter_unpack(whole):
        start_ms = start * _MINUTE_MS
        if start_ms <= oldest_ms or not start:
            continue
        rows.append(
            Row(
                start_ms=start_ms,
                ok=ok << shift,
                failed=failed << shift,
                inconclusive=inconclusive << shift,
                unknown=unknown << shift,
                p50_ms=_stored_ms(p50),
                p90_ms=_stored_ms(p90),
                p99_ms=_stored_ms(p99),
            )
        )
    return sorted(rows, key=lambda row: row.start_ms)


def _stored_ms(bucket: int) -> float | None:
    return None if bucket == _NO_BUCKET else bucket_ms(bucket)


def open_rows(state: EndpointState, endpoint: Endpoint, now_ms: int) -> dict[str, Row]:
    """The minute, hour and day that are still counted, as rows up to now, by name."""
    if not state.minute.start_ms:
        return {}
    hour = _add(state.hour, state.minute)
    parts = zip(PERIODS, (state.minute, hour, _add(state.day, hour)), strict=True)
    return {period.name: _row(period, rollup, endpoint, now_ms) for period, rollup in parts}


def merge(rows: Iterable[Row]) -> Row:
    """One row for a report over several."""
    rows = list(rows)
    return Row(
        start_ms=min((row.start_ms for row in rows), default=0),
        ok=sum(row.ok for row in rows),
        failed=sum(row.failed for row in rows),
        inconclusive=sum(row.inconclusive for row in rows),
        unknown=sum(row.unknown for row in rows),
        p50_ms=max((row.p50_ms for row in rows if row.p50_ms is not None), default=None),
        p90_ms=max((row.p90_ms for row in rows if row.p90_ms is not None), default=None),
        p99_ms=max((row.p99_ms for row in rows if row.p99_ms is not None), default=None),
    )


def report(rows: Iterable[Row], endpoint: Endpoint, until_ms: int) -> Row:
    """Merge rows, and count every slot since the first of them that brought no result as unknown, gaps between rows included."""
    merged = merge(rows)
    expected = expected_slots(endpoint, merged.start_ms, until_ms) if merged.start_ms else 0
    return msgspec.structs.replace(merged, unknown=max(0, expected - merged.ok - merged.failed - merged.inconclusive))
