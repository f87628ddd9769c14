"""The journey of results on a real server, without Celery: scripted probers, real decisions, real commits, the real command."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from alert_rules.files.routing_file import parse_routing
from alert_rules.files.rule_file import load_rules
from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.query.reading import read_alerts
from monitor.store.port import Commit, Committed, Lease, Queue
from monitor.store.redis.store import RedisStore
from tests.integration.commands import Run
from tests.registering import register
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.pipeline import Pipeline
from workers.journey.publish import Publisher

ROUTING = """
route: {receiver: people, group_by: [endpoint], group_wait: 0s, group_interval: 1s}
receivers: [{name: people, apprise_configs: [{url: "console:"}]}]
"""


class Plant:
    """One worker process's rooms on a real store, with a prober that the test scripts."""

    def __init__(self, url: str) -> None:
        self.store = RedisStore(url)
        self.clock = SystemClock()
        self.failing = False
        self.messages: list[str] = []
        counters, rules = Counters(), load_rules()
        cache = EndpointCache(self.store, self.clock, lambda _: object())  # type: ignore[arg-type,return-value]
        self.alerting = Alerting(store=self.store, clock=self.clock, routing=parse_routing(ROUTING), send=self._send, counters=counters)
        self.publisher = Publisher(
            store=self.store, clock=self.clock, cache=cache, rules=rules, route=self.alerting.request_routing, counters=counters
        )
        self.pipeline = Pipeline(
            store=self.store,
            clock=self.clock,
            cache=cache,
            rules=rules,
            prober=self._probe,
            publish=self.publisher.request,
            route=self.alerting.request_routing,
            counters=counters,
        )

    async def _send(self, _integration: Any, title: str, _body: str, _kind: str) -> str:
        self.messages.append(title)
        return "accepted"

    async def _probe(self, endpoint: Endpoint, _probe: Any, due_ms: int) -> Result:
        now_ms = self.clock.now_ms()
        failure = FailureClass.STATUS if self.failing else None
        outcome = Outcome.FAILURE if self.failing else Outcome.SUCCESS
        text = "status 500, want 2xx" if self.failing else ""
        return Result(outcome=outcome, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, scheduled_ms=due_ms, failure=failure, text=text)

    async def round(self) -> None:
        """Probe everything once and settle it, however long it is until it is due."""
        claim = await self.store.claim_probes(0, 100, 86_400_000)
        await self.pipeline.probe_batch(0, claim.rev, [(item.id, item.token_ms, self.clock.now_ms()) for item in claim.items])

    async def work(self) -> None:
        """What the alert worker does: weigh, watch, route, flush and deliver until nothing is due."""
        for _ in range(20):
            await self.publisher.settle_all((0, lease) for lease in await self._due(Queue.DIRTY))
            await self.pipeline.reevaluate(0, await self._due(Queue.REEVALUATE))
            await self.alerting.route(0)
            await self.alerting.flush(await self._due(Queue.GROUPS))
            await self.alerting.deliver(await self._due(Queue.DELIVERIES))
            await asyncio.sleep(0.01)

    async def _due(self, queue: Queue) -> list[Lease]:
        return await self.store.claim(queue, 0, 100, 60_000)


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint(
        **{"id": "e", "url": "http://127.0.0.1:1/", "pool": "shop", "interval_ms": 1_000, "timeout_ms": 500, "retries": 0, **changes}
    )


async def down(url: str) -> Plant:
    plant = Plant(url)
    await plant.store.open(create=True)
    await register(plant.store, [endpoint(), endpoint(id="other")], [], [])
    await plant.round()
    plant.failing = True
    for _ in range(3):
        await plant.round()
    await plant.work()
    assert "[FIRING] e is down" in plant.messages
    return plant


