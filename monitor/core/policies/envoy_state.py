"""What the policy `envoy` is told, remembers of a host, and knows of a pool."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from monitor.core.policies.options import TIME_MAX_MS, Limits

COUNT_MAX: Final = 2**32 - 1
"""The largest count that a setting may say, as in Envoy's own configuration."""
_LONGEST_EJECTION_MS: Final = 300_000


def _number(name: str, text: str) -> Limits:
    return Limits(0, COUNT_MAX, text, f"Envoy {name}")


def _percent(name: str, text: str) -> Limits:
    return Limits(0, 100, text, f"Envoy {name}")


def _time(name: str, text: str, low: int = 1) -> Limits:
    return Limits(low, TIME_MAX_MS, text, f"Envoy {name}")


def _flag(name: str, text: str) -> Limits:
    return Limits(0, 1, text, f"Envoy {name}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of Envoy's `outlier_detection` under its own names, times with `_ms`."""

    consecutive_5xx: Annotated[int, _number("consecutive_5xx", "So many 5xx in a row eject; 0: none do.")] = 5
    consecutive_gateway_failure: Annotated[
        int, _number("consecutive_gateway_failure", "So many 502, 503 or 504 in a row eject; 0: none do.")
    ] = 5
    consecutive_local_origin_failure: Annotated[
        int, _number("consecutive_local_origin_failure", "So many errors of local origin in a row eject, where they are split; 0: none do.")
    ] = 5
    split_external_local_origin_errors: Annotated[
        bool, _flag("split_external_local_origin_errors", "Errors of local origin have counters of their own.")
    ] = False
    interval_ms: Annotated[int, _time("interval", "Hosts return and are compared at whole multiples of it.")] = 10_000
    base_ejection_time_ms: Annotated[
        int, _time("base_ejection_time", "An ejection lasts so long, times the ejections of late that healthy intervals have not forgiven.")
    ] = 30_000
    max_ejection_time_ms: Annotated[
        int | None, _time("max_ejection_time", "But no longer than this; without it 300,000, or the base time where that is more.")
    ] = None
    max_ejection_time_jitter_ms: Annotated[int, _time("max_ejection_time_jitter", "Up to so much more is drawn each time.", low=0)] = 0
    max_ejection_percent: Annotated[
        int, _percent("max_ejection_percent", "No ejection beyond this part of the hosts; the default ejects none of fewer than 10.")
    ] = 10
    always_eject_one_host: Annotated[bool, _flag("always_eject_one_host", "The first one may always be ejected.")] = False
    success_rate_minimum_hosts: Annotated[
        int, _number("success_rate_minimum_hosts", "Fewer hosts with enough calls are not compared by success rate.")
    ] = 5
    success_rate_request_volume: Annotated[
        int, _number("success_rate_request_volume", "So many calls in an interval are enough for a success rate.")
    ] = 100
    success_rate_stdev_factor: Annotated[
        int,
        _number(
            "success_rate_stdev_factor",
            "A success rate ejects below the mean less so many thousandths of a standard deviation.",
        ),
    ] = 1900
    failure_percentage_threshold: Annotated[
        int, _percent("failure_percentage_threshold", "This failure percentage of an interval, or more, ejects.")
    ] = 85
    failure_percentage_minimum_hosts: Annotated[
        int, _number("failure_percentage_minimum_hosts", "Fewer hosts with enough calls are not judged by failure percentage.")
    ] = 5
    failure_percentage_request_volume: Annotated[
        int, _number("failure_percentage_request_volume", "So many calls in an interval are enough for a failure percentage.")
    ] = 50
    enforcing_consecutive_5xx: Annotated[int, _percent("enforcing_consecutive_5xx", "The chance that consecutive_5xx really ejects.")] = 100
    enforcing_consecutive_gateway_failure: Annotated[
        int, _percent("enforcing_consecutive_gateway_failure", "The chance that consecutive_gateway_failure really ejects.")
    ] = 0
    enforcing_consecutive_local_origin_failure: Annotated[
        int, _percent("enforcing_consecutive_local_origin_failure", "The chance that consecutive_local_origin_failure really ejects.")
    ] = 100
    enforcing_success_rate: Annotated[int, _percent("enforcing_success_rate", "The chance that a low success rate really ejects.")] = 100
    enforcing_local_origin_success_rate: Annotated[
        int, _percent("enforcing_local_origin_success_rate", "The same, of what was found locally.")
    ] = 100
    enforcing_failure_percentage: Annotated[
        int, _percent("enforcing_failure_percentage", "The chance that a high failure percentage really ejects.")
    ] = 0
    enforcing_failure_percentage_local_origin: Annotated[
        int, _percent("enforcing_failure_percentage_local_origin", "The same, of what was found locally.")
    ] = 0

    @property
    def longest_ms(self) -> int:
        """The longest ejection, without jitter."""
        return max(_LONGEST_EJECTION_MS, self.base_ejection_time_ms) if self.max_ejection_time_ms is None else self.max_ejection_time_ms

    @property
    def volume(self) -> int:
        """So many calls in an interval, and a host has a rate."""
        return max(1, min(self.success_rate_request_volume, self.failure_percentage_request_volume))


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host's counters: 18 whole numbers, under 500 bytes of JSON however much it is called."""

    in_row_5xx: int = 0
    in_row_gateway: int = 0
    in_row_local: int = 0
    """Failures in a row. They rest while the host is ejected, and begin anew when it returns."""
    total: int = 0
    good: int = 0
    local_total: int = 0
    local_good: int = 0
    """Calls of the current interval."""
    last_total: int = 0
    last_good: int = 0
    last_local_total: int = 0
    last_local_good: int = 0
    """Calls of the last full interval."""
    seen_ms: int = 0
    """When it was last looked at: its next interval ends after this."""
    rolled_ms: int = -1
    """The end of its last full interval."""
    judged: bool = True
    """Whether it has been compared with the others since."""
    backoff: int = 0
    """k: ejections that healthy intervals have not yet forgiven, without one that lasts."""
    ejections: int = 0
    attempts: int = 0
    """Draws so far, of which no two are the same."""
    refused: int = 0


class Rates(msgspec.Struct, frozen=True):
    """The hosts of a pool in one interval. Means and thresholds are success rates in percent, -1 where too few hosts had enough calls."""

    mean: float = -1.0
    threshold: float = -1.0
    """A lower success rate is an outlier's."""
    by_percentage: bool = False
    """Whether enough hosts had enough calls to be judged by failure percentage."""


class Gathered(msgspec.Struct, frozen=True):
    """A pool in a few numbers."""

    hosts: int
    ejected: int
    external: Rates = Rates()
    local: Rates = Rates()
    admitted: tuple[int, int, int, int] = (0, 0, 0, 0)
    """How many of the hosts not yet compared will be ejected by each of the four comparisons: in their order, and under the cap."""
