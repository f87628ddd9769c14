"""The ring and the rows: what is written can be read, gaps are unknown, uptime is time, and a day is a day in every zone."""

from __future__ import annotations

import math
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.core import history
from monitor.core.endpoint import Endpoint
from monitor.core.history import DAY, HOUR, MINUTE, PERIODS, Row, RowWrite
from monitor.core.observation import TimePassed
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.record import HistoryState, Rollup
from tests.timeline import START_MS, Timeline, result

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


def live(since_ms: int, until_ms: int, endpoint: Endpoint = ENDPOINT, skip: range = range(0)) -> tuple[HistoryState, Written]:
    """Successes in every slot of the grid, except those in `skip`."""
    past, written = HistoryState(), Written()
    slot = since_ms + (endpoint.phase_ms - since_ms) % endpoint.interval_ms
    while slot < until_ms:
        if slot not in skip:
            seen = result(Outcome.SUCCESS, slot + 3, scheduled_ms=slot)
            past, writes = history.observe(past, endpoint, seen, seen.outcome, endpoint.interval_ms)
            for write in writes:
                written.write(write)
        slot += endpoint.interval_ms
    return past, written


def everything(period: history.Period, past: HistoryState, written: Written, endpoint: Endpoint, until_ms: int) -> list[Row]:
    """The rows that a reader sees at a time: those written, and those still open."""
    present = history.open_rows(past, endpoint, until_ms)[period.name]
    newer = {row.start_ms for row in present}
    return [*(row for row in history.read_rows(period, written.data[period.name], until_ms) if row.start_ms not in newer), *present]


@pytest.mark.parametrize(
    "fields",
    [
        (2**64 - 1, 1.0, 200, 0, 0),
        (1, nan, 200, 0, 0),
        (1, inf, 200, 0, 0),
        (1, -1.0, 200, 0, 0),
        (1, 1.0, 200, 255, 0),
        (1, 1.0, 200, 0, 255),
    ],
)
def test_a_place_of_the_ring_that_holds_no_result_hides_no_other(fields: tuple[float, ...]) -> None:
    good = history._SAMPLE.pack(5, 1.0, 200, 0, 0)
    assert [sample.at_ms for sample in history.read_samples(history._SAMPLE.pack(*fields) + good + b"torn")] == [5]


def test_a_result_comes_back_from_the_ring() -> None:
    written = Written()
    slot = 1_700_000_000_000
    seen = [
        result(Outcome.FAILURE, slot + 7, scheduled_ms=slot, duration_ms=1.5, status=503, failure=FailureClass.STATUS),
        result(Outcome.SUCCESS, slot + 10_003, scheduled_ms=slot + 10_000, duration_ms=2.5, status=200),
        result(Outcome.INCONCLUSIVE, slot + 20_003, scheduled_ms=slot + 20_000, status=99_999),
    ]
    for place, one in enumerate(seen):
        written.write(history.sample_write(place, one, one.outcome))
    samples = history.read_samples(written.data["ring"])
    assert [(s.at_ms, s.duration_ms, s.status, s.outcome, s.failure) for s in samples] == [
        (slot + 7, 1.5, 503, Outcome.FAILURE, FailureClass.STATUS),
        (slot + 10_003, 2.5, 200, Outcome.SUCCESS, None),
        (slot + 20_003, 5.0, 0xFFFF, Outcome.INCONCLUSIVE, None),
    ]


@pytest.mark.parametrize("failure", [None, *FailureClass])
def test_every_failure_class_has_its_code(failure: FailureClass | None) -> None:
    data = history.sample_write(0, result(Outcome.FAILURE, 5, failure=failure), Outcome.FAILURE).data
    assert history.read_samples(data)[0].failure is failure


@pytest.mark.parametrize("fast_interval_ms", [0, 1_000])
def test_the_ring_keeps_the_last_hundred_however_fast_they_come(fast_interval_ms: int) -> None:
    """Probes at the fast interval come ten to a slot of the usual one; each has its own place."""
    written = Written()
    t = Timeline(interval_ms=10_000, fast_interval_ms=fast_interval_ms, failure_threshold=1_000)
    step_ms = fast_interval_ms or 10_000
    for n in range(250):
        t.at(step_ms * n).fail()
        assert t.decision is not None
        for write in t.decision.writes:
            written.write(write)
    assert len(written.data["ring"]) == 1_600
    assert [s.at_ms - START_MS for s in history.read_samples(written.data["ring"])] == [step_ms * n for n in range(150, 250)]


COUNTS = st.integers(0, 172_800)
TIMES = st.integers(0, DAY_MS)
LATENCIES = st.none() | st.floats(0.2, 600_000)


