"""The filters of `status`, `events`, `alerts list` and `alerts sent`, and the zone of `history`."""

from __future__ import annotations

import json

import msgspec
import pytest
import redis

from alert_rules.notify.sent import Sent
from monitor.clock import SystemClock
from monitor.store import keys
from tests.integration.commands import Run

MANIFEST = """
endpoints:
  - {id: web-1, url: 'tcp://127.0.0.1:1', pool: web, labels: {team: shop}}
  - {id: web-2, url: 'tcp://127.0.0.1:2', pool: web, labels: {team: pay}, paused: true}
  - {id: db-1, url: 'tcp://127.0.0.1:3', pool: db, labels: {team: shop}}
"""


@pytest.fixture
def registered(run: Run) -> None:
    run("apply", "-f", "-", stdin=MANIFEST)
    run("pool", "drain", "web-1", "--reason", "to see it")


def endpoints(run: Run, *args: str) -> list[str]:
    return [row["endpoint"] for row in json.loads(run(*args, "-o", "json").stdout)]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["db-1", "web-1", "web-2"]),
        (("--pool", "web"), ["web-1", "web-2"]),
        (("web", "--pool", "web"), ["web-1", "web-2"]),
        (("--pool", "web", "--pool", "db"), ["db-1", "web-1", "web-2"]),
        (("--label", "team=shop"), ["db-1", "web-1"]),
        (("--label", "team!=shop"), ["web-2"]),
        (("--label", 'team=~"s.*"', "--label", "pool=db"), ["db-1"]),
        (("--label", '{team="shop",endpoint=~"web-.+"}'), ["web-1"]),
        (("--verdict", "paused"), ["web-2"]),
        (("--verdict", "UNKNOWN"), ["db-1", "web-1"]),
        (("--verdict", "UNKNOWN", "--verdict", "PAUSED", "--label", "team=pay"), ["web-2"]),
        (("--since", "1h"), ["web-1"]),
        (("--since", "2020-01-31T14:00"), ["web-1"]),
        (("--since", "2999-01-31T14:00+01:00"), []),
        (("--verdict", "HEALTHY"), []),
    ],
)
def test_status_shows_those_that_are_asked_for(run: Run, options: tuple[str, ...], found: list[str]):
    assert sorted(endpoints(run, "status", *options)) == found


@pytest.mark.usefixtures("registered")
def test_where_nothing_is_as_asked_that_is_said(run: Run):
    assert "none of 3 endpoints is as you ask" in run("status", "--verdict", "HEALTHY").stderr
    assert "no event is as you ask" in run("events", "--pool", "other").stderr
    assert "no alert is pending or firing" in run("alerts", "list", "--pool", "other").stderr
    assert "no notification was sent yet" in run("alerts", "sent", "--pool", "other").stderr


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--pool", "db"), {"db-1"}),
        (("--endpoint", "web-1", "--endpoint", "db-1"), {"web-1", "db-1"}),
        (("--label", "team=pay"), {"web-2"}),
        (("--label", "team=shop", "--pool", "web"), {"web-1"}),
        (("--since", "1h"), {"web-1", "web-2", "db-1"}),
        (("--since", "2999-01-31T14:00"), set()),
    ],
)
def test_events_tell_of_those_that_are_asked_for(run: Run, options: tuple[str, ...], found: set[str]):
    assert set(endpoints(run, "events", *options)) - {None} == found


@pytest.mark.usefixtures("registered")
def test_the_limit_of_events_counts_those_that_are_asked_for(run: Run):
    for _ in range(3):
        run("pool", "undrain", "web-1")
        run("pool", "drain", "web-1", "--reason", "to see it")
    assert endpoints(run, "events", "--endpoint", "db-1", "-n", "1") == ["db-1"]
    last = json.loads(run("events", "--endpoint", "web-1", "-n", "1", "-o", "json").stdout)
    assert [row["new"] for row in last] == ["DRAIN"]


def test_notifications_are_found_by_receiver_pool_label_and_time(run: Run, redis_url: str):
    now_ms = SystemClock().now_ms()
    with redis.Redis.from_url(redis_url) as client:
        for number, (receiver, pool, hours) in enumerate([("mail", "web", 30), ("mail", "db", 2), ("chat", "web", 0)]):
            sent = Sent(
                id=str(number),
                group="g",
                receiver=receiver,
                integration=f"{receiver}/apprise/0",
                reason="first notification",
                firing=1,
                resolved=0,
                attempts=1,
                at_ms=now_ms - hours * 3_600_000,
                answer="ok",
                delivered=True,
                labels={"pool": pool, "team": "shop"},
            )
            client.xadd(keys.SENT, {"sent": msgspec.json.encode(sent)})

    def ids(*options: str) -> list[str]:
        return [row["id"] for row in json.loads(run("alerts", "sent", *options, "-o", "json").stdout)]

    assert ids() == ["2", "1", "0"]
    assert ids("--receiver", "mail") == ["1", "0"]
    assert ids("--receiver", "mail", "--receiver", "chat", "--pool", "web") == ["2", "0"]
    assert ids("--label", "pool=db") == ["1"]
    assert ids("--since", "1d") == ["2", "1"]
    assert ids("--receiver", "mail", "-n", "1") == ["1"]
    assert "none of 3 notifications is as you ask" in run("alerts", "sent", "--receiver", "nobody").stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("status", "--since", "yesterday"), "'yesterday' is no time; write how long ago"),
        (("events", "--label", "team"), "'team' is no matcher"),
        (("alerts", "list", "--label", "team=~("), "is no matcher"),
        (("alerts", "sent", "--since", ""), "is no time"),
        (("status", "--verdict", "SICK"), "'unhealthy'"),
        (("status", "--pool", "wbe"), "there is no such pool"),
        (("history", "web-1", "--timezone", "Berlin"), "there is no zone 'Berlin'; write for example Europe/Berlin or UTC"),
        (("history", "web-1", "--timezone", "../../etc/passwd"), "there is no zone"),
        (("history", "web-1", "--timezone", ""), "there is no zone"),
        (("history", "web-1", "--timezone", "Europe"), "there is no zone"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused_with_what_to_write(run: Run, args: tuple[str, ...], said: str):
    assert said in run(*args, code=2).stderr


@pytest.mark.usefixtures("registered")
def test_history_tells_times_in_the_readers_zone(run: Run, redis_url: str):
    with redis.Redis.from_url(redis_url) as client:  # A row of a day: 2026 or later, whenever this runs.
        day = SystemClock().now_ms() // 86_400_000 - 20
        row = (day * 1440).to_bytes(4, "little") + (5).to_bytes(2, "little") + bytes(12) + bytes([0, 0, 255, 255, 255, 0])
        client.setrange(keys.of_endpoint(0, "day", "web-1"), day % 400 * 24, row)

    def start(*options: str, env: dict[str, str] | None = None) -> str:
        rows = json.loads(run("history", "web-1", "--by", "days", *options, "-o", "json", env=env).stdout)
        return str(rows[0]["start"])[10:]

    assert start("--timezone", "UTC") == " 00:00:00+00:00"
    assert start("--timezone", "Asia/Tokyo") == " 09:00:00+09:00"
    assert start(env={"TZ": "Asia/Tokyo"}) == " 09:00:00+09:00"
