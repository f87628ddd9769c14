"""Who reports: an entry counts once, and one broken consumer does not count for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.pool.traffic.observers import (
    FORGOTTEN_AFTER_MS,
    KNOWN_AFTER_MS,
    QUARANTINE_SILENT_MS,
    WINDOW,
    early_or_late,
    guarded,
    heard,
    weighed,
)
from monitor.pool.traffic.shapes import ObserverState

T0 = 1_790_000_000_000


def fold(entries: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The entries (sequence number and second) that count, in their order."""
    known: ObserverState | None = None
    counted = []
    for seq, second in entries:
        after = heard(known, seq, T0 + 1_000 * second, T0 + 1_000 * second)
        if after is not None:
            counted.append((seq, second))
            known = after
    return counted


def test_an_entry_counts_once_however_often_it_comes() -> None:
    assert fold([(1, 1), (1, 1), (2, 2), (1, 1), (2, 2)]) == [(1, 1), (2, 2)]


def test_entries_that_were_reordered_all_count() -> None:
    assert fold([(3, 3), (1, 1), (2, 2), (1, 1), (3, 3)]) == [(3, 3), (1, 1), (2, 2)]


def test_several_entries_of_one_second_all_count() -> None:
    assert fold([(1, 1), (2, 1), (3, 1), (2, 1)]) == [(1, 1), (2, 1), (3, 1)]


def test_numbers_may_begin_anywhere_and_leave_gaps() -> None:
    assert len(fold([(10_000, 1), (10_500, 2), (10_499, 2), (10_500, 2)])) == 3


def test_what_lies_further_back_than_the_window_is_taken_for_duplicated() -> None:
    assert fold([(1_000, 5), (1_000 - WINDOW + 1, 4), (1_000 - WINDOW, 4)]) == [(1_000, 5), (1_000 - WINDOW + 1, 4)]


def test_a_process_that_begins_anew_under_its_old_name_counts_from_the_next_second_on() -> None:
    first = [(n, n) for n in range(1, 11)]
    assert fold([*first, (1, 10), (1, 11), (2, 12)]) == [*first, (1, 11), (2, 12)]


def test_what_its_earlier_life_wrote_does_not_count_again() -> None:
    first = [(n, n) for n in range(1, 101)]
    assert fold([*first, (1, 101), (90, 90), (100, 100), (2, 102)]) == [*first, (1, 101), (2, 102)]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 8)), max_size=30))
def test_whatever_is_duplicated_and_reordered_counts_once(delays: list[int], duplicated: list[tuple[int, int]]) -> None:
    sent = [(n + 1, n) for n in range(len(delays))]
    came = [(seq + delay, seq, second) for (seq, second), delay in zip(sent, delays, strict=True)]
    came += [(seq + delay, seq, second) for n, delay in duplicated for seq, second in sent[n : n + 1]]
    counted = fold([(seq, second) for _, seq, second in sorted(came)])
    assert sorted(counted) == sent, "each counts, and counts once"


@pytest.mark.parametrize(
    ("slot_ms", "when"),
    [(-11_000, ""), (-11_001, "late"), (0, ""), (2_000, ""), (2_001, "ahead"), (-3_600_000, "late"), (3_600_000, "ahead")],
)
def test_seconds_long_ago_and_far_ahead_are_not_judged(slot_ms: int, when: str) -> None:
    assert early_or_late(T0 + slot_ms, T0) == when


def observers(
    failing: dict[str, int], seconds: int, of: int = 10, since: dict[str, ObserverState] | None = None
) -> dict[str, ObserverState]:
    """What is known of observers that for so many seconds failed on so many endpoints of ten."""
    known = dict(since or {})
    first = max((one.newest_ms for one in known.values()), default=T0) + 1_000
    for second in range(seconds):
        for name, bad in failing.items():
            before = known.get(name)
            after = heard(before, before.high + 1 if before else 1, first + 1_000 * second, first + 1_000 * second)
            assert after is not None
            known[name] = weighed(after, before.newest_ms if before else after.newest_ms, bad, 10)
        known = guarded(known, first + 1_000 * second)
    return known


def quarantined(known: dict[str, ObserverState]) -> list[str]:
    return sorted(name for name, one in known.items() if one.quarantined_ms)


WELL = {f"well-{n}": 0 for n in range(5)}


def test_the_one_that_fails_where_the_others_do_not_is_quarantined() -> None:
    assert quarantined(observers({**WELL, "broken": 10}, 10)) == ["broken"]
    assert quarantined(observers({**WELL, "half": 5}, 10)) == ["half"]
    assert quarantined(observers({**WELL, "less": 4}, 10)) == []


def test_of_two_the_broken_one_is_told() -> None:
    assert quarantined(observers({"well": 0, "broken": 10}, 10)) == ["broken"]


def test_what_all_see_makes_nobody_suspect() -> None:
    assert quarantined(observers({f"o{n}": 8 for n in range(5)}, 10)) == []
    assert quarantined(observers({"alone": 10}, 10)) == []


def test_an_outage_that_some_report_before_the_others_makes_nobody_suspect() -> None:
    known = observers(WELL, 30)
    early = observers({"well-0": 10, "well-1": 10, "well-2": 0, "well-3": 0, "well-4": 0}, 2, since=known)
    assert quarantined(early) == []
    assert quarantined(observers(dict.fromkeys(WELL, 10), 30, since=early)) == []


def test_who_has_used_too_little_to_tell_speaks_for_nobody() -> None:
    failing = observers({"busy": 10}, 10)
    idle = {f"idle-{n}": heard(None, 1, one.newest_ms, one.seen_ms) for one in failing.values() for n in range(5)}
    assert quarantined(guarded(failing | {name: one for name, one in idle.items() if one}, failing["busy"].seen_ms)) == []


def test_nobody_is_judged_at_once() -> None:
    assert quarantined(observers({**WELL, "broken": 10}, KNOWN_AFTER_MS // 1_000)) == []
    assert quarantined(observers({**WELL, "broken": 10}, KNOWN_AFTER_MS // 1_000 + 1)) == ["broken"]


def test_a_quarantine_is_lifted_when_it_fails_on_less_than_a_quarter() -> None:
    known = observers({**WELL, "broken": 10}, 10)
    assert quarantined(observers({**WELL, "broken": 0}, 5, since=known)) == ["broken"], "its share fades"
    assert quarantined(observers({**WELL, "broken": 0}, 30, since=known)) == []
    assert quarantined(observers({**WELL, "broken": 4}, 60, since=known)) == ["broken"], "between the two it stays"


def test_a_quarantine_is_lifted_when_the_others_see_it_too() -> None:
    known = observers({**WELL, "broken": 10}, 10)
    assert quarantined(observers({**dict.fromkeys(WELL, 10), "broken": 10}, 20, since=known)) == []


def test_who_is_silent_is_forgotten_and_one_in_quarantine_later() -> None:
    known = observers({**WELL, "broken": 10}, 10)
    last_ms = max(one.seen_ms for one in known.values())
    assert set(guarded(known, last_ms + FORGOTTEN_AFTER_MS)) == set(known)
    assert set(guarded(known, last_ms + FORGOTTEN_AFTER_MS + 1)) == {"broken"}
    assert set(guarded(known, last_ms + QUARANTINE_SILENT_MS + 1)) == set()