@given(
    st.sampled_from(PERIODS), st.integers(1, 20_000), st.tuples(COUNTS, COUNTS, COUNTS), st.tuples(TIMES, TIMES, TIMES, TIMES), LATENCIES
)
def test_a_row_comes_back(
    period: history.Period, n: int, counts: tuple[int, int, int], times: tuple[int, int, int, int], p50: float | None
) -> None:
    names = dict(zip(("ok", "failed", "inconclusive"), counts, strict=True))
    spans = dict(zip(("up_ms", "down_ms", "paused_ms", "unknown_ms"), times, strict=True))
    row = Row(start_ms=n * period.length_ms, p50_ms=p50, **names, **spans)
    write = history.row_write(period, row)
    assert len(write.data) == history.ROW_BYTES
    assert write.offset < period.rows * history.ROW_BYTES
    [back] = history.read_rows(period, b"\0" * write.offset + write.data, row.start_ms)
    assert back.start_ms == row.start_ms
    for group in (names, spans):
        step = 1 << max(0, max(group.values()).bit_length() - 15)
        for name, value in group.items():
            assert 0 <= getattr(back, name) - value < (step if max(group.values()) > 0xFFFF else 1)
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


@settings(max_examples=30)
@given(st.integers(0, 2 * DAY_MS), st.sampled_from([7_000, 10_000, 60_000, 150_000, HOUR_MS]))
def test_minutes_hours_and_days_hold_every_result_and_all_of_the_time(offset_ms: int, interval_ms: int) -> None:
    endpoint = Endpoint(id="a", url="http://a/", pool="a", interval_ms=interval_ms)
    since_ms = 1_700_000_000_000 + offset_ms
    until_ms = since_ms + 5 * HOUR_MS
    past, written = live(since_ms, until_ms, endpoint)
    slots = range(since_ms + (endpoint.phase_ms - since_ms) % interval_ms, until_ms, interval_ms)
    for period in (HOUR, DAY):
        rows = everything(period, past, written, endpoint, until_ms)
        assert sum(row.ok for row in rows) == len(slots)
        assert all(row.failed == 0 and row.down_ms == 0 for row in rows)
        assert sum(row.up_ms for row in rows) == pytest.approx(until_ms - slots[0], abs=2_048 * len(rows))
        assert sum(row.unknown_ms for row in rows) <= 2_048 * len(rows)


def test_uptime_is_time_and_not_the_number_of_probes() -> None:
    """While a change is pending probes come ten times as fast; 28 s of failures in 100 s are 28 %, not 93 %."""
    t = Timeline(interval_ms=10_000, fast_interval_ms=1_000, failure_threshold=100, success_threshold=1)
    start_ms = -START_MS % MINUTE_MS + MINUTE_MS
    at_ms = start_ms
    while at_ms < start_ms + 100_000:
        failing = 40_000 <= at_ms - start_ms < 68_000
        t.at(at_ms)
        (t.fail if failing else t.ok)()
        assert t.decision is not None
        at_ms += t.decision.interval_ms if failing else 10_000 if at_ms - start_ms < 30_000 or at_ms - start_ms > 68_000 else 2_000
    rows = history.open_rows(t.record.history, t.endpoint, START_MS + start_ms + 100_000)["hour"]
    whole = history.merge(rows)
    assert (whole.down_ms, whole.up_ms, whole.unknown_ms) == (28_000, 72_000, 0)
    assert whole.uptime == 0.72
    assert whole.failed == 28


def test_a_change_of_the_interval_makes_nothing_unknown() -> None:
    t = Timeline(interval_ms=10_000).at(0).ok().at(10_000).ok()
    t.endpoint = replace(t.endpoint, interval_ms=60_000)
    t.at(65_000).ok().at(125_000).ok()
    assert history.merge(history.open_rows(t.record.history, t.endpoint, t.now_ms)["day"]).unknown_ms == 0


def test_a_pause_is_paused_and_neither_up_nor_unknown() -> None:
    midnight_ms = -START_MS % DAY_MS
    t = Timeline(interval_ms=10_000).at(midnight_ms).ok().after(10_000).ok()
    t.endpoint = replace(t.endpoint, paused=True)
    t.after(5_000).observe(TimePassed()).at(midnight_ms + 5 * HOUR_MS).observe(TimePassed())
    t.endpoint = replace(t.endpoint, paused=False)
    t.at(midnight_ms + 9 * HOUR_MS).observe(TimePassed()).after(5_000).ok().after(10_000).ok()
    assert not t.record.silent
    rows = history.open_rows(t.record.history, t.endpoint, t.now_ms)
    whole = history.merge(rows["day"])
    assert (whole.up_ms, whole.down_ms, whole.paused_ms, whole.unknown_ms) == (25_000, 0, 9 * HOUR_MS - 15_000, 5_000)


