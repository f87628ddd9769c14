"""Days as their reader counts them, made of the rows that are kept in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.history import DAY, HOUR, Row
from monitor.query.history import days_of

NOW_MS = int(datetime(2026, 11, 3, 15, 30, tzinfo=UTC).timestamp() * 1000)
BERLIN = ZoneInfo("Europe/Berlin")


def rows(length_ms: int, count: int, *, since_ms: int = 0) -> list[Row]:
    """Rows up to now, each with one result for each of its hours, and up throughout."""
    last = NOW_MS // length_ms
    found = []
    for number in range(last - count + 1, last + 1):
        start_ms, end_ms = max(since_ms, number * length_ms), min(NOW_MS, (number + 1) * length_ms)
        if start_ms < end_ms:
            found.append(Row(start_ms=start_ms, ok=-(-(end_ms - start_ms) // HOUR.length_ms), up_ms=end_ms - start_ms))
    return found


def starts(found: list[Row], zone: ZoneInfo | timezone) -> list[str]:
    return [datetime.fromtimestamp(row.start_ms / 1000, zone).strftime("%m-%d %H:%M") for row in found]


def test_days_of_utc_are_the_rows_as_they_are_kept():
    days = rows(DAY.length_ms, 20)
    assert days_of(UTC, days, rows(HOUR.length_ms, 192), NOW_MS) == days


def test_days_begin_at_midnight_there_as_far_as_hours_are_kept_and_before_at_midnight_of_utc():
    found = days_of(BERLIN, rows(DAY.length_ms, 11), rows(HOUR.length_ms, 192), NOW_MS)
    assert starts(found, BERLIN) == [
        "10-24 02:00", "10-25 02:00", "10-26 01:00",  # days of UTC
        "10-27 01:00",  # what is left until midnight
        "10-28 00:00", "10-29 00:00", "10-30 00:00", "10-31 00:00", "11-01 00:00", "11-02 00:00", "11-03 00:00",
    ]  # fmt: skip
    assert sum(row.up_ms for row in found) == sum(row.up_ms for row in rows(DAY.length_ms, 11)), (
        "no hour is told twice, and none is missing"
    )
    assert not any(row.unknown_ms for row in found)


def test_a_day_on_which_clocks_change_has_its_own_length():
    new_york = ZoneInfo("America/New_York")  # Back to winter time on November 1st.
    found = days_of(new_york, rows(DAY.length_ms, 5), rows(HOUR.length_ms, 192, since_ms=rows(DAY.length_ms, 5)[0].start_ms), NOW_MS)
    lengths = dict(zip(starts(found, new_york), (row.up_ms // HOUR.length_ms for row in found), strict=True))
    assert (lengths["10-31 00:00"], lengths["11-01 00:00"], lengths["11-02 00:00"]) == (24, 25, 24)


def test_a_young_endpoint_has_days_of_the_zone_alone():
    since_ms = NOW_MS - 50 * HOUR.length_ms - 600_000
    found = days_of(BERLIN, rows(DAY.length_ms, 5, since_ms=since_ms), rows(HOUR.length_ms, 192, since_ms=since_ms), NOW_MS)
    assert starts(found, BERLIN) == ["11-01 14:20", "11-02 00:00", "11-03 00:00"]


def test_hours_that_are_missing_are_unknown():
    hours = [row for row in rows(HOUR.length_ms, 192) if datetime.fromtimestamp(row.start_ms / 1000, BERLIN).strftime("%d %H") != "02 00"]
    (day,) = [row for row in days_of(BERLIN, rows(DAY.length_ms, 20), hours, NOW_MS) if starts([row], BERLIN) == ["11-02 00:00"]]
    assert (day.unknown_ms, day.up_ms) == (HOUR.length_ms, 23 * HOUR.length_ms)


@given(minutes=st.integers(-12 * 60, 14 * 60), days=st.integers(1, 12), kept=st.integers(1, 192))
def test_whatever_the_zone_no_hour_is_told_twice_and_none_is_missing(minutes: int, days: int, kept: int):
    zone = timezone(timedelta(minutes=minutes))
    kept_days = rows(DAY.length_ms, days)
    hours = rows(HOUR.length_ms, kept, since_ms=kept_days[0].start_ms)
    found = days_of(zone, kept_days, hours, NOW_MS)
    assert [row.start_ms for row in found] == sorted({row.start_ms for row in found})
    assert sum(row.up_ms for row in found) == sum(row.up_ms for row in kept_days)
    for row, after in pairwise(found):
        assert row.start_ms + row.up_ms + row.unknown_ms == after.start_ms


@pytest.mark.parametrize("offset", [5.5, 5.75, -3.5])
def test_where_the_offset_is_no_whole_hour_a_day_begins_with_its_first_whole_hour_of_utc(offset: float):
    zone = timezone(timedelta(hours=offset))
    last = days_of(zone, rows(DAY.length_ms, 20), rows(HOUR.length_ms, 192), NOW_MS)[-1]
    assert last.start_ms % HOUR.length_ms == 0
    assert datetime.fromtimestamp(last.start_ms / 1000, zone).hour == 0
