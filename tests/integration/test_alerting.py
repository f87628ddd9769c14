"""Alerting on a real store: three real services behind one file hear apart, and what the store refuses harms itself alone."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import redis

from alert_rules.files.routing_file import parse_routing
from alert_rules.notify.sent import decode_sent
from alert_rules.rules.alert import Alert, fingerprint
from alert_rules.rules.memory import Assertion, encode_assertion
from monitor.clock import SystemClock
from monitor.probes.policy import TargetPolicy
from monitor.store import keys
from monitor.store.queues import QUEUES, Queue
from monitor.store.redis.store import RedisStore
from tests.http_server import HttpServer
from tests.integration.commands import Run
from tests.receiving import Mailbox
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.receivers import address
from workers.receivers.send import Receivers


class Services:
    """One server; each path is a service. Those in `failing` answer 503."""

    def __init__(self) -> None:
        self.accepted: dict[str, list[str]] = {}
        self.refused: dict[str, int] = {}
        self.failing: set[str] = set()
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path in services.failing:
                    services.refused[self.path] = services.refused.get(self.path, 0) + 1
                    self.send_response(503)
                else:
                    services.accepted.setdefault(self.path, []).append(said["title"])
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self.server = HttpServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def address(self, name: str) -> str:
        return f"json://127.0.0.1:{self.server.server_address[1]}/{name}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    yield services
    services.stop()


class Worker:
    def __init__(self, url: str, addresses: Path) -> None:
        self.store = RedisStore(url)
        self.clock = SystemClock()
        counters = Counters()
        routing = f"""
