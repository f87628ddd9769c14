"""What the policy `resilience4j` is set to and remembers, where an operator's word may lead it, and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from monitor.core.policies.options import TIME_MAX_MS, Limits
from monitor.core.policies.policy import IllegalError, open_for_ms
from monitor.core.policies.windows import FAILED, PERCENT, SLOW, CountWindow, TimeWindow, Window
from monitor.core.record import Breaker, Override

WINDOW_MAX: Final = 10_000
"""The most calls, or seconds, of a window."""
CALLS_MAX: Final = 1_000_000
_FLOATS: Final = Struct("ff")
SECOND_MS: Final = 1_000
WAIT_MAX_MS: Final = 2**53
"""Where a wait that grows without `wait_max_ms` stops; JSON holds it exactly."""
MODES: Final = {"disabled": Override.DISABLED, "metrics_only": Override.METRICS_ONLY, "forced_open": Override.FORCED_OPEN}
MACHINE: Final = {"open": Breaker.OPEN, "half_open": Breaker.HALF_OPEN}
_FROM_CLOSED: Final = ("closed", "open", "disabled", "metrics_only", "forced_open")
_FROM_OPEN: Final = ("closed", "open", "half_open", "disabled", "metrics_only", "forced_open")
MOVES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "closed": _FROM_CLOSED,
        "open": _FROM_OPEN,
        "half_open": _FROM_OPEN,
        "forced_open": _FROM_OPEN,
        "disabled": _FROM_OPEN,
        "metrics_only": ("closed", "disabled", "metrics_only", "forced_open"),
    }
)
"""Where an operator's word may lead from each state. A move to the same state begins it anew and is told nobody."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """CircuitBreakerConfig. `wait_multiplier`, `wait_randomization` and `wait_max_ms` are its IntervalFunction."""

    sliding_window_type: Annotated[
        str, Limits(0, 0, "Whether the newest calls are judged, or those of the last seconds.", "slidingWindowType", ("count", "time"))
    ] = "count"
    sliding_window_size: Annotated[int, Limits(1, WINDOW_MAX, "So many calls, or seconds.", "slidingWindowSize")] = 100
    minimum_number_of_calls: Annotated[
        int, Limits(1, CALLS_MAX, "Fewer calls are not judged; at most the size of a count window.", "minimumNumberOfCalls")
    ] = 100
    failure_rate_threshold: Annotated[float, Limits(0.001, 100, "Percentage of failures that opens.", "failureRateThreshold")] = 50.0
    slow_call_rate_threshold: Annotated[float, Limits(0.001, 100, "Percentage of slow calls that opens.", "slowCallRateThreshold")] = 100.0
    slow_call_duration_threshold_ms: Annotated[
        int, Limits(1, TIME_MAX_MS, "A call that took longer is slow.", "slowCallDurationThreshold")
    ] = 60_000
    permitted_number_of_calls_in_half_open_state: Annotated[
        int, Limits(1, WINDOW_MAX, "Calls that may try it, and the window that judges them.", "permittedNumberOfCallsInHalfOpenState")
    ] = 10
    wait_duration_in_open_state_ms: Annotated[
        int, Limits(1, TIME_MAX_MS, "How long it stays open the first time.", "waitDurationInOpenState")
    ] = 60_000
    wait_multiplier: Annotated[
        float, Limits(1, 1_000, "Each opening that follows a failed trial lasts so many times longer.", "IntervalFunction multiplier")
    ] = 1.0
    wait_randomization: Annotated[
        float, Limits(0, 1, "By which part of it a wait is drawn shorter or longer.", "IntervalFunction randomizationFactor")
    ] = 0.0
    wait_max_ms: Annotated[int | None, Limits(1, TIME_MAX_MS, "The longest wait; none: it grows on.", "IntervalFunction maxInterval")] = (
        None
    )
    max_wait_duration_in_half_open_state_ms: Annotated[
        int, Limits(0, TIME_MAX_MS, "How long it waits for its trials; 0: for ever.", "maxWaitDurationInHalfOpenState")
    ] = 0
    transition_to_state_after_wait_duration: Annotated[
        str, Limits(0, 0, "Where it goes when its trials have not ended by then.", "transitionToStateAfterWaitDuration", ("open", "closed"))
    ] = "open"
    automatic_transition_from_open_to_half_open_enabled: Annotated[
        bool, Limits(0, 1, "Whether OPEN ends by itself.", "automaticTransitionFromOpenToHalfOpenEnabled")
    ] = False


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """`window` holds the calls (None: the state records nothing). `trial`: they are those of a half-open period, of which `permits` are
    left. `attempts` counts the openings since it was last CLOSED. `told` are the thresholds that METRICS_ONLY has told, in bits. `gen` is
    the breaker's: where somebody else has moved it, the memory begins that state anew.

    A count window is one byte a call (100 by default), a time window some 20 bytes a second that had calls; WINDOW_MAX of either at most.
    """

    window: Window | None = None
    trial: bool = False
    permits: int = 0
    attempts: int = 0
    not_permitted: int = 0
    told: int = 0
    gen: int = 0


