"""One entry for every source: a probe, an operator, and time; each behind its own fence."""

from __future__ import annotations

from msgspec.structs import replace

from monitor.core.decide import silent_at_ms
from monitor.core.observation import OperatorWord, ResultPace, TimePassed
from monitor.core.record import EMPTY, Override, Record, decode_record, encode_record, next_version
from monitor.core.schedule import lease_ms, silent_after_ms
from tests.timeline import START_MS, Timeline


def test_an_operators_word_names_what_it_replaced_and_by_whom() -> None:
    t = Timeline().ok()
    t.observe(OperatorWord(override=Override.DRAIN, reason="update", by="ada"))
    t.observe(OperatorWord(override=None, reason="done", by="bob", replaces=Override.DRAIN))
    assert [(c.kind, c.old, c.new, c.actor) for c in t.transitions] == [
        ("override", "AUTO", "DRAIN", "ada"),
        ("override", "DRAIN", "AUTO", "bob"),
    ]
    t.observe(OperatorWord(override=None, reason="again", by="bob"))
    assert t.decision is not None
    assert t.decision.refused
    assert len(t.transitions) == 2


def test_time_takes_an_override_and_silence_into_account() -> None:
    t = Timeline().at(0).ok()
    silent_ms = silent_after_ms(t.endpoint)
    t.set(Override.DRAIN).at(1_000).observe(TimePassed())
    assert (t.record.override, t.record.silent) == (Override.DRAIN, False)
    t.expect_weigh(True).at(silent_ms - 1).observe(TimePassed()).expect_weigh(False)
    t.at(silent_ms).observe(TimePassed()).expect_weigh(True)
    assert t.record.silent
    t.after(10_000).ok().expect_weigh(True)
    assert not t.record.silent


def test_an_outage_of_ours_is_nobodys_silence() -> None:
    """For as long as an endpoint's own next result may take, nobody had one: silence counts from the end of that."""
    t = Timeline().at(0).ok()
    turn_ms, silent_ms = t.endpoint.interval_ms + lease_ms(t.endpoint), silent_after_ms(t.endpoint)
    t.at(120_000).observe(TimePassed(pace=ResultPace(age_ms=turn_ms + 1)))
    assert not t.record.silent, "it lasts"
    back = ResultPace(gap_ms=turn_ms + 1, since_ms=START_MS + 120_000)
    assert silent_at_ms(t.endpoint, t.record, START_MS + 121_000, back) == back.since_ms + silent_ms
    t.at(120_000 + silent_ms - 1).observe(TimePassed(pace=back))
    assert not t.record.silent, "it has ended"
    t.after(1).observe(TimePassed(pace=back))
    assert t.record.silent
    t.after(1).observe(TimePassed(pace=ResultPace(age_ms=turn_ms + 1)))
    assert t.record.silent, "an outage teaches nothing"


def test_an_endpoint_is_silent_whose_neighbours_have_results_or_that_learns_nothing_from_its_own() -> None:
    t = Timeline().at(0).ok()
    turn_ms = t.endpoint.interval_ms + lease_ms(t.endpoint)
    alone = ResultPace(age_ms=turn_ms, gap_ms=turn_ms, since_ms=START_MS + silent_after_ms(t.endpoint) - turn_ms)
    t.at(silent_after_ms(t.endpoint)).observe(TimePassed(pace=alone))
    assert t.record.silent


def test_a_new_endpoint_is_silent_only_after_its_delay_and_a_paused_one_never() -> None:
    t = Timeline(initial_delay_ms=60_000)
    t.record = Record(since_ms=START_MS)
    t.at(silent_after_ms(t.endpoint) + 59_999).observe(TimePassed())
    assert not t.record.silent
    t.after(1).observe(TimePassed())
    assert t.record.silent
    t.endpoint = replace(t.endpoint, paused=True)
    t.after(1).observe(TimePassed())
    assert not t.record.silent


def test_no_decision_is_dated_before_the_one_it_follows() -> None:
    t = Timeline().at(1_000).fail().at(998).fail()
    assert t.record.decided_ms == START_MS + 1_000
    assert t.record.probes.run_length == 1  # The older of two results is dropped, whoever brings it later.


def test_records_come_back_from_the_store_and_versions_grow_beyond_an_earlier_life() -> None:
    t = Timeline(failure_threshold=1).ok().fail()
    assert decode_record(encode_record(t.record)) == t.record
    assert decode_record(b"") is EMPTY
    assert next_version(0, START_MS) == START_MS
    assert next_version(START_MS + 5, START_MS) == START_MS + 6
