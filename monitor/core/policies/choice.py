"""Which policies are in force for an endpoint: what is written of it, over what is written of its pool, over what is built in.

The same kind at both places is merged setting by setting; another kind begins from its own defaults. Settings that endpoints and pools
have by themselves are where a policy's settings of the like begin: failure_threshold and success_threshold of the endpoint for the active
policy, the pool's `open` and `open_max` for every policy that has a cooldown.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.policies import POLICIES
from monitor.core.policies.options import SettingError, read_settings, table

ACTIVE_DEFAULT: Final = "consecutive"
PASSIVE_DEFAULT: Final = "cusum"
NONE: Final = "none"
"""The kind of a passive policy that is switched off."""
COOLDOWN_SPREAD_PERCENT: Final = 10
"""By how much the time that a breaker stays open is spread, so that a pool that tripped at once does not return at once."""
_CACHED_MAX: Final = 4_096
_POLICIES: Final[Mapping[str, Any]] = POLICIES


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
    """The policies in force. Equal settings give the very same object, from a cache; entries of the registry always have some.

    Where an endpoint's own settings contradict its pool's, which no manifest lets pass, they do not count.
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


def check_stored(active: PolicyChoice | None, passive: PolicyChoice | None) -> None:
    """Raise ValueError (SettingError among them) where this release does not know such policies, or not with these settings."""
    for choice in (active, passive):
        if choice is None or (choice is passive and choice.kind == NONE):
            continue
        if choice.kind not in _POLICIES:
            raise ValueError(f"there is no policy {choice.kind!r} in this release")
        if hasattr(_POLICIES[choice.kind], "settings"):
            read_settings(_POLICIES[choice.kind].settings, choice.settings)


@lru_cache(maxsize=_CACHED_MAX)
def _resolved(  # noqa: PLR0917 - the key of a cache.
    active: PolicyChoice | None,
    passive: PolicyChoice | None,
    pool_active: PolicyChoice | None,
    pool_passive: PolicyChoice | None,
    failure_threshold: int,
    success_threshold: int,
    open_ms: int,
    open_max_ms: int,
) -> Choices:
    times: Mapping[str, int] = {
        "cooldown_ms": open_ms,
        "cooldown_max_ms": max(open_ms, open_max_ms),
        "cooldown_spread_percent": COOLDOWN_SPREAD_PERCENT,
    }
    runs = {"failure_threshold": failure_threshold, "success_threshold": success_threshold}
    judge = _chosen(active, pool_active or PolicyChoice(ACTIVE_DEFAULT), {**times, **runs})
    return Choices(judge, _passive(passive, pool_passive or PolicyChoice(PASSIVE_DEFAULT), times))


def _passive(own: PolicyChoice | None, pools: PolicyChoice, given: Mapping[str, int]) -> Chosen | None:
    return None if (own or pools).kind == NONE or (own or pools).kind not in _POLICIES else _chosen(own, pools, given)


def _chosen(own: PolicyChoice | None, pools: PolicyChoice, given: Mapping[str, int]) -> Chosen:
    if own is None:
        return _made(pools.kind, pools.settings, given)
    inherited = pools.settings if own.kind == pools.kind else {}
    try:
        return _made(own.kind, {**inherited, **own.settings}, given)
    except SettingError:
        return _made(own.kind, inherited, given)


def _made(kind: str, written: Mapping[str, object], given: Mapping[str, int]) -> Chosen:
    policy = _POLICIES[kind]
    if not hasattr(policy, "settings"):
        return Chosen(kind, policy, None)
    known = table(policy.settings)
    settings = read_settings(policy.settings, {**{name: value for name, value in given.items() if name in known}, **written})
    policy.check(settings)
    return Chosen(kind, policy, settings)