def met(settings: Settings, window: Window, minimum: int) -> int:
    """The thresholds that are met, in bits."""
    calls, failed, slow = window.calls, window.failed, window.slow
    if calls < minimum:
        return 0
    by_failures = FAILED if failed and _reaches(failed, calls, settings.failure_rate_threshold) else 0
    return by_failures | SLOW if slow and _reaches(slow, calls, settings.slow_call_rate_threshold) else by_failures


def _reaches(part: int, calls: int, threshold: float) -> bool:
    """In floats of 32 bits, as the source's: a threshold of 66.6666667 is two failures of three."""
    rate, least = _FLOATS.unpack(_FLOATS.pack(part * PERCENT / calls, threshold))
    return bool(rate >= least)


def minimum_of(settings: Settings, window: Window) -> int:
    """Below so many calls this window is not judged."""
    minimum = settings.minimum_number_of_calls
    return min(minimum, window.size) if isinstance(window, CountWindow) else minimum


def closed_window(settings: Settings) -> Window:
    """The window of CLOSED and METRICS_ONLY as they begin."""
    size = settings.sliding_window_size
    return CountWindow(size) if settings.sliding_window_type == "count" else TimeWindow(size)


def begun(settings: Settings, state: str) -> Memory:
    """A state's memory as it begins."""
    if state == "half_open":
        permitted = settings.permitted_number_of_calls_in_half_open_state
        return Memory(CountWindow(permitted), trial=True, permits=permitted)
    return Memory(closed_window(settings) if state in {"closed", "metrics_only"} else None)


def wait_ms(settings: Settings, attempts: int, draw: float) -> int:
    """How long the opening number `attempts` lasts: the IntervalFunction, whole milliseconds at each step. `draw` is from [0, 1)."""
    lasts_ms, longest_ms = settings.wait_duration_in_open_state_ms, settings.wait_max_ms or WAIT_MAX_MS
    for _ in range(attempts - 1):
        longer_ms = int(min(lasts_ms * settings.wait_multiplier, WAIT_MAX_MS))
        if longer_ms == lasts_ms:
            break
        lasts_ms = longer_ms
    if settings.wait_randomization:
        delta_ms = lasts_ms * settings.wait_randomization
        lasts_ms = int(max(1.0, lasts_ms - delta_ms + draw * (2 * delta_ms + 1)))
    return min(lasts_ms, longest_ms)


def target_of(word: str) -> tuple[str, int | None]:
    """Where a word leads, and for how long if it says so."""
    if word in {"auto", "reset"}:
        return "closed", None
    try:
        for_ms = open_for_ms(word)
    except ValueError as error:
        raise IllegalError(f"seen {word}: {error}") from None
    if for_ms is not None:
        return "open", for_ms
    if word not in MACHINE and word not in MODES:
        known = "open, open_for:MS, half_open, forced_open, disabled, metrics_only, auto, reset"
        raise IllegalError(f"resilience4j knows no override {word}; allowed: {known}")
    return word, None