def test_a_result_that_began_before_a_pause_ended_counts_no_time_twice() -> None:
    t = Timeline(interval_ms=1_000, timeout_ms=500).at(0).ok()
    t.endpoint = replace(t.endpoint, paused=True)
    t.at(1_000).observe(TimePassed())
    t.endpoint = replace(t.endpoint, paused=False)
    t.at(9_000).observe(TimePassed()).at(9_500).ok(scheduled_ms=START_MS + 5_000)
    whole = history.merge(history.open_rows(t.record.history, t.endpoint, START_MS + 10_000)["day"])
    assert whole.up_ms + whole.down_ms + whole.paused_ms + whole.unknown_ms == 10_000


def test_a_long_attempt_stands_until_the_next_one() -> None:
    """An endpoint that times out after 5 s is probed every 6 s at a fast interval of 1 s: it is down all the time."""
    t = Timeline(interval_ms=10_000, fast_interval_ms=1_000, failure_threshold=100)
    for n in range(10):
        t.at(6_000 * n + 5_000).fail(scheduled_ms=START_MS + 6_000 * n)
    whole = history.merge(history.open_rows(t.record.history, t.endpoint, START_MS + 54_000)["day"])
    assert (whole.down_ms, whole.unknown_ms) == (54_000, 0)


def test_a_gap_is_unknown_and_never_down() -> None:
    since_ms = 1_700_000_000_000 // DAY_MS * DAY_MS
    gap = range(since_ms + 2 * HOUR_MS, since_ms + 5 * HOUR_MS)
    past, written = live(since_ms, since_ms + DAY_MS + HOUR_MS, skip=gap)
    [day] = history.read_rows(DAY, written.data["day"], since_ms + DAY_MS + HOUR_MS)
    assert (day.ok, day.failed, day.down_ms, day.uptime) == (21 * 360, 0, 0, 1.0)
    assert day.unknown_ms == pytest.approx(3 * HOUR_MS, abs=20_000)
    hours = history.read_rows(HOUR, written.data["hour"], since_ms + DAY_MS)
    report = history.report(hours, since_ms + DAY_MS)
    assert (report.ok, report.down_ms, report.uptime) == (21 * 360, 0, 1.0)
    assert report.unknown_ms == pytest.approx(3 * HOUR_MS, abs=20_000)
    assert history.open_rows(past, ENDPOINT, since_ms + DAY_MS + HOUR_MS)["day"][-1].ok == 360


def test_what_falls_silent_is_unknown_and_the_minute_before_stays_visible() -> None:
    t = Timeline(interval_ms=10_000).at(0).ok().at(10_000).fail()
    rows = history.open_rows(t.record.history, t.endpoint, t.now_ms + 10 * MINUTE_MS)["min"]
    assert (rows[0].ok, rows[0].failed) == (1, 1)
    whole = history.report(rows, t.now_ms + 10 * MINUTE_MS)
    assert (whole.up_ms, whole.down_ms, whole.unknown_ms) == (10_000, 15_000, 10 * MINUTE_MS - 15_000)


def test_a_clock_that_is_put_right_counts_nothing_twice() -> None:
    t = Timeline(interval_ms=10_000).at(0).ok().at(10_000).ok().at(3_600_000).ok()
    t.at(20_000).ok().at(30_000).ok()
    whole = history.merge(history.open_rows(t.record.history, t.endpoint, t.now_ms)["min"])
    assert whole.up_ms <= 10_000
    assert t.record.history.until_ms == START_MS + 30_000


def test_a_long_interval_writes_no_more_rows_than_are_kept() -> None:
    endpoint = Endpoint(id="a", url="http://a/", pool="a", interval_ms=DAY_MS)
    past, _ = history.observe(HistoryState(), endpoint, result(Outcome.SUCCESS, START_MS), Outcome.SUCCESS, DAY_MS)
    _, writes = history.observe(past, endpoint, result(Outcome.SUCCESS, START_MS + DAY_MS), Outcome.SUCCESS, DAY_MS)
    assert len(writes) <= MINUTE.rows + 24 + 2
    assert len({(write.name, write.offset) for write in writes}) == len(writes)


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
    assert [(row.start_ms, row.ok) for row in rows] == [(day_ms, 8_640), (day_ms + DAY_MS, 8_640)]
    assert all(row.unknown_ms <= 12_000 for row in rows)
    hours = history.read_rows(HOUR, written.data["hour"], day_ms + 2 * DAY_MS)
    assert [row.start_ms for row in hours] == [day_ms + n * HOUR_MS for n in range(48)]


