"""What consumers report, on the command line: the real command on a real server, for people and for programs."""

from __future__ import annotations

import json

import pytest
import redis

from monitor.clock import SystemClock
from monitor.core.history import MINUTE, Row, bucket_of, row_write
from monitor.pool.traffic.shapes import EndpointTraffic, ObserverState, TrafficEvidence, TrafficHead, TrafficMinute, encode
from monitor.store import keys
from tests.integration.commands import Run


@pytest.fixture
def reported(run: Run, redis_url: str) -> int:
    """An endpoint of which two consumers reported, one of them in quarantine; returns the present minute."""
    run("endpoint", "add", "http://127.0.0.1:1/", "--id", "web-1", "--pool", "web")
    now_ms = SystemClock().now_ms()
    minute_ms = now_ms // 60_000 * 60_000
    well = ObserverState(1, 1, now_ms, 0, now_ms, now_ms, 0.0, 9.0)
    bad = ObserverState(1, 1, 1, 0, 1, 1, 6.0, 8.0, now_ms)
    head = TrafficHead(at_ms=now_ms, ok=60.0, failed=40.0, observers={"good:1": well, "bad:1": bad})
    evidence = TrafficEvidence({"success": 6.0, "failure/503": 4.0}, 0.0, {bucket_of(20.0): 6.0}, now_ms)
    minute = TrafficMinute(minute_ms, 6, 4, 1, {bucket_of(20.0): 6})
    field = EndpointTraffic(evidence=evidence, minute=minute, held="5 failures in a row; but one observer alone sees it")
    closed = row_write(MINUTE, Row(start_ms=minute_ms - 60_000, ok=3, failed=1))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.traffic("web"), mapping={b"": b"%013d" % now_ms + encode(head), b"web-1": encode(field)})
        client.setrange(keys.traffic_minutes("web", "web-1"), closed.offset, closed.data)
    return minute_ms


@pytest.mark.usefixtures("reported")
def test_status_names_whose_reports_do_not_count(run: Run) -> None:
    assert "pool web: what bad:1 reports does not count: it fails on 75% of the endpoints that it calls" in run("status").stderr
    (row,) = json.loads(run("status", "-o", "json").stdout)
    assert (row["pool_observers"], row["pool_success_percent"]) == (2, 60)
    assert [(one["observer"], one["failing_share"]) for one in row["pool_quarantined"]] == [("bad:1", 0.75)]


@pytest.mark.usefixtures("reported")
def test_explain_shows_calls_beside_probes(run: Run) -> None:
    shown = run("explain", "web-1").stdout
    assert "calls of consumers, older ones fading: failure/503 " in shown
    assert "not ejected: 5 failures in a row; but one observer alone sees it" in shown
    found = json.loads(run("explain", "web-1", "-o", "json").stdout)["traffic"]
    assert found["failed"] == pytest.approx(4.0, rel=0.5)
    assert found["p50_ms"] == pytest.approx(20.0, rel=0.05)


def test_history_of_traffic_is_in_minutes(run: Run, reported: int) -> None:
    rows = json.loads(run("history", "web-1", "--source", "traffic", "-o", "json").stdout)
    assert [(row["start_ms"] - reported, row["ok"], row["failed"], row["other"]) for row in rows] == [(-60_000, 3, 1, 0), (0, 6, 4, 1)]
    assert [row["success"] for row in rows] == [0.75, 0.6]
    assert "64.286% of the calls succeeded" in run("history", "web-1", "--source", "traffic").stderr
    refused = run("history", "web-1", "--source", "traffic", "--by", "days", code=2)
    assert "of traffic minutes are kept" in refused.stderr


def test_where_nobody_reports_that_is_said(run: Run) -> None:
    run("endpoint", "add", "http://127.0.0.1:1/", "--id", "web-1", "--pool", "web")
    assert "no consumer has reported a call yet" in run("history", "web-1", "--source", "traffic").stderr
    assert "traffic:" not in run("explain", "web-1").stdout


def test_an_observer_whose_name_has_lines_adds_none_to_what_is_shown(run: Run, redis_url: str) -> None:
    run("endpoint", "add", "http://127.0.0.1:1/", "--id", "web-1", "--pool", "web")
    now_ms = SystemClock().now_ms()
    head = TrafficHead(at_ms=now_ms, observers={"bad\x1b[2J\npool web: all is well": ObserverState(1, 1, 1, 0, 1, 1, 6.0, 8.0, now_ms)})
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.traffic("web"), mapping={b"": b"%013d" % now_ms + encode(head)})
    (said,) = [line for line in run("status").stderr.splitlines() if "all is well" in line]
    assert said.startswith(r"pool web: what bad\x1b[2J\npool web: all is well reports does not count")
