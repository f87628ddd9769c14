"""Which policies are in force for an endpoint: what is written of it, over what is written of its pool, over what is built in.

The same kind at both places is merged setting by setting; another kind begins from its own defaults. What endpoints and pools have by
themselves is where the settings of that meaning begin: failure_threshold and success_threshold of the endpoint for the active policy,
`open` and `open_max` of the pool for every policy that has a cooldown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.policies import POLICIES
from monitor.core.policies.consecutive import ConsecutiveSettings
from monitor.core.policies.options import SettingError, read_settings, table

ACTIVE: Final = "active"
PASSIVE: Final = "passive"
ACTIVE_DEFAULT: Final = "consecutive"
PASSIVE_DEFAULT: Final = "cusum"
NONE: Final = "none"
"""The kind of a passive policy that is switched off."""
COOLDOWN_SPREAD_PERCENT: Final = 10
"""By how much the time that a breaker stays open is spread, so that a pool that tripped at once does not return at once."""
_CACHED_MAX: Final = 4_096
_POLICIES: Final[Mapping[str, Any]] = POLICIES
_BUILT_IN: Final = {ACTIVE: PolicyChoice(ACTIVE_DEFAULT), PASSIVE: PolicyChoice(PASSIVE_DEFAULT)}


class Chosen(msgspec.Struct, frozen=True):
    """A policy in force, with all of its settings (an object of `policy.settings`)."""

    kind: str
    policy: Any
    settings: Any


class Choices(msgspec.Struct, frozen=True):
    """Who judges probes, and who judges what consumers report (None: nobody)."""

    active: Chosen
    passive: Chosen | None


def resolved(endpoint: Endpoint, pool: Pool) -> Choices:
    """The policies in force. Equal settings give the very same object, from a cache.

    Where settings contradict each other, which no manifest lets pass, the endpoint's own do not count, and then the pool's neither.
    """
    return _resolved(
        endpoint.active,
        endpoint.passive,
        pool.active,
        pool.passive,
        endpoint.failure_threshold,
        endpoint.success_threshold,
        pool.open_ms,
        pool.open_max_ms,
    )


def contradictions(endpoint: Endpoint, pool: Pool) -> Iterator[tuple[str, SettingError]]:
    """What contradicts itself in the policies that would be in force, beside `active` or `passive`."""
    for role, own, pools in ((ACTIVE, endpoint.active, pool.active), (PASSIVE, endpoint.passive, pool.passive)):
        try:
            _chosen(role, own, pools, _flat(endpoint, pool))
        except SettingError as error:
            yield role, error


def check_known(active: PolicyChoice | None, passive: PolicyChoice | None) -> None:
    """Raise ValueError (SettingError among them) where this release does not know such policies, or not with such settings."""
    for choice in (active, passive):
        if choice is None or (choice is passive and choice.kind == NONE):
            continue
        if choice.kind not in _POLICIES:
            raise ValueError(f"there is no policy {choice.kind!r} in this release")
        _check_settings(choice)


@lru_cache(maxsize=_CACHED_MAX)
def _check_settings(choice: PolicyChoice) -> None:
    read_settings(_POLICIES[choice.kind].settings, choice.settings)


def _flat(endpoint: Endpoint, pool: Pool) -> tuple[int, ...]:
    return endpoint.failure_threshold, endpoint.success_threshold, pool.open_ms, pool.open_max_ms


@lru_cache(maxsize=_CACHED_MAX)
def _resolved(
    active: PolicyChoice | None,
    passive: PolicyChoice | None,
    pool_active: PolicyChoice | None,
    pool_passive: PolicyChoice | None,
    *flat: int,
) -> Choices:
    judge = _in_force(ACTIVE, active, pool_active, flat)
    assert judge is not None  # noqa: S101 - probes are always judged.
    return Choices(judge, _in_force(PASSIVE, passive, pool_passive, flat))


def _in_force(role: str, own: PolicyChoice | None, pools: PolicyChoice | None, flat: tuple[int, ...]) -> Chosen | None:
    kind = PolicyChoice((own or pools or _BUILT_IN[role]).kind)
    for one, other in ((own, pools), (kind, pools)):
        try:
            return _chosen(role, one, other, flat)
        except SettingError:
            continue
    return _chosen(role, kind, kind, flat)


@lru_cache(maxsize=_CACHED_MAX)
def _chosen(role: str, own: PolicyChoice | None, pools: PolicyChoice | None, flat: tuple[int, ...]) -> Chosen | None:
    """Raises SettingError for settings that contradict each other."""
    first = pools or _BUILT_IN[role]
    choice = own or first
    if choice.kind == NONE:
        return None
    policy = _POLICIES[choice.kind]
    known = table(policy.settings)
    begin = {name: value for name, value in _begin(role, flat).items() if name in known}
    written = {**(first.settings if first.kind == choice.kind else {}), **choice.settings}
    settings = read_settings(policy.settings, {**begin, **written})
    policy.check(settings)
    if isinstance(settings, ConsecutiveSettings):
        settings = _with_permits(settings, role, written)
    return Chosen(choice.kind, policy, settings)


def _with_permits(settings: ConsecutiveSettings, role: str, written: Mapping[str, object]) -> ConsecutiveSettings:
    """As many permits as trials have to succeed, where nobody says how many; fewer would never close a breaker, but probes ask for none."""
    wanted, permits = settings.success_threshold, settings.half_open_max_calls
    if permits >= wanted:
        return settings
    if role == ACTIVE or "half_open_max_calls" not in written:
        return msgspec.structs.replace(settings, half_open_max_calls=wanted)
    hint = f"write {wanted} or more, or a smaller success_threshold"
    raise SettingError(
        "half_open_max_calls", str(permits), f"it is below success_threshold, which is {wanted}: no breaker would close", hint
    )


def _begin(role: str, flat: tuple[int, ...]) -> Mapping[str, int]:
    failure_threshold, success_threshold, open_ms, open_max_ms = flat
    times = {
        "cooldown_ms": open_ms,
        "cooldown_max_ms": max(open_ms, open_max_ms),
        "cooldown_spread_percent": COOLDOWN_SPREAD_PERCENT,
    }
    runs = {"failure_threshold": failure_threshold, "success_threshold": success_threshold}
    return {**times, **runs} if role == ACTIVE else times
