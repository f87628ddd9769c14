"""What consumers report: counters of calls by endpoint and second, and results of trials. A public contract (docs/reference/keys.md).

One entry of the stream `wk:v1:{pool}:reports` is a `Report` or a `TrialReport`, as JSON; whoever reads it calls `decode`. Names and
meanings stay as they are within one `schema`; readers ignore what they do not know.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final, TypeAlias

import msgspec

from monitor.core.endpoint import ID_LENGTH_MAX
from monitor.core.errors import DECODE_ERRORS
from monitor.core.history import BUCKET_MAX
from monitor.core.policies.call import CallOutcome
from monitor.core.texts import shorten

REPORT_SCHEMA: Final = 1
REPORT_SLOT_MS: Final = 1_000
"""Calls are counted by the second in which they ended."""
REPORT_ENDPOINTS_MAX: Final = 1_000
"""So many endpoints stand in one entry; a sender with more writes several, each with its own `seq`."""
CALL_WORDS_MAX: Final = 32
"""So many different words one endpoint may have in one second; a sender counts the others under the bare outcome."""
CALLS_MAX: Final = 10_000_000
"""So many calls one word of one endpoint may count in one second."""
OBSERVER_LENGTH_MAX: Final = 200
REPORT_BYTES_MAX: Final = 1_048_576
REPORT_LATE_MAX_MS: Final = 10_000
REPORT_AHEAD_MAX_MS: Final = 2_000
"""A second that ended longer ago than the one, or begins further ahead than the other, is counted and not judged."""
STATUS_MIN: Final = 100
STATUS_MAX: Final = 999

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=CALLS_MAX)]
Bucket: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=BUCKET_MAX)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=OBSERVER_LENGTH_MAX)]
EndpointId: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH_MAX)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Counters(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What one observer saw of one endpoint in one second. `calls` counts by word: an outcome, or `outcome/code` with an HTTP status.

    `latency` counts successful calls by bucket of core/history; `slow` those that the observer itself found too slow.
    """

    calls: Annotated[dict[str, Count], msgspec.Meta(max_length=CALL_WORDS_MAX)] = {}
    slow: Count = 0
    latency: dict[Bucket, Count] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One observer's counters of one second. Of one observer and pool `seq` grows with each entry; it may begin anywhere."""

    schema: int = REPORT_SCHEMA
    observer: Name
    seq: Whole
    slot_ms: Whole
    endpoints: Annotated[dict[EndpointId, Counters], msgspec.Meta(max_length=REPORT_ENDPOINTS_MAX)]


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a leased trial ended; `gen` is the breaker's generation that it was granted for."""

    endpoint: EndpointId
    gen: Whole
    outcome: CallOutcome
    duration_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1e12)] = 0.0
    code: Annotated[int, msgspec.Meta(ge=STATUS_MIN, le=STATUS_MAX)] | None = None
    observer: Annotated[str, msgspec.Meta(max_length=OBSERVER_LENGTH_MAX)] = ""


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of one trial's end: written by the script that takes its token back, and by nobody else."""

    schema: int = REPORT_SCHEMA
    trial: Trial


class ReportError(ValueError):
    """An entry that is none: it says where, and what is wrong."""


class _Which(msgspec.Struct, frozen=True):
    schema: int = REPORT_SCHEMA
    trial: msgspec.Raw = msgspec.Raw()


_which = msgspec.json.Decoder(_Which).decode
_report = msgspec.json.Decoder(Report).decode
_trial = msgspec.json.Decoder(TrialReport).decode
encode_report = msgspec.json.Encoder().encode


def decode(data: bytes) -> Report | TrialReport:
    """Return what an entry says. Raises ReportError for one that is too large, of another schema or shape, or out of a limit."""
    if len(data) > REPORT_BYTES_MAX:
        raise ReportError(f"it has {len(data)} bytes, more than {REPORT_BYTES_MAX}")
    try:
        found = _report(data)
    except DECODE_ERRORS as error:
        return _otherwise(data, error)
    if found.schema != REPORT_SCHEMA:
        raise ReportError(f"this release knows schema {REPORT_SCHEMA}, not {found.schema}")
    return found


def _otherwise(data: bytes, error: Exception) -> TrialReport:
    try:
        which = _which(data)
        if which.schema != REPORT_SCHEMA:
            raise ReportError(f"this release knows schema {REPORT_SCHEMA}, not {which.schema}")
        if not bytes(which.trial):
            raise ReportError(str(error)) from None
        return _trial(data)
    except DECODE_ERRORS as wrong:
        raise (wrong if isinstance(wrong, ReportError) else ReportError(str(wrong))) from None


@lru_cache(maxsize=4_096)
def read_word(word: str) -> tuple[CallOutcome, int | None]:
    """The outcome and the HTTP status that a key of `calls` stands for. Raises ReportError for what is no such word."""
    outcome, slash, code = word.partition("/")
    try:
        found = CallOutcome(outcome)
    except ValueError:
        raise ReportError(f"calls: {shorten(word)} is none of {', '.join(CallOutcome)}") from None
    if not slash:
        return found, None
    if not (code.isascii() and code.isdigit() and len(code) == 3 and STATUS_MIN <= int(code) <= STATUS_MAX):
        raise ReportError(f"calls: {shorten(word)} has no HTTP status behind its stroke")
    return found, int(code)


def word_of(outcome: CallOutcome, code: int | None = None) -> str:
    """The key of `calls` for an outcome and an HTTP status."""
    return outcome.value if code is None else f"{outcome.value}/{code}"
