"""What an operator may say to our own policies, `consecutive` and `cusum`: modes that lie over the machine, and moves of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from monitor.core.breaker import TRANSITIONS, Event
from monitor.core.policies.policy import Change, IllegalError, Member, Step, open_for_ms
from monitor.core.record import Breaker, BreakerState, Override

M = TypeVar("M")
_MODES: Final = {
    mode.value.lower(): mode for mode in (Override.FORCED_OPEN, Override.FORCED_CLOSED, Override.DISABLED, Override.METRICS_ONLY)
}
_MOVES: Final = (Event.TRIP, Event.TRIAL, Event.TRIAL_FAILED)


def overridden(member: Member[M], word: str, now_ms: int, fresh: M, moved: Callable[[Event, str], Member[M]]) -> Step[M]:
    """The member after an operator's word. `fresh` is the memory of one of which nothing is known; `moved` does an event for a reason.

    A mode lies over the machine until another word; a move to where the machine is changes no more than a time.
    """
    if word in _MODES:
        return _told(member, replace(member, mode=_MODES[word]), word, now_ms)
    if word == "auto":
        return _told(member, replace(member, mode=None), word, now_ms)
    if word == "reset":
        breaker = BreakerState(since_ms=now_ms, gen=member.breaker.gen + 1)
        return _told(member, replace(member, mode=None, breaker=breaker, memory=fresh), word, now_ms)
    state, wanted = member.breaker.state, Breaker.HALF_OPEN if word == "half_open" else Breaker.OPEN
    after, open_ms = member, open_for_ms(word)
    if state is not wanted:
        event = next((event for event in _MOVES if TRANSITIONS.get((state, event)) is wanted), None)
        if event is None:
            raise IllegalError(f"{word} is no move from {state.value.lower()}; it may be told open, open_for:MS, reset or a mode")
        after = moved(event, f"an operator said {word}")
    if open_ms is not None:
        after = replace(after, breaker=replace(after.breaker, open_until_ms=now_ms + open_ms))
    return _told(member, replace(after, mode=None), word, now_ms)


def _told(before: Member[Any], after: Member[M], word: str, now_ms: int) -> Step[M]:
    """A change where what is seen from outside is another state than before."""
    if before.state == after.state:
        return Step(after)
    return Step(after, (Change(now_ms, before.state, after.state, "override", f"an operator said {word}"),))
