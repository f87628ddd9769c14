"""What consumers report is read as the reference says, and what is no report is refused with its place."""

from __future__ import annotations

import pytest

from monitor.core.policies.call import CallOutcome
from monitor.core.reports import (
    CALL_WORDS_MAX,
    OBSERVER_LENGTH_MAX,
    REPORT_BYTES_MAX,
    REPORT_ENDPOINTS_MAX,
    Counters,
    Report,
    ReportError,
    Trial,
    TrialReport,
    decode,
    encode_report,
    read_word,
    word_of,
)

WRITTEN = (
    b'{"schema":1,"observer":"host:pid","seq":17,"slot_ms":1790000000000,"endpoints":'
    b'{"shop-1":{"calls":{"success":10,"failure/503":2,"timeout":1},"slow":1,"latency":{"37":3}}}}'
)
READ = Report(
    observer="host:pid",
    seq=17,
    slot_ms=1_790_000_000_000,
    endpoints={"shop-1": Counters({"success": 10, "failure/503": 2, "timeout": 1}, 1, {37: 3})},
)
TRIAL = b'{"schema":1,"trial":{"endpoint":"shop-1","gen":7,"outcome":"success","duration_ms":3.5,"code":200,"observer":"web-1"}}'


def test_a_report_is_read_as_it_is_written() -> None:
    assert decode(WRITTEN) == READ
    assert encode_report(READ) == WRITTEN


def test_a_trials_result_is_read_as_it_is_written() -> None:
    trial = TrialReport(trial=Trial(endpoint="shop-1", gen=7, outcome=CallOutcome.SUCCESS, duration_ms=3.5, code=200, observer="web-1"))
    assert decode(TRIAL) == trial
    assert encode_report(trial) == TRIAL


def test_what_a_reader_does_not_know_is_left_out() -> None:
    assert decode(WRITTEN.replace(b'"slow"', b'"zone":{"a":[1]},"slow"').replace(b'"seq"', b'"sdk":"go/1","seq"')) == READ


def _named(names: int) -> bytes:
    return b'"endpoints":{' + b",".join(b'"e%d":{}' % n for n in range(names)) + b"}"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"[]", "object"),
        (b'{"schema":1}', "observer"),
        (b'{"schema":3}', "knows schema 1, not 3"),
        (WRITTEN.replace(b'"schema":1', b'"schema":2'), "knows schema 1, not 2"),
        (TRIAL.replace(b'"schema":1', b'"schema":2'), "knows schema 1, not 2"),
        (TRIAL.replace(b'"success"', b'"succes"'), r"\$\.trial\.outcome"),
        (TRIAL.replace(b"200", b"2000"), r"\$\.trial\.code"),
        (WRITTEN.replace(b"host:pid", b"x" * (OBSERVER_LENGTH_MAX + 1)), r"\$\.observer"),
        (WRITTEN.replace(b"host:pid", b""), r"\$\.observer"),
        (WRITTEN.replace(b'"37"', b'"255"'), "latency"),
        (WRITTEN.replace(b'"37"', b'"p99"'), "latency"),
        (WRITTEN.replace(b":10,", b":-1,"), "calls"),
        (WRITTEN.replace(b":10,", b":1e99,"), "calls"),
        (WRITTEN.replace(b":17,", b":-17,"), r"\$\.seq"),
        (WRITTEN[: WRITTEN.index(b'"endpoints"')] + _named(REPORT_ENDPOINTS_MAX + 1) + b"}", r"\$\.endpoints"),
        (b'{"x":"' + b"a" * REPORT_BYTES_MAX + b'"}', "more than 1048576"),
        (b"\xff", "object|UTF|malformed"),
        (b"[" * 100_000, "recursion|object"),
    ],
)
def test_what_is_no_report_is_refused_with_its_place(data: bytes, why: str) -> None:
    with pytest.raises(ReportError, match=why):
        decode(data)


def test_an_endpoint_has_at_most_so_many_words() -> None:
    words = b",".join(b'"failure/%d":1' % (500 + n) for n in range(CALL_WORDS_MAX))
    calls = b'"success":10,"failure/503":2,"timeout":1'
    assert len(decode(WRITTEN.replace(calls, words)).endpoints["shop-1"].calls) == CALL_WORDS_MAX  # type: ignore[union-attr]
    with pytest.raises(ReportError, match="calls"):
        decode(WRITTEN.replace(calls, words + b',"success":1'))


@pytest.mark.parametrize("outcome", CallOutcome)
def test_a_word_is_an_outcome_with_or_without_a_status(outcome: CallOutcome) -> None:
    assert read_word(word_of(outcome)) == (outcome, None)
    assert read_word(word_of(outcome, 503)) == (outcome, 503)


@pytest.mark.parametrize(
    "word", ["", "sucess", "failure/", "failure/50", "failure/5033", "failure/abc", "failure/\u0665\u0660\u0663", "/503", "failure/099"]
)
def test_what_is_no_word_is_refused(word: str) -> None:
    with pytest.raises(ReportError, match="calls"):
        read_word(word)
