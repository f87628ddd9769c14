"""Decayed counts, peak-sensitive latency, verdict, tilt, and the sentences of `explain`."""

from __future__ import annotations

import math

import pytest

from monitor.core import evidence
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.observation import OperatorWord
from monitor.core.outcome import StaleAnswer
from monitor.core.record import Evidence, Override, Record, Verdict
from monitor.core.schedule import silent_after_ms
from monitor.core.tilt import Tilt
from monitor.core.verdict import verdict
from monitor.pool.balancer import Candidate, weigh
from monitor.query.reasons import explain
from tests.timeline import CLOSED, START_MS, Timeline

ENDPOINT = Endpoint(id="a", url="http://a/", pool="a")


def test_counts_fade_with_three_intervals_but_not_faster_than_thirty_seconds() -> None:
    assert evidence.tau_ms(ENDPOINT) == 30_000
    assert evidence.tau_ms(Endpoint(id="a", url="http://a/", pool="a", interval_ms=1_000)) == 30_000
    assert evidence.tau_ms(Endpoint(id="a", url="http://a/", pool="a", interval_ms=60_000)) == 180_000
    folded = evidence.fold(Evidence(2.0, 4.0, 8.0, 2.0, 1_000), 30_000, False, 9.0, 31_000)
    assert folded == Evidence(2 / math.e, pytest.approx(4 / math.e + 1), 8.0, 2 / math.e, 31_000)


def test_latency_follows_two_slow_answers_at_once_comes_down_slowly_and_errors_do_not_count() -> None:
    seen = Evidence()
    for at_ms, duration_ms in ((1_000, 20.0), (11_000, 20.0), (21_000, 200.0), (31_000, 200.0)):
        seen = evidence.fold(seen, 30_000, True, duration_ms, at_ms)
    assert seen.latency_ms == 200.0
    seen = evidence.fold(seen, 30_000, False, 5_000.0, 31_500)
    assert seen.latency_ms == 200.0
    for at_ms in (32_000, 42_000):
        seen = evidence.fold(seen, 30_000, True, 1.0, at_ms)
    assert 140 < seen.latency_ms < 200


def test_one_slow_answer_is_no_evidence_not_even_the_first() -> None:
    seen = Evidence()
    for at_ms, duration_ms in ((1_000, 300.0), (11_000, 2.0), (21_000, 2.0), (31_000, 300.0), (41_000, 2.0)):
        seen = evidence.fold(seen, 30_000, True, duration_ms, at_ms)
    assert seen.latency_ms == 2.0


def test_closing_forgets_the_counts_of_the_failing_time() -> None:
    t = Timeline(success_threshold=1).trip().cooled().ok()
    assert t.record.weighing.total == 0
    t.after(10_000).ok()
    assert t.record.weighing.ok == t.record.weighing.total == 1.0


def test_verdicts() -> None:
    t = Timeline().expect_verdict(Verdict.UNKNOWN).inconclusive().expect_verdict(Verdict.UNKNOWN).ok().expect_verdict(Verdict.HEALTHY)
    assert verdict(t.record, no_data=True) is Verdict.UNKNOWN
    assert silent_after_ms(ENDPOINT) == 3 * 10_000 + 10_000 + 5_000


def test_an_address_from_a_stale_answer_is_degraded_and_says_why_until_there_is_a_fresh_one() -> None:
    stale = StaleAnswer(START_MS - 55_000, "the resolver says SERVFAIL")
    t = Timeline().ok().ok().expect_verdict(Verdict.HEALTHY)
    t.after(10_000).ok(stale=stale).expect_verdict(Verdict.DEGRADED).expect_weigh(True).expect(CLOSED)
    t.after(10_000).ok(stale=stale).expect_verdict(Verdict.DEGRADED).expect_weigh(False)
    t.after(10_000).inconclusive().expect_verdict(Verdict.DEGRADED)
    lines = explain(ENDPOINT, Pool(name="a"), t.record, None, Verdict.DEGRADED, None, t.now_ms)
    assert lines[0].text == "DEGRADED; the address comes from an answer of 1m25s ago: the resolver says SERVFAIL"
    t.after(10_000).ok().expect_verdict(Verdict.HEALTHY).expect_weigh(True)
    ours = StaleAnswer(START_MS, "no resolver answered for a: timeout", ours=True)
    t.after(10_000).ok(stale=ours).expect_verdict(Verdict.HEALTHY).expect_weigh(False)
    lines = explain(ENDPOINT, Pool(name="a"), t.record, None, Verdict.HEALTHY, None, t.now_ms)
    assert lines[0].text == "HEALTHY; the address comes from an answer of 50s ago: no resolver answered for a: timeout"
    assert t.transitions == []


def test_a_jump_of_the_wall_clock_tilts_for_thirty_seconds() -> None:
    tilt = Tilt().observe(START_MS, 0)
    assert not tilt.tilted
    tilt = tilt.observe(START_MS + 60_000, 60_000).observe(START_MS + 63_000, 61_001)
    assert not tilt.tilted
    for jump_ms in (3_600_000, -3_600_000, 2_001, -2_001):
        jumped = tilt.observe(START_MS + 64_000 + jump_ms, 62_001)
        assert jumped.tilted
        assert jumped.observe(START_MS + 64_000 + jump_ms + 29_999, 92_000).tilted
        assert not jumped.observe(START_MS + 64_000 + jump_ms + 30_000, 92_001).tilted


def test_an_operators_word_is_a_transition() -> None:
    t = Timeline().observe(OperatorWord(override=Override.DRAIN, reason="maintenance", by="ada", replaces=None))
    (change,) = t.transitions
    assert (change.kind, change.old, change.new, change.reason, change.at_ms) == ("override", "AUTO", "DRAIN", "maintenance", t.now_ms)
    assert change.actor == "ada"


def test_explain_says_why() -> None:
    t = Timeline().trip()
    factors = weigh(t.pool, [Candidate("shop-1", 100, t.record.breaker.state), Candidate("b", 100)], None, 0, t.now_ms).factors["shop-1"]
    lines = explain(t.endpoint, t.pool, t.record, None, Verdict.UNHEALTHY, factors, t.now_ms + 2_000)
    text = "\n".join(f"{line.topic}: {line.text}" for line in lines)
    assert "verdict: UNHEALTHY" in text
    assert "OPEN since 2s ago: 3 failed probes in a row: status 500, want 2xx; trials begin in" in text
    assert "weight: 0 of 1000: the breaker is open" in text
    assert "base share b/B = 0.500" in text
    silent = explain(t.endpoint, t.pool, t.record, Override.DRAIN, Verdict.UNKNOWN, None, t.now_ms + 100_000)
    assert silent[0].text.startswith("UNKNOWN: the last conclusive result came 1m40s ago")
    assert any(line.topic == "override" and "DRAIN" in line.text for line in silent)
    fresh = explain(ENDPOINT, Pool(name="a"), Record(), None, Verdict.UNKNOWN, None, START_MS)
    assert "no conclusive result yet" in fresh[0].text
