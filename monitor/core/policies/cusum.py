"""The policy `cusum`, ours: an endpoint trips when its calls fail, or are slow, more than those of the other members of its pool by so much
and for so long that chance would do it as seldom as was asked for. Core/policies/cusum_score has the test.

Relative to the others: what the whole pool shares ejects nobody. Before an endpoint trips the others are asked about the very seconds that
its score was made of, since their rate over the whole window follows a sudden failure slowly. Where they did not do well then, or all of it
was in one second, the trip waits until calls of theirs in the newest second are known, or that second ends. Who plays a whole pool observes
all members' calls (of those that ended together the successes first), gathers, and compares each. One alone is judged as if the others had
no failures.

Its memory is at most 30 seconds of three counts and 255 counts of durations, as JSON about 800 bytes at 100 calls a second, 6 kB at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from msgspec.structs import replace

from monitor.core.breaker import Event, cooled_down, forgive
from monitor.core.durations import format_duration
from monitor.core.history import bucket_of
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.by_hand import overridden
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.cusum_machine import (
    FAILED_TRIALS_MAX,
    RULE,
    CusumMember,
    CusumStep,
    Facts,
    changed,
    half_opened,
    permits,
    restarted,
    scored,
    tried,
)
from monitor.core.policies.cusum_score import (
    LN_2,
    REFRESH_S,
    added_up,
    capped,
    faded,
    height,
    next_second,
    others,
    percentile_90,
    reference,
    runs,
    shifted,
    shifted_if_any,
    up,
    window_of,
)
from monitor.core.policies.cusum_state import NO_RUN, Instant, Memory, Others, Past, Peers, Run, Second, Settings
from monitor.core.policies.opening import check_opening
from monitor.core.policies.policy import CONCURRENT_MAX, Member, Shown, Step, Trials
from monitor.core.record import Breaker

RULE_SLOW: Final = "cusum_slow"
EXCEEDED: Final = "CUSUM_EXCEEDED"
"""The event of a trip that an operator's METRICS_ONLY does not let happen."""

_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
_SUCCESS, _FAILURE, _TIMEOUT, _IGNORED = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT, CallOutcome.IGNORED


_Member: TypeAlias = CusumMember
_Step: TypeAlias = CusumStep


