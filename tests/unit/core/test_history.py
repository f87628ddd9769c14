"""The ring and the rows: what is written can be read, gaps are unknown, and a day is a day in every zone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core import history
from monitor.core.endpoint import Endpoint
from monitor.core.history import DAY, HOUR, MINUTE, PERIODS, Row, RowWrite
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.record import EndpointState
from tests.timeline import Timeline, result

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
ENDPOINT = Endpoint(id="a", url="http://a/", pool="a")
BERLIN_SPRING_2026_MS = 1_774_746_000_000  # 2026-03-29 01:00 UTC: clocks in Berlin go from 2:00 to 3:00.


class Written:
    """Strings as the store keeps them: SETRANGE with zero bytes before."""

    def __init__(self) -> None:
        self.data = dict.fromkeys(("ring", "min", "hour", "day"), b"")

    def write(self, write: RowWrite) -> None:
        data = self.data[write.name].ljust(write.offset + len(write.data), b"\0")
        self.data[write.name] = data[: write.offset] + write.data + data[write.offset + len(write.data) :]


def live(since_ms: int, until_ms: int, endpoint: Endpoint = ENDPOINT, skip: range = range(0)) -> tuple[EndpointState, Written]:
    """Successes in every slot of the grid, except those in `skip`."""
    state, written = EndpointState(), Written()
    slot = since_ms + (endpoint.phase_ms - since_ms) % endpoint.interval_ms
    while slot < until_ms:
        if slot not in skip:
            seen = result(Outcome.SUCCESS, slot + 3, scheduled_ms=slot)
            minute, hour, day, rows = history.count(state, endpoint, seen, seen.outcome)
            state = EndpointState(minute=minute, hour=hour, day=day)
            for row in rows:
                written.write(row)
        slot += endpoint.interval_ms
    return state, written


def test_a_result_comes_back_from_the_ring() -> None:
    written = Written()
    slot = 1_700_000_000_000
    seen = [
        result(Outcome.FAILURE, slot + 7, scheduled_ms=slot, duration_ms=1.5, status=503, failure=FailureClass.STATUS),
        result(Outcome.SUCCESS, slot + 10_003, scheduled_ms=slot + 10_000, duration_ms=2.5, status=200),
        result(Outcome.INCONCLUSIVE, slot + 20_003, scheduled_ms=slot + 20_000, status=99_999),
    ]
    for one in reversed(seen):
        for _ in range(2):  # A repeated commit overwrites itself.
            written.write(history.sample_write(ENDPOINT, one, one.outcome))
    samples = history.read_samples(written.data["ring"])
    assert [(s.at_ms, s.duration_ms, s.status, s.outcome, s.failure) for s in samples] == [
        (slot + 7, 1.5, 503, Outcome.FAILURE, FailureClass.STATUS),
        (slot + 10_003, 2.5, 200, Outcome.SUCCESS, None),
        (slot + 20_003, 5.0, 0xFFFF, Outcome.INCONCLUSIVE, None),
    ]


@pytest.mark.parametrize("failure", [None, *FailureClass])
def test_every_failure_class_has_its_code(failure: FailureClass | None) -> None:
    data = history.sample_write(ENDPOINT, result(Outcome.FAILURE, 5, failure=failure), Outcome.FAILURE).data
    assert history.read_samples(data)[0].failure is failure


def test_the_ring_keeps_the_last_hundred() -> None:
    written = Written()
    for n in range(250):
        written.write(history.sample_write(ENDPOINT, result(Outcome.SUCCESS, 10_000 * (n + 1)), Outcome.SUCCESS))
    assert len(written.data["ring"]) == 1_600
    assert [s.at_ms for s in history.read_samples(written.data["ring"])] == [10_000 * n for n in range(151, 251)]


COUNTS = st.integers(0, 172_800)
LATENCIES = st.none() | st.floats(0.2, 600_000)


@given(st.sampled_from(PERIODS), st.integers(1, 20_000), COUNTS, COUNTS, COUNTS, COUNTS, LATENCIES)
def test_a_row_comes_back(period: history.Period, n: int, ok: int, failed: int, inconclusive: int, unknown: int, p50: float | None) -> None:
    row = Row(start_ms=n * period.length_ms, ok=ok, failed=failed, inconclusive=inconclusive, unknown=unknown, p50_ms=p50)
    write = history.row_write(period, row)
    assert len(write.data) == history.ROW_BYTES
    assert write.offset < period.rows * history.ROW_BYTES
    [back] = history.read_rows(period, write.data, row.start_ms)
    assert back.start_ms == row.start_ms
    for name in ("ok", "failed", "inconclusive", "unknown"):
        assert 0 <= getattr(back, name) - getattr(row, name) <= (0 if max(ok, failed, inconclusive, unknown) <= 0xFFFF else 3)
    assert back.p50_ms is None if p50 is None else math.isclose(back.p50_ms or 0, p50, rel_tol=0.05)
    assert back.p99_ms is None


@given(st.lists(st.floats(0.2, 100_000), min_size=1, max_size=100), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_within_five_percent(latencies: list[float], share: float) -> None:
    buckets: dict[int, int] = {}
    for latency in latencies:
        buckets[history.bucket_of(latency)] = buckets.get(history.bucket_of(latency), 0) + 1
    exact = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
    [found] = history.quantiles(buckets, [share])
    assert found is not None
    assert abs(found - exact) <= 0.05 * exact


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2 * DAY_MS), st.sampled_from([7_000, 10_000, 60_000, 150_000]))
def test_minutes_hours_and_days_count_every_slot_once(offset_ms: int, interval_ms: int) -> None:
    endpoint = Endpoint(id="a", url="http://a/", pool="a", interval_ms=interval_ms)
    since_ms = 1_700_000_000_000 + offset_ms
    until_ms = since_ms + 5 * HOUR_MS
    state, written = live(since_ms, until_ms, endpoint)
    expected = history.expected_slots(endpoint, since_ms, until_ms)
    current = history.open_rows(state, endpoint, until_ms)
    for period in (HOUR, DAY):
        rows = history.read_rows(period, written.data[period.name], until_ms)
        assert sum(row.ok for row in rows) + current[period.name].ok == expected
        assert all(row.unknown == 0 and row.failed == 0 for row in [*rows, current[period.name]])


def test_a_gap_is_unknown_and_never_down() -> None:
    since_ms = 1_700_000_000_000 // DAY_MS * DAY_MS
    gap = range(since_ms + 2 * HOUR_MS, since_ms + 5 * HOUR_MS)
    state, written = live(since_ms, since_ms + DAY_MS + HOUR_MS, skip=gap)
    [day] = history.read_rows(DAY, written.data["day"], since_ms + DAY_MS + HOUR_MS)
    assert (day.ok, day.failed, day.unknown, day.uptime) == (21 * 360, 0, 3 * 360, 1.0)
    hours = history.read_rows(HOUR, written.data["hour"], since_ms + DAY_MS)
    assert len(hours) == 21
    report = history.report(hours, ENDPOINT, since_ms + DAY_MS)
    assert (report.ok, report.unknown, report.uptime) == (21 * 360, 3 * 360, 1.0)
    assert history.open_rows(state, ENDPOINT, since_ms + DAY_MS + HOUR_MS)["day"].ok == 360


def test_rows_of_an_earlier_lap_are_left_out() -> None:
    since_ms = 1_700_000_000_000 // DAY_MS * DAY_MS
    _, written = live(since_ms, since_ms + 3 * HOUR_MS)
    assert len(written.data["min"]) == MINUTE.rows * history.ROW_BYTES
    assert len(history.read_rows(MINUTE, written.data["min"], since_ms + 3 * HOUR_MS)) == 118
    assert history.read_rows(MINUTE, written.data["min"], since_ms + 9 * HOUR_MS) == []


def test_daylight_saving_makes_no_day_longer_and_no_hour_twice() -> None:
    day_ms = BERLIN_SPRING_2026_MS // DAY_MS * DAY_MS
    _, written = live(day_ms, day_ms + 2 * DAY_MS + 10_000)
    rows = history.read_rows(DAY, written.data["day"], day_ms + 2 * DAY_MS)
    assert [(row.start_ms, row.ok, row.unknown) for row in rows] == [(day_ms, 8_640, 0), (day_ms + DAY_MS, 8_640, 0)]
    hours = history.read_rows(HOUR, written.data["hour"], day_ms + 2 * DAY_MS)
    assert [row.start_ms for row in hours] == [day_ms + n * HOUR_MS for n in range(48)]


def test_uptime_leaves_out_what_is_not_known() -> None:
    assert Row(start_ms=1, inconclusive=3, unknown=4).uptime is None
    assert history.merge([Row(start_ms=2, ok=3, p99_ms=5.0), Row(start_ms=1, failed=1, inconclusive=9)]).uptime == 0.75
    assert history.merge([]).uptime is None


def test_settling_writes_the_sample_and_the_closed_minute() -> None:
    t = Timeline().at(0).ok().at(MINUTE_MS).fail()
    assert t.settled is not None
    assert [write.name for write in t.settled.writes] == ["ring", "min"]
    assert (t.state.minute.failed, t.state.hour.ok) == (1, 1)
