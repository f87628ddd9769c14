"""What holds for the policy cusum whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.policies.call import COUNT_MAX, Call, CallOutcome
from monitor.core.policies.cusum_score import capped, runs
from monitor.core.policies.cusum_state import Memory, Settings
from monitor.core.policies.policy import Change, Member
from monitor.core.record import BreakerState
from tests.unit.core.policies.pool_of_cusum import FAILURE, POLICY, SUCCESS, TIMEOUT, PoolOfCusum

SETTINGS = Settings()
Happened = tuple[int, CallOutcome, int]

OUTCOMES = st.sampled_from((SUCCESS, FAILURE, TIMEOUT))
COUNTS = st.one_of(st.integers(1, 5), st.integers(1, 1_000_000), st.just(COUNT_MAX))
GAPS_MS = st.sampled_from((0, 0, 1, 10, 300, 1_000, 5_000, 31_000))
HISTORIES = st.lists(st.tuples(GAPS_MS, OUTCOMES, COUNTS), max_size=40)
LIGHT = st.lists(st.tuples(st.sampled_from((0, 1, 100, 1_000)), OUTCOMES, st.just(1)), min_size=1, max_size=60)


def fresh(name: str = "a") -> Member[Memory]:
    return Member(name, BreakerState(), POLICY.begin(SETTINGS, 0))


def played(history: Sequence[Happened], *, stored: bool = False) -> tuple[Member[Memory], list[Change], int]:
    """An endpoint alone; `stored`: its memory goes through JSON after each call."""
    member, changes, now_ms = fresh(), [], 0
    for gap_ms, outcome, count in history:
        now_ms += gap_ms
        step = POLICY.observe(SETTINGS, member, Call(outcome, count, 5.0), None, now_ms)
        member = step.member
        if stored:
            memory = msgspec.json.decode(msgspec.json.encode(member.memory), type=Memory)
            member = msgspec.structs.replace(member, memory=memory)
        changes += step.changes
    return member, changes, now_ms


def score(member: Member[Memory]) -> float:
    return capped(runs(member.memory)[0])


@given(HISTORIES)
def test_the_same_history_gives_the_same_and_json_may_hold_what_is_remembered(history: list[Happened]) -> None:
    assert played(history) == played(history) == played(history, stored=True)


@given(HISTORIES, COUNTS, st.sampled_from((0, 1, 1_000)))
def test_a_success_never_raises_a_score_and_a_failure_never_lowers_it(history: list[Happened], count: int, gap_ms: int) -> None:
    member, _, now_ms = played(history)
    if member.state != "closed":
        return
    before = score(member)
    good = POLICY.observe(SETTINGS, member, Call(SUCCESS, count, 5.0), None, now_ms + gap_ms).member
    assert score(good) <= before
    for outcome in (FAILURE, TIMEOUT):
        step = POLICY.observe(SETTINGS, member, Call(outcome, count), None, now_ms + gap_ms)
        assert step.changes or score(step.member) >= before


@given(LIGHT, st.data())
def test_a_call_that_fails_instead_of_succeeding_never_delays_a_trip(history: list[Happened], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(history) - 1))
    gap_ms, outcome, count = history[place]
    worse = FAILURE if outcome is SUCCESS else TIMEOUT
    trips = played(history)[1]
    trips_of_worse = played([*history[:place], (gap_ms, worse, count), *history[place + 1 :]])[1]
    if trips:
        assert trips_of_worse
        assert trips_of_worse[0].at_ms <= trips[0].at_ms


@given(st.lists(st.tuples(OUTCOMES, st.integers(1, 50)), min_size=1, max_size=8), st.randoms(use_true_random=False), HISTORIES)
def test_how_the_calls_of_one_time_are_told_changes_nothing(
    calls: list[tuple[CallOutcome, int]], random: st.DataObject, history: list[Happened]
) -> None:
    """Counts in parts, or the parts in another order, successes before failures."""
    parts: list[Call] = []
    for outcome, count in calls:
        cut = random.randint(0, count)  # type: ignore[attr-defined]
        parts += [Call(outcome, part, 5.0) for part in (cut, count - cut) if part]
    random.shuffle(parts)  # type: ignore[attr-defined]
    parts.sort(key=lambda call: call.outcome is not SUCCESS)
    whole = [Call(wanted, n, 5.0) for wanted in (SUCCESS, FAILURE, TIMEOUT) if (n := sum(count for o, count in calls if o is wanted))]
    before, _, now_ms = played(history)
    if before.state != "closed":
        return
    ends = []
    for told in (parts, whole):
        member = before
        for call in told:
            member = POLICY.observe(SETTINGS, member, call, None, now_ms + 1).member
        ends.append(member)
    assert ends[0].state == ends[1].state
    assert ends[0].state != "closed" or ends[0].memory == ends[1].memory


SECONDS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50), st.integers(0, 50), st.booleans()), min_size=1, max_size=25)


@given(SECONDS, st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_a_failure_that_the_pool_shares_ejects_nobody_at_any_rate_and_share_of_traffic(
    seconds: list[tuple[int, int, int, bool]], volumes: list[int]
) -> None:
    pool = PoolOfCusum(*(f"e{n}" for n in range(len(volumes))))
    second = 0
    for gap_s, good, bad, hard in seconds:
        second += gap_s
        for name, volume in zip(pool.members, volumes, strict=True):
            pool.second(second, name, good=volume * good, **{"timeouts" if hard else "bad": volume * bad})
    pool.pass_time((second + 5) * 1000)
    assert pool.changes == []


ROUNDS = st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 5)), min_size=4, max_size=4), max_size=12)


def rounds_played(rounds: Sequence[Sequence[tuple[int, int, int]]], order: Sequence[int]) -> dict[int, tuple[list[Change], Member[Memory]]]:
    """As the journey plays a pool: what all have reported of a second, then each beside the others."""
    members = {place: fresh() for place in order}
    changes: dict[int, list[Change]] = {place: [] for place in order}
    for second, told in enumerate(rounds):
        gathered = POLICY.gather(SETTINGS, members.values(), second * 1000)
        for place in order:
            for outcome, count in zip((SUCCESS, FAILURE, TIMEOUT), told[place], strict=True):
                if count:
                    step = POLICY.observe(SETTINGS, members[place], Call(outcome, count, 5.0), gathered, second * 1000)
                    members[place] = step.member
                    changes[place] += step.changes
        gathered = POLICY.gather(SETTINGS, members.values(), second * 1000)
        for place in order:
            step = POLICY.compare(SETTINGS, members[place], gathered, second * 1000)
            members[place] = step.member
            changes[place] += step.changes
    return {place: (changes[place], members[place]) for place in order}


@given(ROUNDS, st.permutations(range(4)))
def test_the_order_of_the_members_and_their_names_change_nothing(rounds: list[list[tuple[int, int, int]]], order: Sequence[int]) -> None:
    assert rounds_played(rounds, order) == rounds_played(rounds, range(4))


@given(HISTORIES)
def test_every_trip_says_why_in_numbers_that_agree(history: list[Happened]) -> None:
    for change in played(history)[1]:
        evidence = change.evidence
        if change.new == "open" and "score" in evidence:
            assert float(evidence["score"]) >= float(evidence["threshold"]) - 0.001
            assert f"{evidence['failures']} of {evidence['calls']} calls failed" in change.reason