@pytest.mark.parametrize("how", ["removed", "paused"])
def test_an_endpoint_that_is_taken_out_while_it_is_down_ends_its_alert(redis_url: str, how: str) -> None:
    async def story() -> None:
        plant = await down(redis_url)
        if how == "removed":
            await register(plant.store, [], ["e"], [])
        else:
            await register(plant.store, [endpoint(paused=True)], [], [])
        await plant.work()
        assert [alert.labels["endpoint"] for alert in await read_alerts(plant.store) if "endpoint" in alert.labels] == ["other"]
        assert await _eventually_told(plant, "[RESOLVED] e is down")
        left = (await plant.store.load(["e"]))[0]
        assert (left.ver == 0) is (how == "removed")
        await plant.store.close()

    asyncio.run(story())


def test_a_pool_without_members_ends_its_alerts_and_leaves_a_tombstone(redis_url: str) -> None:
    async def story() -> None:
        plant = await down(redis_url)
        assert any("shop" in title for title in plant.messages), plant.messages
        await register(plant.store, [], ["e", "other"], [])
        await plant.work()
        assert await read_alerts(plant.store) == []
        snapshot = msgspec.json.decode((await plant.store.load_pool("shop")).snapshot)
        assert (snapshot["endpoints"], snapshot["tombstone"]) == ([], True)
        await plant.store.close()

    asyncio.run(story())


def test_a_rule_looks_at_an_edited_endpoint_without_waiting_for_a_result(redis_url: str) -> None:
    async def story() -> None:
        plant = await down(redis_url)
        await register(plant.store, [endpoint(labels={"team": "shop"})], [], [])
        await plant.work()
        (alert,) = [alert for alert in await read_alerts(plant.store) if alert.labels.get("endpoint") == "e"]
        assert alert.labels["team"] == "shop"
        await plant.store.close()

    asyncio.run(story())


def test_a_record_that_cannot_be_read_holds_up_nobody_else(redis_url: str) -> None:
    async def story() -> None:
        plant = Plant(redis_url)
        await plant.store.open(create=True)
        await register(plant.store, [endpoint(), endpoint(id="other")], [], [])
        broken = Commit(id="e", token_ms=None, ver=0, next_ver=1, record=b"{not json", reevaluate_ms=0, pool="shop")
        assert await plant.store.commit([broken]) == [Committed.OK]
        await plant.round()
        loaded = await plant.store.load(["e", "other"])
        assert loaded[0].record == b"{not json"
        assert loaded[1].ver == 1
        await plant.store.close()

    asyncio.run(story())


def test_people_see_status_events_alerts_and_history(redis_url: str, run: Run) -> None:
    async def story() -> None:
        plant = await down(redis_url)
        await plant.store.close()

    asyncio.run(story())
    rows = {row["endpoint"]: row for row in json.loads(run("status", "-o", "json").stdout)}
    assert (rows["e"]["breaker"], rows["e"]["last_error"]) == ("OPEN", "status 500, want 2xx")
    assert sum(row["weight"] for row in rows.values()) == 1_000
    events = json.loads(run("events", "-o", "json").stdout)
    assert ("e", "CLOSED", "OPEN", "3 failed probes in a row: status 500, want 2xx") in [
        (event["endpoint"], event["old"], event["new"], event["reason"]) for event in events
    ]
    alerts = json.loads(run("alerts", "list", "-o", "json").stdout)
    assert {"EndpointDown", "PoolDown"} <= {alert["alertname"] for alert in alerts}
    sent = json.loads(run("alerts", "sent", "-o", "json").stdout)
    assert all(row["delivered"] and row["reason"] == "first notification" for row in sent)
    (minute, *_) = json.loads(run("history", "e", "-o", "json").stdout)
    assert (minute["ok"] + minute["failed"], minute["ok"]) in {(4, 1), (1, 1), (2, 1), (3, 1)}
    history = run("history", "e")
    assert "uptime" in history.stdout.lower()
    assert "uptime 25.000% since" in history.stderr
    assert "did you mean e?" in run("history", "ee", code=2).stderr


async def _eventually_told(plant: Plant, title: str) -> bool:
    """The resolved notice comes with the group's next tick, a second after the last one by the server's clock."""
    for _ in range(300):
        if title in plant.messages:
            return True
        await plant.work()
    return False
