"""The settings of endpoints and pools as people write them: one table each, for files, options and documentation.

A `parse` takes what was written (text, list, mapping) and returns the normalised value; it raises ValueError with
"why it is refused; what to write instead". A `format` is its inverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from monitor.core.durations import format_duration, parse_duration
from monitor.core.endpoint import (
    DEPENDS_ON_MAX,
    ID_LENGTH_MAX,
    INTERVAL_MAX_MS,
    INTERVAL_MIN_MS,
    LABELS_MAX,
    RETRIES_MAX,
    THRESHOLD_MAX,
    WEIGHT_MAX,
)
from monitor.core.texts import shorten

LABEL_LENGTH_MAX = 256
RESERVED_LABELS = frozenset({"alertname", "endpoint", "pool", "severity"})
"""Every alert carries these of its own; an endpoint's label of that name would hide them."""

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Parse = Callable[[Any], Any]


class Field(msgspec.Struct, frozen=True):
    """`key` is what people write; `attribute` the field of Endpoint or Pool that it sets; `example` what it looks like."""

    key: str
    attribute: str
    parse: Parse
    format: Callable[[Any], Any]
    example: str
    help: str


def text_of(value: Any) -> str:
    """Return `value`, which must be one text."""
    if not isinstance(value, str):
        raise ValueError("one value is wanted here; write a single word or number")  # noqa: TRY004 - one kind of refusal
    return value


def duration(low_ms: int, high_ms: int, *, zero: str = "") -> Parse:
    """A duration from `low_ms` to `high_ms`; 0 too where `zero` says what it means."""

    def parse(value: Any) -> int:
        ms = parse_duration(text_of(value))
        if not low_ms <= ms <= high_ms and not (zero and ms == 0):
            limits = f"{format_duration(low_ms)} to {format_duration(high_ms)}"
            raise ValueError(f"the duration is out of range; write {limits}{f', or 0 for {zero}' if zero else ''}")
        return ms

    return parse


def whole(low: int, high: int) -> Parse:
    """A whole number from `low` to `high`."""

    def parse(value: Any) -> int:
        text = text_of(value)
        if not re.fullmatch(r"-?[0-9]+", text):
            raise ValueError(f"this is no whole number; write {low} to {high}")
        if len(text) > 9 or not low <= int(text) <= high:
            raise ValueError(f"the number is out of range; write {low} to {high}")
        return int(text)

    return parse


def truth(value: Any) -> bool:
    """Parse true or false as people write them. Raises ValueError."""
    found = _TRUTH.get(text_of(value).lower())
    if found is None:
        raise ValueError("this is neither true nor false; write true or false")
    return found


def name(value: Any) -> str:
    """An id or a pool's name: printable, without white space and braces (keys of the store are built from it)."""
    text = text_of(value)
    if not text:
        raise ValueError("the name is empty; write letters, digits, dots, dashes")
    if len(text) > ID_LENGTH_MAX:
        raise ValueError(f"the name is longer than {ID_LENGTH_MAX} characters; write a shorter one")
    if not text.isprintable() or " " in text or "{" in text or "}" in text:
        raise ValueError("a name has no white space, control characters or braces; write letters, digits, dots, dashes")
    return text


def labels(value: Any) -> dict[str, str | None]:
    """Labels by name. A label of None takes an inherited one away."""
    if not isinstance(value, Mapping):
        raise ValueError("labels are names with values; write for example {team: shop}")  # noqa: TRY004 - one kind of refusal
    if len(value) > LABELS_MAX:
        raise ValueError(f"there are more than {LABELS_MAX} labels; write fewer")
    for key, text in value.items():
        if not _LABEL_NAME.fullmatch(key):
            raise ValueError(f"{shorten(key)} is no label name; write letters, digits and _, not beginning with a digit")
        if key in RESERVED_LABELS or key.startswith("__"):
            raise ValueError(f"the label {shorten(key)} is reserved for Watchkeeper; choose another name")
        if text is not None and (not isinstance(text, str) or len(text) > LABEL_LENGTH_MAX or not text.isprintable()):
            raise ValueError(
                f"the label {shorten(key)} is no printable text of at most {LABEL_LENGTH_MAX} characters; shorten it, on one line"
            )
    return dict(value)


