"""What is kept of an endpoint's probes, or of what consumers reported, as a recording, so that another policy can be asked about it.

The ring has the last results one by one. What is older is known as counts of minutes, and before that of hours. Their results are laid
evenly into their time, those of one outcome behind each other, and beginning with that which the results before had ended with: an
outage is one run of failures far more often than it is many. Of consumers' calls only the counts of minutes are known; they are many,
and side by side, so each second of a minute has its part of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from monitor.core.active import call_of
from monitor.core.history import HOUR, MINUTE, Period, Row, Sample
from monitor.core.outcome import Outcome, Result
from monitor.core.policies.call import CallOutcome
from monitor.core.policies.choice import Chosen
from monitor.core.policies.options import table

_SECOND_MS: Final = 1_000
_SUCCESS, _FAILURE = Outcome.SUCCESS, Outcome.FAILURE


class Recorded(msgspec.Struct, frozen=True):
    """A recording as `breaker replay` reads it, and what is to be known of it. Its `at_ms` 0 is `base_ms`; results from `exact_ms` on are
    as they were, those of `approximated` before are laid out from counts."""

    recording: dict[str, Any]
    base_ms: int
    exact_ms: int | None
    approximated: int


class _Piece(msgspec.Struct, frozen=True):
    """Results of a time of which only counts are known."""

    start_ms: int
    end_ms: int
    ok: int
    failed: int
    ok_ms: float


def recorded(
    endpoint_id: str, chosen: Chosen, *, samples: Sequence[Sample], minutes: Sequence[Row], hours: Sequence[Row], since_ms: int
) -> Recorded:
    """The recording of everything conclusive since then."""
    conclusive = [sample for sample in samples if sample.outcome in {_SUCCESS, _FAILURE}]
    exact = [sample for sample in conclusive if sample.at_ms >= since_ms]
    exact_ms = conclusive[0].at_ms if conclusive else None
    pieces = _pieces(MINUTE, minutes, conclusive, exact_ms)
    laid = list(_laid(_pieces(HOUR, hours, [*_laid(pieces), *conclusive], pieces[0].start_ms if pieces else exact_ms) + pieces))
    laid = [sample for sample in laid if sample.at_ms >= since_ms]
    results = [*laid, *exact]
    base_ms = results[0].at_ms // _SECOND_MS * _SECOND_MS if results else since_ms
    events = [event for sample in results for event in _events(sample, base_ms)]
    return Recorded(_recording(endpoint_id, chosen, events), base_ms, exact[0].at_ms if exact else None, len(laid))


def recorded_traffic(endpoint_id: str, chosen: Chosen, minutes: Sequence[Row], since_ms: int, until_ms: int) -> Recorded:
    """The recording of the calls that consumers reported since then."""
    seconds = [second for row in minutes for second in _seconds(row, until_ms) if second.start_ms >= since_ms]
    base_ms = seconds[0].start_ms if seconds else since_ms
    events = [event for second in seconds for event in _calls(second, base_ms)]
    return Recorded(_recording(endpoint_id, chosen, events), base_ms, None, sum(second.ok + second.failed for second in seconds))


def _recording(endpoint_id: str, chosen: Chosen, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Times begin at a whole second, for the windows of some policies are cut there. A setting that is not given follows from others."""
    settings: type[msgspec.Struct] = type(chosen.settings)
    written = {name: value for name in table(settings) if (value := getattr(chosen.settings, name)) is not None}
    return {"policy": {"kind": chosen.kind, **written}, "endpoints": [endpoint_id], "events": events}


def _seconds(row: Row, until_ms: int) -> Iterator[_Piece]:
    """A minute's calls in its seconds, as evenly as whole calls can be, up to the present."""
    start_ms = row.start_ms // _SECOND_MS * _SECOND_MS
    end_ms = min((row.start_ms // MINUTE.length_ms + 1) * MINUTE.length_ms, until_ms)
    count = max(1, (end_ms - start_ms) // _SECOND_MS)
    for place in range(count):
        ok, failed = (n * (place + 1) // count - n * place // count for n in (row.ok, row.failed))
        if ok + failed:
            at_ms = start_ms + place * _SECOND_MS
            yield _Piece(at_ms, at_ms + _SECOND_MS, ok, failed, row.p50_ms or 0.0)


def _calls(second: _Piece, base_ms: int) -> Iterator[dict[str, Any]]:
    at_ms = second.start_ms - base_ms
    if second.ok:
        yield {"at_ms": at_ms, "acquire": True}
        yield {"at_ms": at_ms, "outcome": "success", "count": second.ok, "duration_ms": round(second.ok_ms, 3)}
    if second.failed:
        yield {"at_ms": at_ms, "outcome": "failure", "count": second.failed}


def _pieces(period: Period, rows: Iterable[Row], finer: Sequence[Sample], until_ms: int | None) -> list[_Piece]:
    """What rows count of the time before `until_ms` (None: of all time), without what is known more finely."""
    pieces = []
    for row in rows:
        end_ms = (row.start_ms // period.length_ms + 1) * period.length_ms  # The first row begins with the first result.
        known = [sample for sample in finer if row.start_ms <= sample.at_ms < end_ms]
        ok = max(0, row.ok - sum(sample.outcome is _SUCCESS for sample in known))
        failed = max(0, row.failed - sum(sample.outcome is _FAILURE for sample in known))
        if until_ms is not None:
            end_ms = min(end_ms, until_ms)
        if row.start_ms < end_ms and ok + failed:
            pieces.append(_Piece(row.start_ms, end_ms, ok, failed, row.p50_ms or 0.0))
    return pieces


def _laid(pieces: Iterable[_Piece]) -> Iterator[Sample]:
    failing = False
    for piece in pieces:
        ok, failed = [_SUCCESS] * piece.ok, [_FAILURE] * piece.failed
        outcomes = failed + ok if failing else ok + failed
        for place, outcome in enumerate(outcomes):
            at_ms = piece.start_ms + (piece.end_ms - piece.start_ms) * (2 * place + 1) // (2 * len(outcomes))
            yield Sample(at_ms, piece.ok_ms if outcome is _SUCCESS else 0.0, 0, outcome, None)
        failing = outcomes[-1] is _FAILURE


def _events(sample: Sample, base_ms: int) -> Iterator[dict[str, Any]]:
    """A success asks for a permit before it counts, as in production: policies leave OPEN by one. A failure ends no opening."""
    at_ms = sample.at_ms - base_ms
    result = Result(
        outcome=sample.outcome,
        at_ms=sample.at_ms,
        started_ms=sample.at_ms,
        duration_ms=sample.duration_ms,
        failure=sample.failure,
        status=sample.status,
    )
    call = call_of(result)
    if call.outcome is CallOutcome.SUCCESS:
        yield {"at_ms": at_ms, "acquire": True}
    event = {"at_ms": at_ms, "outcome": call.outcome.value, "duration_ms": round(call.duration_ms, 3)}
    if call.code is not None:
        event["code"] = call.code
    if call.local_origin:
        event["local_origin"] = True
    yield event