route: {{receiver: people, group_by: [endpoint], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: people, apprise_configs: [{{url_file: "{addresses}"}}]}}]
"""
        self.alerting = Alerting(
            store=self.store,
            clock=self.clock,
            routing=parse_routing(routing),
            send=Receivers(TargetPolicy()).send,
            services=address.services,
            counters=counters,
            quarantine=Quarantine(self.store, counters),
            soon=lambda *_: None,
            process="p",
        )

    async def says(self, ver: int, *alerts: Alert, subject: str = "endpoint:a") -> None:
        said = encode_assertion(Assertion(subject=subject, ver=ver, at_ms=self.clock.now_ms(), alerts=alerts))
        held, _ = await self.store.load_subject("carrier")
        assert await self.store.commit_subject("carrier", held, held + 1, b"x", alerts=[said])

    async def work_until(self, done: Any) -> None:
        for _ in range(600):
            await self.alerting.route(0)
            await self.alerting.flush(await self.store.claim(Queue.GROUPS, 0, 9, QUEUES[Queue.GROUPS].lease_ms))
            await self.alerting.deliver(await self.store.claim(Queue.DELIVERIES, 0, 9, QUEUES[Queue.DELIVERIES].lease_ms))
            if done():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come true")


def fire(endpoint: str, at_ms: int) -> Alert:
    labels = {"alertname": "EndpointDown", "endpoint": endpoint}
    return Alert(labels=labels, annotations={"summary": f"{endpoint} is down"}, starts_at_ms=at_ms, fingerprint=fingerprint(labels))


def test_a_group_that_holds_another_type_is_made_anew(redis_url: str, services: Services, tmp_path: Path) -> None:
    addresses = tmp_path / "addresses"
    addresses.write_text(services.address("one") + "\n")
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.group('{}:{endpoint="a"}'), "a hand has been here")

    async def story() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open(create=True)
        now_ms = worker.clock.now_ms()
        for name in ("a", "b"):
            await worker.says(1, fire(name, now_ms), subject=f"endpoint:{name}")
        await worker.work_until(lambda: len(services.accepted.get("/one", ())) == 2)
        assert sorted(services.accepted["/one"]) == ["[FIRING] a is down", "[FIRING] b is down"]
        assert await worker.store.aside() == []
        assert await worker.store.streams() == []
        await worker.store.close()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_three_services_of_one_file_hear_apart(redis_url: str, services: Services, tmp_path: Path) -> None:
    addresses = tmp_path / "addresses"
    addresses.write_text("".join(services.address(name) + "\n" for name in ("one", "two", "three")))
    services.failing = {"/two"}

    async def story() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open(create=True)
        await worker.says(1, fire("a", worker.clock.now_ms()))
        await worker.work_until(lambda: services.refused.get("/two", 0) >= 4)
        assert services.accepted == {"/one": ["[FIRING] a is down"], "/three": ["[FIRING] a is down"]}
        services.failing = set()
        await worker.work_until(lambda: "/two" in services.accepted)
        await worker.says(2)
        await worker.work_until(lambda: all(len(titles) == 2 for titles in services.accepted.values()))
        assert services.accepted == {f"/{name}": ["[FIRING] a is down", "[RESOLVED] a is down"] for name in ("one", "two", "three")}
        sent = [decode_sent(data) for _, data in await worker.store.sent(100)]
        assert len({one.integration for one in sent}) == 3
        assert all(one.integration.startswith("people/apprise/0/") for one in sent)
        while await worker.store.load_group(sent[0].group) is not None:  # Its next tick finds that everybody knows.
            await worker.work_until(lambda: True)
            await asyncio.sleep(0.05)
        assert len(await worker.store.sent(100)) == len(sent)
        await worker.store.close()

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize("answer", ["550 no such person", "450 its box is full"])
def test_one_refused_recipient_of_a_mail_repeats_nothing_to_the_others(
    redis_url: str, mailbox: tuple[Mailbox, int], tmp_path: Path, answer: str
) -> None:
    box, port = mailbox
    box.refused = {"gone@example.org": answer}
    addresses = tmp_path / "addresses"
    addresses.write_text(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=ada@example.org,gone@example.org&cc=bob@example.org")

    def titles() -> dict[str, list[str]]:
        told: dict[str, list[str]] = {}
        for mail in box.mails:
            (whom,) = mail.rcpt_tos
            told.setdefault(whom, []).append(email.message_from_bytes(mail.content, policy=email.policy.default)["Subject"])
        return told

    async def story() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open(create=True)
        await worker.says(1, fire("a", worker.clock.now_ms()))
        await worker.work_until(lambda: len(box.tries) >= 5 and len(titles()) == 2)
        assert titles() == {name: ["[FIRING] a is down"] for name in ("ada@example.org", "bob@example.org")}
        await worker.says(2)
        await worker.work_until(lambda: all(len(told) == 2 for told in titles().values()))
        assert titles() == {name: ["[FIRING] a is down", "[RESOLVED] a is down"] for name in ("ada@example.org", "bob@example.org")}
        sent = [decode_sent(data) for _, data in await worker.store.sent(100)]
        assert len({one.integration for one in sent if one.delivered}) == 2
        assert all(answer[4:] in one.answer for one in sent if not one.delivered and not one.superseded)
        await worker.store.close()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_people_see_what_fires_what_has_ended_and_what_was_superseded(redis_url: str, services: Services, tmp_path: Path, run: Run) -> None:
    addresses = tmp_path / "addresses"
    addresses.write_text(services.address("one") + "\n")
    services.failing = {"/one"}
    down = fire("a", 1_700_000_000_000)

    async def fires_and_waits() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open(create=True)
        await worker.says(1_700_000_000_000, down)
        await worker.work_until(lambda: services.refused)
        await worker.store.close()

    async def ends() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open()
        await worker.says(1_700_000_000_001)
        await worker.alerting.route(0)
        await worker.store.close()

    async def is_superseded() -> None:
        worker = Worker(redis_url, addresses)
        await worker.store.open()
        while not await worker.store.sent(1):
            await worker.work_until(lambda: True)
            await asyncio.sleep(0.02)
        await worker.store.close()

    asyncio.run(asyncio.wait_for(fires_and_waits(), 30))
    (row,) = json.loads(run("alerts", "list", "-o", "json").stdout)
    assert (row["status"], row["alertname"], row["subject"], row["summary"]) == ("FIRING", "EndpointDown", "a", "a is down")
    assert (row["fingerprint"], row["asserted_by"], row["version"]) == (down.fingerprint, "endpoint:a", 1_700_000_000_000)
    assert run("alerts", "list", "--resolved").stderr.strip() == "no alert has ended that somebody is still to hear of"

    asyncio.run(ends())
    assert json.loads(run("alerts", "list", "-o", "json").stdout) == []
    (row,) = json.loads(run("alerts", "list", "--resolved", "-o", "json").stdout)
    assert (row["status"], row["alertname"], row["end_reason"]) == ("RESOLVED", "EndpointDown", "")
    assert row["ends_ms"] > row["active_since_ms"]

    asyncio.run(asyncio.wait_for(is_superseded(), 30))
    (row,) = json.loads(run("alerts", "sent", "-o", "json").stdout)
    assert (row["result"], row["delivered"], row["superseded"]) == ("superseded", False, True)
    assert "ended before it was sent" in run("alerts", "sent").stdout
