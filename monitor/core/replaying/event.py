"""One event of a recording: what it says, or why it says nothing that could be played."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from math import inf, nan
from typing import Any, Final

import msgspec

from monitor.core.errors import did_you_mean
from monitor.core.policies.call import COUNT_MAX, Call, CallOutcome
from monitor.core.policies.policy import open_for_ms
from monitor.core.texts import cut

AT_MAX_MS: Final = COUNT_MAX
CODE_MAX: Final = 999
VERBS: Final = ("outcome", "acquire", "release", "override", "probe")
DETAILS: Final = ("duration_ms", "count", "code", "local_origin")
KEYS: Final = dict.fromkeys(("at_ms", "endpoint", *VERBS, *DETAILS))
OVERRIDES: Final = ("open", "half_open", "forced_open", "forced_closed", "disabled", "metrics_only", "auto", "reset")
OUTCOMES: Final = {outcome.value: outcome for outcome in CallOutcome}
PROBES: Final = {"success": True, "failure": False}
SEEN_LENGTH_MAX: Final = 60
ENDPOINTS_NAMED_MAX: Final = 10


class Verb(StrEnum):
    """What an event asks for."""

    WAIT = ""
    OUTCOME = "outcome"
    ACQUIRE = "acquire"
    RELEASE = "release"
    OVERRIDE = "override"
    PROBE = "probe"


class ReplayEvent(msgspec.Struct, frozen=True):
    """`place` is the endpoint's among the recording's. `call`, `word` and `success` are those of outcome, override and probe."""

    at_ms: int
    place: int
    verb: Verb = Verb.WAIT
    call: Call | None = None
    word: str = ""
    success: bool = False


class EventError(ValueError):
    """Why an event cannot be played: what was seen, and what is allowed."""


def read_event(written: object, places: Mapping[str, int], now_ms: int) -> ReplayEvent:
    """The event. `places` are of the recording's endpoints by name, `now_ms` is how far time has come. Raises EventError for the first
    thing that is wrong."""
    if not isinstance(written, dict):
        raise EventError(f"an event is an object with at_ms, not {seen(written)}")
    if not written.keys() <= KEYS.keys():
        name = next(key for key in written if key not in KEYS)
        hint = did_you_mean(name, KEYS, f"allowed are {', '.join(KEYS)}")
        raise EventError(f"there is no key {seen(name)}; {hint}")
    if "at_ms" not in written:
        raise EventError(f"at_ms is missing; it is a whole number from 0 to {AT_MAX_MS}")
    at_ms = _whole(written, "at_ms", 0, AT_MAX_MS)
    if at_ms < now_ms:
        raise EventError(f"at_ms is {at_ms}, and time has come to {now_ms}; it never decreases")
    place = _read_place(written["endpoint"], places) if "endpoint" in written else 0
    verbs = [verb for verb in VERBS if verb in written]
    if len(verbs) > 1:
        raise EventError(f"{' and '.join(verbs)} stand in one event; at most one of {', '.join(VERBS)} is allowed")
    call = _read_call(written)
    if verbs == ["outcome"]:
        return ReplayEvent(at_ms, place, Verb.OUTCOME, call)
    if call != _NOTHING_SAID:
        raise EventError(f"{', '.join(name for name in DETAILS if name in written)} without an outcome, which it would say more of")
    return _read_verb(written, at_ms, place, Verb(verbs[0])) if verbs else ReplayEvent(at_ms, place)


def _read_verb(written: Mapping[str, Any], at_ms: int, place: int, verb: Verb) -> ReplayEvent:
    if verb is Verb.PROBE:
        return ReplayEvent(at_ms, place, verb, success=PROBES[_word(written, "probe", PROBES)])
    if verb is Verb.OVERRIDE:
        return ReplayEvent(at_ms, place, verb, word=_read_override(written["override"]))
    if written[verb] is not True:
        raise EventError(f"{verb} is {seen(written[verb])}; only true is allowed")
    return ReplayEvent(at_ms, place, verb)


def _read_place(name: object, places: Mapping[str, int]) -> int:
    if not isinstance(name, str) or name not in places:
        more = f" and {len(places) - ENDPOINTS_NAMED_MAX} more" if len(places) > ENDPOINTS_NAMED_MAX else ""
        named = ", ".join(map(seen, islice(places, ENDPOINTS_NAMED_MAX)))
        raise EventError(f"there is no endpoint {seen(name)}; the recording has {named}{more}")
    return places[name]


def at_ms_seen(written: object) -> int | None:
    """The time of an event that cannot be played, as far as it says one."""
    at_ms = written.get("at_ms") if isinstance(written, dict) else None
    return at_ms if type(at_ms) is int and 0 <= at_ms <= AT_MAX_MS else None


def seen(value: object) -> str:
    """What was written, as a person may read it: short, on one line, in JSON's words."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return cut(text, SEEN_LENGTH_MAX)


_NOTHING_SAID: Final = Call(CallOutcome.SUCCESS)


def _read_call(written: Mapping[str, Any]) -> Call:
    """The call, and a success where no outcome is written."""
    outcome = OUTCOMES[_word(written, "outcome", OUTCOMES)] if "outcome" in written else CallOutcome.SUCCESS
    count = _whole(written, "count", 1, COUNT_MAX) if "count" in written else 1
    duration_ms = _duration_ms(written["duration_ms"]) if "duration_ms" in written else 0.0
    code = _whole(written, "code", 0, CODE_MAX) if "code" in written else None
    local_origin = written.get("local_origin", False)
    if not isinstance(local_origin, bool):
        raise EventError(f"local_origin is {seen(local_origin)}; true or false is allowed")
    return Call(outcome, count, duration_ms, code, local_origin)


def _whole(written: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = written[name]
    if type(value) is not int or not low <= value <= high:
        raise EventError(f"{name} is {seen(value)}; a whole number from {low} to {high} is allowed")
    return value


def _duration_ms(value: object) -> float:
    try:
        duration_ms = float(value) if type(value) in {int, float} else nan  # type: ignore[arg-type]
    except OverflowError:
        duration_ms = inf
    if not 0 <= duration_ms < inf:
        raise EventError(f"duration_ms is {seen(value)}; a finite number that is not negative is allowed")
    return duration_ms


def _word(written: Mapping[str, Any], name: str, known: Mapping[str, object]) -> str:
    value = written[name]
    if not isinstance(value, str) or value not in known:
        raise EventError(f"{name} is {seen(value)}; allowed are {', '.join(known)}")
    return value


def _read_override(value: object) -> str:
    allowed = f"allowed are {', '.join(OVERRIDES)} and open_for:MS"
    if not isinstance(value, str):
        raise EventError(f"override is {seen(value)}; {allowed}")
    try:
        open_ms = open_for_ms(value)
    except ValueError as error:
        raise EventError(f"override is {seen(value)}; {error}") from None
    if open_ms is None and value not in OVERRIDES:
        raise EventError(f"override is {seen(value)}; {allowed}")
    return value
