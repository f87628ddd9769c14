"""Short stories of alerts, told to Alertmanager in real time and to us on a clock of our own, with what each of us sends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml

from alert_rules.files.routing_file import parse_routing
from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert, fingerprint
from alert_rules.rules.memory import Assertion, encode_assertion
from monitor.clock import FakeClock, SystemClock
from monitor.core.errors import DeliveryError
from monitor.store.memory.store import MemoryStore
from monitor.store.queues import Queue
from tests.acceptance.peers.alertmanager import Alertmanager, stamp
from tests.http_server import HttpServer
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine

WAIT_MS = 1_000
INTERVAL_MS = 2_000
LATE_MAX_MS = 600
"""Alerts change a second away from every tick. Whoever is later than this has told another story."""
END_MS = 19_500
ANSWER_S = 0.2
"""A service takes its time: Alertmanager counts `repeat_interval` from its answer."""
STEP_MS = 100
BODY = "{% for alert in alerts %}{{ alert.labels.name }} {{ alert.status }}\n{% endfor %}"

Message = tuple[int, bool, tuple[str, ...]]
"""The number of the tick, whether the service accepted it, and its alerts in their order: `a firing`."""


@dataclass(frozen=True)
class Channel:
    """One integration of a story's receiver. Its service refuses the messages of these ticks."""

    send_resolved: bool = True
    refuses: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Change:
    """An alert as it is posted at `at_ms`. Times count from the story's start; without an end it fires for an hour."""

    at_ms: int
    name: str
    starts_ms: int
    ends_ms: int = 3_600_000