class Cusum:
    """The policy; see above."""

    name = "cusum"
    settings = Settings
    memory = Memory
    relative = True
    counts_runs = False

    def check(self, settings: Settings) -> None:
        """The opening's times fit each other."""
        check_opening(settings)

    def begin(self, settings: Settings, now_ms: int) -> Memory:  # noqa: ARG002 - the same for all policies
        """No calls yet."""
        return Memory()

    def gather(self, settings: Settings, members: Iterable[_Member], now_ms: int) -> Peers:  # noqa: ARG002
        """The calls of all members in the last 30 s, second by second, and what their durations are."""
        return added_up(((member.memory.second, member.memory.past) for member in members), now_ms // 1000)

    def observe(self, settings: Settings, member: _Member, call: Call, gathered: Peers | None, now_ms: int) -> _Step:
        """Calls have ended: count them, and trip where the score says so."""
        outcome, breaker, memory = call.outcome, member.breaker, member.memory
        state = breaker.state
        if state is _OPEN or (outcome is not _SUCCESS and outcome is not _FAILURE and outcome is not _TIMEOUT):
            return self.release(settings, member, now_ms) if outcome is _IGNORED else Step(member)
        if member.mode is not None and not OVERLAYS[member.mode].records:
            return Step(member)
        if memory.gen != breaker.gen:
            memory = Memory(breaker.gen, not_permitted=memory.not_permitted)
        if state is _HALF_OPEN:
            return tried(settings, member, memory, call, now_ms)
        second, instant, failing, slowness, past = memory.second, memory.instant, memory.failing, memory.slowness, memory.past
        durations, due_ms, count = memory.durations, memory.due_ms, call.count
        if now_ms > instant.at_ms or not past.threshold:
            if instant.failures or instant.slow or failing.score or slowness.score:
                failing, slowness = runs(memory)
            instant = Instant(now_ms)
            if now_ms // 1000 > second.at or not past.threshold:
                past, durations = _rolled(settings, memory, gathered, now_ms // 1000)
                second, due_ms = Second(now_ms // 1000), 0
                if failing.score or slowness.score:
                    failing, slowness = next_second(failing), next_second(slowness)
        seen = second
        if outcome is _SUCCESS:
            slow = count if 0.0 < past.slow_ms < call.duration_ms else 0
            bucket = bucket_of(call.duration_ms)
            durations = durations.copy()
            durations[bucket] = durations.get(bucket, 0) + count
            second = Second(second.at, second.successes + count, second.failures, second.slow + slow)
            instant = Instant(instant.at_ms, instant.successes + count, instant.failures, instant.hard, instant.slow + slow)
            memory = Memory(breaker.gen, second, instant, failing, slowness, past, durations, memory.not_permitted, due_ms)
            after = Member(member.id, breaker, memory, member.mode, member.seed)
            return _judged(settings, after, gathered, now_ms, seen) if slow else Step(after)
        hard = count if outcome is _TIMEOUT or call.local_origin else 0
        second = Second(second.at, second.successes, second.failures + count, second.slow)
        instant = Instant(instant.at_ms, instant.successes, instant.failures + count, instant.hard + hard, instant.slow)
        memory = Memory(breaker.gen, second, instant, failing, slowness, past, durations, memory.not_permitted, due_ms)
        return _judged(settings, _copied(member, memory), gathered, now_ms, seen)

    def compare(self, settings: Settings, member: _Member, gathered: Peers | None, now_ms: int) -> _Step:
        """Trip where the score says so and the others, as they are known now, do not speak for the endpoint."""
        memory = member.memory
        if member.breaker.state is not _CLOSED or memory.gen != member.breaker.gen or not memory.past.threshold:
            return Step(member)
        if member.mode is not None and not OVERLAYS[member.mode].records:
            return Step(member)
        return _judged(settings, member, gathered, now_ms, None)

    def acquire(self, settings: Settings, member: _Member, now_ms: int) -> _Step:
        """Permitted while CLOSED; after the cooldown the first who asks has trial 1."""
        breaker = member.breaker
        if member.mode is not None:
            return Step(member, permitted=True) if OVERLAYS[member.mode].permits else _refused(member)
        if breaker.state is _CLOSED:
            return Step(member, permitted=True)
        if breaker.state is _OPEN:
            if not cooled_down(breaker, now_ms):
                return _refused(member)
            after, change = half_opened(settings, member, now_ms, "asked for")
            return Step(replace(after, memory=replace(after.memory, issued=1)), (change,), permitted=True)
        memory = member.memory if member.memory.gen == breaker.gen else Memory(breaker.gen)
        if memory.issued >= permits(settings, breaker.hard, memory.trial_failures):
            return _refused(member)
        return Step(_copied(member, replace(memory, issued=memory.issued + 1)), permitted=True)

    def release(self, settings: Settings, member: _Member, now_ms: int) -> _Step:  # noqa: ARG002
        """A trial's permit comes back."""
        memory = member.memory
        if member.breaker.state is not _HALF_OPEN or memory.gen != member.breaker.gen or not memory.issued:
            return Step(member)
        return Step(_copied(member, replace(memory, issued=memory.issued - 1)))

    def probe(self, settings: Settings, member: _Member, success: bool, now_ms: int) -> _Step:
        """A success ends an opening whose time is over, or whose reason is hard: probes see that. There it is a trial, too."""
        breaker = member.breaker
        if breaker.state is _OPEN and success and (breaker.hard or cooled_down(breaker, now_ms)):
            after, change = half_opened(settings, member, now_ms, "a probe succeeded")
            return Step(after, (change,))
        if breaker.state is _HALF_OPEN and breaker.hard:
            memory = member.memory if member.memory.gen == breaker.gen else Memory(breaker.gen)
            return tried(settings, member, memory, Call(_SUCCESS if success else _FAILURE, local_origin=True), now_ms)
        return Step(member)

    def override(self, settings: Settings, member: _Member, word: str, now_ms: int) -> _Step:
        """An operator's word (core/policies/by_hand)."""

        def moved(event: Event, reason: str) -> _Member:
            return changed(settings, member, event, now_ms, reason=reason, evidence=evidence)[0]

        evidence = scored(settings, member)
        step = overridden(member, word, now_ms, Memory(member.breaker.gen + 1), moved)
        return replace(step, changes=tuple(replace(change, evidence=evidence) for change in step.changes))

    def due_ms(self, settings: Settings, member: _Member) -> int:  # noqa: ARG002
        """The end of the second in which a trip waits."""
        return member.memory.due_ms

    def tick(self, settings: Settings, member: _Member, now_ms: int) -> _Step:  # noqa: ARG002
        """It waits no longer: `compare` judges."""
        return Step(_copied(member, replace(member.memory, due_ms=0)))

    def trials(self, settings: Settings, member: _Member) -> Trials | None:
        """As many as a verdict may take: leased permits are told once, so those that a failed trial asks for are among them."""
        permitted = permits(settings, member.breaker.hard, FAILED_TRIALS_MAX - 1)
        return Trials(permitted, min(permitted, CONCURRENT_MAX))

    def slow_ms(self, settings: Settings, member: _Member) -> float:  # noqa: ARG002
        """Several times what the others need."""
        return member.memory.past.slow_ms

    def shows(self, settings: Settings, member: _Member, now_ms: int) -> Shown:  # noqa: ARG002
        """Of the last 30 s, trials not among them; slow are shares of successes."""
        memory = member.memory
        calls, failures, slow = window_of(memory.second, memory.past, max(now_ms // 1000, memory.second.at))
        return Shown(
            failure_rate=100 * failures / calls if calls else -1,
            slow_rate=100 * slow / (calls - failures) if calls > failures else -1,
            calls=calls,
            failures=failures,
            slow_calls=slow,
            not_permitted=memory.not_permitted,
        )


def _copied(member: _Member, memory: Memory) -> _Member:
    return Member(member.id, member.breaker, memory, member.mode, member.seed)


def _refused(member: _Member) -> _Step:
    return Step(_copied(member, replace(member.memory, not_permitted=member.memory.not_permitted + 1)), permitted=False)


# Seconds ----------------------------------------------------------------------------------------------------------


def _rolled(settings: Settings, memory: Memory, peers: Peers | None, at: int) -> tuple[Past, dict[int, int]]:
    """The past when the second `at` begins, and the durations."""
    second, past = memory.second, memory.past
    gap = at - second.at
    durations, p90_ms = memory.durations, past.p90_ms
    if not p90_ms or at // REFRESH_S != second.at // REFRESH_S:
        durations = faded(durations, second.at, at)
        p90_ms = percentile_90(durations)
    p0 = slow_p0 = reference(0, 0, settings.p0_min, settings.margin)
    slow_ms = 0.0
    if peers is not None:
        if peers.total.failures or peers.total.slow:
            rest = others(peers, second, past)
            p0 = reference(rest.failures, rest.calls, settings.p0_min, settings.margin)
            slow_p0 = reference(rest.slow, rest.calls - rest.failures, settings.p0_min, settings.margin)
        typical_ms = peers.p90s_ms.without(past.p90_ms) if past.p90_ms else peers.p90s_ms.median
        slow_ms = max(settings.slow_min_ms, settings.slow_multiple * typical_ms) if typical_ms else 0.0
    calls = shifted(past.calls, second.successes + second.failures, gap)
    return Past(
        calls,
        shifted_if_any(past.failures, second.failures, gap, len(calls)),
        shifted_if_any(past.slow, second.slow, gap, len(calls)),
        p0,
        slow_p0,
        height(sum(calls), settings.false_ejections_per_day),
        slow_ms,
        p90_ms,
    ), durations


def _judged(settings: Settings, member: _Member, peers: Peers | None, now_ms: int, seen: Second | None) -> _Step:
    """Trip, or not. `seen` is the newest second as the pool's totals have it, where that is not the member's own and a trip may wait."""
    failing, slowness = runs(member.memory)
    if capped(failing) >= 1.0:
        return _confirmed(settings, member, peers, now_ms, seen=seen, run=failing, slow=False)
    if capped(slowness) >= 1.0:
        return _confirmed(settings, member, peers, now_ms, seen=seen, run=slowness, slow=True)
    return Step(member)


def _confirmed(
    settings: Settings, member: _Member, peers: Peers | None, now_ms: int, *, seen: Second | None, run: Run, slow: bool
) -> _Step:
    """Ask the others about the seconds of the run; trip where they did better.

    Where they did not do well then, or all of it was in the newest second, their calls of that second are waited for, as long as it lasts.
    """
    second, past = member.memory.second, member.memory.past
    then = others(peers, seen or second, past, run.since)
    bad, calls = _bad_of(then, slow=slow)
    in_doubt = bad > settings.p0_min * calls if then.calls else run.since == second.at
    if in_doubt and seen is not None and peers is not None and peers.members > 1 and not others(peers, seen, past, second.at).calls:
        return Step(_copied(member, replace(member.memory, due_ms=(second.at + 1) * 1000)))
    p0_then = reference(bad, calls, settings.p0_min, settings.margin)
    p0, score, h = past.slow_p0 if slow else past.p0, capped(run), past.threshold
    beside = (run.bad * up(p0_then) - run.good * LN_2) / h
    if beside < score:
        p0, score = p0_then, beside
    if not then.calls:
        then = others(peers, seen or second, past)
    if score < 1.0:
        return Step(_copied(member, _doubted(member.memory, p0, slow=slow)))
    if member.mode is not None and not OVERLAYS[member.mode].opens:
        return Step(_copied(member, restarted(member.memory)), events=(EXCEEDED,))
    return _trip(settings, member, now_ms, run=run, p0=p0, score=score * h, rest=then, slow=slow)


def _bad_of(rest: Others, *, slow: bool) -> tuple[int, int]:
    """Bad calls, and of how many."""
    return (rest.slow, rest.calls - rest.failures) if slow else (rest.failures, rest.calls)


def _doubted(memory: Memory, p0: float, *, slow: bool) -> Memory:
    """The others did no better in these seconds: the score as it is with their rate, which counts for the newest second, too."""
    run, past = memory.slowness if slow else memory.failing, memory.past
    score = min(run.score, (run.bad * up(p0) - run.good * LN_2) / past.threshold)
    run = replace(run, score=score, low=min(run.low, score)) if score > 0.0 else NO_RUN
    if slow:
        return replace(memory, slowness=run, past=replace(past, slow_p0=max(p0, past.slow_p0)))
    return replace(memory, failing=run, past=replace(past, p0=max(p0, past.p0)))


# The machine ------------------------------------------------------------------------------------------------------


def _trip(settings: Settings, member: _Member, now_ms: int, *, run: Run, p0: float, score: float, rest: Others, slow: bool) -> _Step:
    h, total = member.memory.past.threshold, run.bad + run.good
    bad, calls = _bad_of(rest, slow=slow)
    rate = round(100 * bad / calls, 2) if calls else -1
    hard = not slow and run.hard * up(p0) - run.good * LN_2 >= h
    took = format_duration(max(1000, (member.memory.second.at - run.since + 1) * 1000))
    did = "successes were slow" if slow else "calls failed"
    beside = f"while {rate:g} % of the other members' did" if calls else "and no other member had calls to compare it with"
    reason = f"{run.bad} of {total} {did} within {took}, {beside}: score {score:.1f}, {h:.1f} trips"
    evidence: Facts = {
        "score": round(score, 3),
        "threshold": round(h, 3),
        "p0": round(p0, 4),
        "p1": round((1 + p0) / 2, 4),
        "slow_calls" if slow else "failures": run.bad,
        "calls": total,
        "peers_rate": rate,
    }
    if slow:
        evidence["slow_ms"] = round(member.memory.past.slow_ms, 3)
    else:
        evidence["hard_failures"] = run.hard
    forgiven = replace(member, breaker=forgive(member.breaker, 0, now_ms))
    after, change = changed(
        settings, forgiven, Event.TRIP, now_ms, rule=RULE_SLOW if slow else RULE, reason=reason, evidence=evidence, hard=hard
    )
    slow_ms = member.memory.past.slow_ms if slow else 0.0
    return Step(_copied(after, replace(after.memory, trial_slow_ms=slow_ms)), (change,))