def test_uptime_leaves_out_what_is_not_known() -> None:
    assert Row(start_ms=1, inconclusive=3, unknown_ms=4).uptime is None
    assert history.merge([Row(start_ms=2, up_ms=3, p99_ms=5.0), Row(start_ms=1, down_ms=1, unknown_ms=9)]).uptime == 0.75
    assert history.merge([]).uptime is None


def test_a_result_writes_its_sample_and_the_closed_minute() -> None:
    t = Timeline().at(0).ok().at(MINUTE_MS).fail()
    assert t.decision is not None
    assert [write.name for write in t.decision.writes] == ["ring", "min"]
    assert (t.record.history.minute.failed, t.record.history.hour.ok) == (1, 1)


def test_of_an_endpoint_without_a_result_there_is_nothing_to_report() -> None:
    assert history.open_rows(HistoryState(), ENDPOINT, START_MS) == {}
    nothing = history.report([], START_MS)
    assert (nothing.uptime, nothing.ok, nothing.unknown_ms) == (None, 0, 0)


def test_an_answer_faster_than_the_first_bucket_is_in_it() -> None:
    assert history.bucket_of(0.0) == history.bucket_of(0.1) == 0 < history.bucket_of(0.12)


def test_rows_that_do_not_belong_where_they_stand_are_left_out() -> None:
    """As after a release whose rows had another length."""
    until_ms = START_MS + 10 * MINUTE_MS
    past, written = live(START_MS, until_ms)
    assert len(history.read_rows(MINUTE, written.data["min"], until_ms)) == 10
    shifted = written.data["min"][16:]
    assert history.read_rows(MINUTE, shifted, until_ms) == []
    assert history.read_rows(MINUTE, written.data["min"][24:], until_ms) == []
    ahead = history.row_write(MINUTE, Row(start_ms=until_ms + MINUTE_MS, ok=1))
    assert history.read_rows(MINUTE, b"\0" * ahead.offset + ahead.data, until_ms) == []
    assert history.open_rows(past, ENDPOINT, until_ms)["min"]


@pytest.mark.parametrize("damage", [{"place": -1}, {"place": 10**15}, {"minute": Rollup(start_ms=1)}])
def test_history_that_is_damaged_goes_on_within_its_bounds(damage: dict[str, Any]) -> None:
    past, _ = live(START_MS, START_MS + MINUTE_MS)
    seen = result(Outcome.SUCCESS, START_MS + 2 * MINUTE_MS)
    after, writes = history.observe(replace(past, **damage), ENDPOINT, seen, seen.outcome, ENDPOINT.interval_ms)
    assert len(writes) < 10
    assert all(0 <= write.offset < len(write.data) * max(history.RING_LENGTH, DAY.rows, HOUR.rows, MINUTE.rows) for write in writes)
    assert 0 < after.place < history.RING_LENGTH


@given(st.integers(0, 3 * HOUR_MS), st.integers(0, 9 * DAY_MS))
@settings(max_examples=30)
def test_a_long_pause_is_accounted_for_by_the_hour_as_it_is_by_the_minute(lived_ms: int, paused_ms: int) -> None:
    """At once when it ends, or step by step meanwhile."""
    since_ms = 1_700_000_000_000
    ends: list[tuple[HistoryState, dict[str, bytes]]] = []
    for step_ms in (paused_ms, 90 * MINUTE_MS):
        past, written = live(since_ms, since_ms + lived_ms + ENDPOINT.interval_ms)
        now_ms = since_ms + lived_ms + ENDPOINT.interval_ms
        past, writes = history.pause(past, ENDPOINT, True, now_ms)
        until_ms = now_ms + paused_ms
        while True:
            for write in writes:
                written.write(write)
            if now_ms >= until_ms:
                break
            now_ms = min(until_ms, now_ms + step_ms)
            past, writes = history.pause(past, ENDPOINT, now_ms < until_ms, now_ms)
        ends.append((past, written.data))
    assert ends[0] == ends[1]


def test_a_year_of_pause_takes_no_step_for_each_of_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    past, _ = history.pause(HistoryState(), ENDPOINT, True, START_MS)
    past, _ = history.pause(past, ENDPOINT, True, START_MS + MINUTE_MS)
    close, closed = history._close, []
    monkeypatch.setattr(history, "_close", lambda *args: closed.append(1) or close(*args))
    history.pause(past, ENDPOINT, False, START_MS + 365 * DAY_MS)
    assert len(closed) < 365 * 24 + 300