@dataclass(frozen=True)
class Story:
    name: str
    changes: tuple[Change, ...]
    channels: tuple[Channel, ...] = (Channel(),)
    repeat_ms: int = 3_600_000
    first_tick_ms: int = WAIT_MS
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Labels of its alerts beside story and name."""

    def alert_labels(self, name: str) -> dict[str, str]:
        return {"story": self.name, "name": name, **self.labels.get(name, {})}


class Heard:
    """What services heard, by story and channel, and how far from its tick the latest message came."""

    def __init__(self, stories: Sequence[Story]) -> None:
        self.stories = {story.name: story for story in stories}
        self.messages: dict[tuple[str, int], list[Message]] = defaultdict(list)
        self.late_ms = 0

    def take(self, name: str, place: int, at_ms: int, alerts: Sequence[str]) -> bool:
        """Keep a message; returns whether the service accepts it."""
        story, messages = self.stories[name], self.messages[name, place]
        tick = round((at_ms - story.first_tick_ms) / INTERVAL_MS)
        accepted = tick not in story.channels[place].refuses
        self.late_ms = max(self.late_ms, abs(at_ms - story.first_tick_ms - tick * INTERVAL_MS))
        messages.append((tick, accepted, tuple(alerts)))
        return accepted

    def of(self, story: Story) -> list[list[Message]]:
        return [self.messages[story.name, place] for place in range(len(story.channels))]


def configured(stories: Sequence[Story], kind: str, url: str, **more: str) -> dict[str, Any]:
    """One route and one receiver for each story."""
    routes = [
        {"receiver": story.name, "matchers": [f'story="{story.name}"'], "repeat_interval": f"{story.repeat_ms}ms"} for story in stories
    ]
    receivers = [
        {
            "name": story.name,
            kind: [
                {"url": f"{url}/{story.name}/{place}", "send_resolved": channel.send_resolved, **more}
                for place, channel in enumerate(story.channels)
            ],
        }
        for story in stories
    ]
    timers = {"group_by": ["story"], "group_wait": f"{WAIT_MS}ms", "group_interval": f"{INTERVAL_MS}ms"}
    return {"route": {"receiver": "nobody", **timers, "routes": routes}, "receivers": [{"name": "nobody"}, *receivers]}


# Theirs ---------------------------------------------------------------------------------------------------------------


def told_by_alertmanager(peer: Alertmanager, stories: Sequence[Story]) -> Heard:
    """Play the stories in real time; `late_ms` tells whether anybody was too late."""
    clock, heard = SystemClock(), Heard(stories)
    begin_ms = 0
    lock = threading.Lock()

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            at_ms = clock.now_ms() - begin_ms
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, name, place = self.path.split("/")
            alerts = [f"{alert['labels']['name']} {alert['status']}" for alert in payload["alerts"]]
            with lock:
                accepted = heard.take(name, int(place), at_ms, alerts)
            time.sleep(ANSWER_S)
            self.send_response(200 if accepted else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = HttpServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="service")
    thread.start()
    try:
        peer.load(configured(stories, "webhook_configs", f"http://127.0.0.1:{server.server_address[1]}"))
        begin_ms = clock.now_ms() + 200
        for at_ms in [*sorted({change.at_ms for story in stories for change in story.changes}), END_MS]:
            time.sleep(max(0, begin_ms + at_ms - clock.now_ms()) / 1000)
            peer.post([_posted(story, change, begin_ms) for story in stories for change in story.changes if change.at_ms == at_ms])
            heard.late_ms = max(heard.late_ms, clock.now_ms() - begin_ms - at_ms)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return heard


def _posted(story: Story, change: Change, begin_ms: int) -> dict[str, Any]:
    times = {"startsAt": stamp(begin_ms + change.starts_ms), "endsAt": stamp(begin_ms + change.ends_ms)}
    return {"labels": story.alert_labels(change.name), **times}


# Ours -----------------------------------------------------------------------------------------------------------------


def told_by_us(stories: Sequence[Story]) -> Heard:
    """Play the stories on the shipped store in memory, through the steps that a worker uses."""
    clock, heard = FakeClock(), Heard(stories)
    begin_ms = clock.now_ms()

    async def send(integration: Integration, compose: Compose, *_waiting: object) -> str:
        if not heard.take(*_place(integration), clock.now_ms() - begin_ms, compose(Escaping()).body.splitlines()):
            raise DeliveryError("status 400", permanent=True)
        return "ok"

    async def services(integration: Integration) -> tuple[Integration, ...]:
        return (integration,)

    async def play() -> None:
        store = MemoryStore(clock)
        routing = parse_routing(yaml.safe_dump(configured(stories, "apprise_configs", "json://test", body=BODY)))
        counters = Counters()
        quarantine = Quarantine(store, counters)
        alerting = Alerting(
            store=store,
            clock=clock,
            routing=routing,
            send=send,
            services=services,
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
            process="p",
        )
        for now_ms in range(0, END_MS, STEP_MS):
            for story in stories:
                for change in story.changes:
                    if change.at_ms == now_ms:
                        ver, _ = await store.load_subject("test")
                        await store.commit_subject("test", ver, ver + 1, b"", alerts=[_assertion(story, change, begin_ms)])
            await alerting.route(0)
            await alerting.flush(await store.claim(Queue.GROUPS, 0, 1_000, 10_000))
            await alerting.deliver(await store.claim(Queue.DELIVERIES, 0, 1_000, 10_000))
            clock.advance(STEP_MS)

    asyncio.run(play())
    return heard


def _place(integration: Integration) -> tuple[str, int]:
    name, place = integration.url.rsplit("/", 2)[1:]
    return name, int(place)


def _assertion(story: Story, change: Change, begin_ms: int) -> bytes:
    """Each alert is a subject of its own here, which says of it what is posted to Alertmanager."""
    labels = story.alert_labels(change.name)
    at_ms = begin_ms + change.at_ms
    alert = Alert(
        labels=labels,
        fingerprint=fingerprint(labels),
        starts_at_ms=begin_ms + change.starts_ms,
        ends_at_ms=begin_ms + change.ends_ms,
    )
    return encode_assertion(Assertion(subject=alert.fingerprint, ver=at_ms, at_ms=at_ms, alerts=(alert,)))