def ids(value: Any) -> tuple[str, ...]:
    """Ids of other endpoints, each once, in the order written; one alone may be written without a list."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple):
        raise ValueError("ids are wanted here; write for example [db, cache]")  # noqa: TRY004 - one kind of refusal
    if len(found) > DEPENDS_ON_MAX:
        raise ValueError(f"there are more than {DEPENDS_ON_MAX} parents; depend on one that depends on them")
    return tuple(dict.fromkeys(map(_id, found)))


def _id(item: Any) -> str:
    try:
        return name(item)
    except ValueError as error:
        raise ValueError(f"{shorten(item)}: {error}" if isinstance(item, str) else str(error)) from None


def _same(value: Any) -> Any:
    return value


ENDPOINT_FIELDS: Mapping[str, Field] = {
    field.key: field
    for field in (
        Field(
            "interval",
            "interval_ms",
            duration(INTERVAL_MIN_MS, INTERVAL_MAX_MS),
            format_duration,
            "10s",
            "Time from one probe to the next, 500ms to 1d.",
        ),
        Field(
            "fast_interval",
            "fast_interval_ms",
            duration(INTERVAL_MIN_MS, INTERVAL_MAX_MS, zero="the interval"),
            format_duration,
            "2s",
            "Interval while a change of state is pending; 0 for the interval.",
        ),
        Field(
            "timeout",
            "timeout_ms",
            duration(10, INTERVAL_MAX_MS),
            format_duration,
            "5s",
            "Longest time of one attempt; at most the interval, and the interval itself where that is shorter than 5s.",
        ),
        Field(
            "initial_delay",
            "initial_delay_ms",
            duration(0, INTERVAL_MAX_MS),
            format_duration,
            "30s",
            "Time to wait before the first probe, which comes within a minute after it, or within an interval where that is shorter.",
        ),
        Field("retries", "retries", whole(0, RETRIES_MAX), _same, "2", "Attempts after a failed one, inside the same probe."),
        Field(
            "retry_delay",
            "retry_delay_ms",
            duration(0, INTERVAL_MAX_MS),
            format_duration,
            "1s",
            "Time before a retry; each further one waits twice as long.",
        ),
        Field(
            "failure_threshold", "failure_threshold", whole(1, THRESHOLD_MAX), _same, "3", "Failed probes in a row that open the breaker."
        ),
        Field("success_threshold", "success_threshold", whole(1, THRESHOLD_MAX), _same, "2", "Successful probes in a row that close it."),
        Field("weight", "weight", whole(1, WEIGHT_MAX), _same, "100", "Base weight in the pool; its proportion to the others' counts."),
        Field("labels", "labels", labels, dict, "{team: shop}", "Labels of the endpoint, carried by its alerts."),
        Field("depends_on", "depends_on", ids, list, "[db]", "Ids of the endpoints without which this one cannot work."),
        Field("paused", "paused", truth, _same, "true", "Registered, but not probed. Where it is not written, what was set before stays."),
    )
}

POOL_FIELDS: Mapping[str, Field] = {
    field.key: field
    for field in (
        Field("max_ejection_percent", "max_ejection_percent", whole(0, 100), _same, "50", "Largest part of the pool that may be ejected."),
        Field("panic", "panic", truth, _same, "true", "Whether ejected members get traffic when too few are left; otherwise it is shed."),
        Field(
            "warm_up",
            "warm_up_ms",
            duration(0, INTERVAL_MAX_MS),
            format_duration,
            "30s",
            "Time in which a recovered member's weight grows.",
        ),
        Field(
            "open",
            "open_ms",
            duration(INTERVAL_MIN_MS, INTERVAL_MAX_MS),
            format_duration,
            "5s",
            "First time that a breaker stays open.",
        ),
        Field("open_max", "open_max_ms", duration(INTERVAL_MIN_MS, INTERVAL_MAX_MS), format_duration, "5m", "Longest, as `open` doubles."),
        Field(
            "flapping_start_percent",
            "flapping_start_percent",
            whole(0, 100),
            _same,
            "30",
            "A member whose last 20 results changed more than this begins to flap: it takes only what the others may not. 0: never.",
        ),
        Field(
            "flapping_stop_percent",
            "flapping_stop_percent",
            whole(0, 100),
            _same,
            "25",
            "A flapping member stops when its results changed by no more than this; at most the start.",
        ),
    )
}
