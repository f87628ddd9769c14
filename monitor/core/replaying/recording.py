"""The text that is replayed: a policy with its settings, endpoints, a seed, and events that are read one by one when they are played."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import msgspec

from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem, did_you_mean
from monitor.core.policies import POLICIES
from monitor.core.policies.options import SettingError, read_settings
from monitor.core.policies.policy import Policy
from monitor.core.replaying.event import seen

RECORDING_BYTES_MAX: Final = 256 * 1024 * 1024
"""Far more than a day of calls; what is longer is refused."""
DEFAULT_ENDPOINTS: Final = ("a",)
KEYS: Final = ("policy", "endpoints", "seed", "events")
_DIGITS_MAX: Final = 300
_MISSING: Final = object()


class Recording(msgspec.Struct, frozen=True):
    """`events` are as they were written: each is judged when its turn comes. `ignored` are keys that mean nothing here."""

    policy: Policy
    settings: Any
    endpoints: tuple[str, ...]
    seed: int
    events: list[object]
    ignored: tuple[str, ...] = ()


def read_recording(data: bytes, where: str) -> Recording:
    """Read the text. Raises ConfigError where it is no JSON object with a usable policy, endpoints and a list of events."""
    try:
        written = _decoded(data)
    except DECODE_ERRORS as error:
        raise ConfigError([Problem(where, "", "", f"it is not JSON: {error}", EXAMPLE)]) from None
    if not isinstance(written, dict):
        raise ConfigError([Problem(where, "", seen(written), "it is not a JSON object", EXAMPLE)])
    problems: list[Problem] = []
    policy, settings = _read_policy(written.get("policy", _MISSING), where, problems)
    endpoints = _read_endpoints(written.get("endpoints", list(DEFAULT_ENDPOINTS)), where, problems)
    seed = written.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        problems.append(_wrong(where, "seed", seed, "it is not a whole number", "write for example 0"))
    events = written.get("events", _MISSING)
    if not isinstance(events, list):
        problems.append(_wrong(where, "events", events, "it is not a list", "write a list of objects, each with at_ms"))
    if problems:
        raise ConfigError(problems)
    ignored = tuple(key for key in written if key not in KEYS)
    return Recording(policy, settings, endpoints, seed, events, ignored)


EXAMPLE: Final = 'write for example {"policy": {"kind": "consecutive"}, "events": [{"at_ms": 0, "outcome": "failure"}]}'


def _decoded(data: bytes) -> Any:
    """What JSON says, and what many writers of it say beyond: NaN, Infinity, numbers beyond every limit, a byte order mark.

    Such a number is wrong in the event that holds it, and not in the others.
    """
    try:
        return msgspec.json.decode(data)
    except DECODE_ERRORS:
        return json.loads(data, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)


def _read_policy(written: Any, where: str, problems: list[Problem]) -> tuple[Any, Any]:
    if not isinstance(written, dict):
        problems.append(_wrong(where, "policy", written, "it is not an object", 'write for example {"kind": "consecutive"}'))
        return None, None
    kind = written.get("kind", _MISSING)
    policy = POLICIES.get(kind) if isinstance(kind, str) else None
    if policy is None:
        hint = f"the policies are {', '.join(POLICIES)}"
        if isinstance(kind, str):
            hint = did_you_mean(kind, POLICIES, hint)
        problems.append(_wrong(where, "policy.kind", kind, "there is no such policy", hint))
        return None, None
    try:
        settings = read_settings(policy.settings, {name: value for name, value in written.items() if name != "kind"})
        policy.check(settings)
    except SettingError as error:
        problems.append(Problem(where, f"policy.{error.name}", error.seen, error.why, error.hint))
        return None, None
    return policy, settings


def _read_endpoints(written: Any, where: str, problems: list[Problem]) -> tuple[str, ...]:
    why = ""
    if not isinstance(written, list) or not written:
        why = "it is not a list of names"
    elif wrong := [name for name in written if not _is_name(name)]:
        why, written = "an endpoint's name is a text that is not empty", wrong[0]
    elif twice := [name for name, times in Counter(written).items() if times > 1]:
        why, written = "two endpoints have the same name", twice[0]
    if why:
        problems.append(_wrong(where, "endpoints", written, why, 'write for example ["a", "b"]'))
        return ()
    return tuple(written)


def _is_name(name: object) -> bool:
    """A text that UTF-8 can say: half of a surrogate pair cannot be printed."""
    return isinstance(name, str) and bool(name) and not any("\ud800" <= char <= "\udfff" for char in name)


def _wrong(where: str, key: str, value: object, why: str, hint: str) -> Problem:
    return Problem(where, key, "", "it is missing", hint) if value is _MISSING else Problem(where, key, seen(value), why, hint)
