"""The journey of results on a real server, without Celery: scripted probers, real decisions, real commits, the real command."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import msgspec
import pytest

from monitor.query.alerts import read_alerts
from monitor.store import keys
from monitor.store.queues import Queue
from tests.integration.commands import Run
from tests.integration.plant import Plant, Story, down, endpoint
from tests.registering import register


@pytest.mark.parametrize("how", ["removed", "paused"])
def test_an_endpoint_that_is_taken_out_while_it_is_down_ends_its_alert(plant: Callable[[Story], None], how: str) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        if how == "removed":
            await register(plant.store, removes=["e"])
        else:
            await register(plant.store, [endpoint(paused=True)])
        await plant.work()
        assert [alert.labels["endpoint"] for alert in await read_alerts(plant.store) if "endpoint" in alert.labels] == ["other"]
        assert await plant.told(f"[ENDED] e is down: {how}")
        left = (await plant.store.load(["e"]))[0]
        assert (left.ver == 0) is (how == "removed")

    plant(story)


def test_a_pool_without_members_ends_its_alerts_and_leaves_a_tombstone(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert any("shop" in title for title in plant.messages), plant.messages
        await register(plant.store, removes=["e", "other"])
        await plant.work()
        assert await read_alerts(plant.store) == []
        snapshot = msgspec.json.decode((await plant.store.load_pool("shop")).snapshot)
        assert (snapshot["endpoints"], snapshot["tombstone"]) == ([], True)
        assert await plant.store.load_subject("pool:shop") == (0, b"")

    plant(story)


def test_rules_are_evaluated_on_an_edited_endpoint_without_waiting_for_a_result(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        await register(plant.store, [endpoint(labels={"team": "shop"})])
        await plant.work()
        (alert,) = [alert for alert in await read_alerts(plant.store) if alert.labels.get("endpoint") == "e"]
        assert alert.labels["team"] == "shop"

    plant(story)


UNREADABLE = {
    "no JSON": b"{not json",
    "a list": b"[]",
    "a newer enum member": b'{"breaker":{"state":"AJAR"}}',
    "no version": None,
}


@pytest.mark.parametrize("held", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_record_starts_afresh_and_holds_up_nobody_else(plant: Callable[[Story], None], held: bytes | None) -> None:
    async def story(plant: Plant) -> None:
        await register(plant.store, [endpoint(), endpoint(id="other")])
        await plant.round()
        now_ms = plant.clock.now_ms()
        value = b"rubbish" if held is None else keys.version_text(now_ms).encode() + held
        await plant.redis("HSET", keys.in_slot(0, "rec"), "e", value)
        await plant.round()
        await plant.work()
        loaded = await plant.store.load(["e", "other"])
        assert all(msgspec.json.decode(one.record)["probes"]["results"] for one in loaded)
        assert [json.loads(data)["id"] for data in await snapshots(plant)] == ["e", "other"]
        (aside,) = await plant.store.aside()
        assert (aside.kind, aside.key, aside.data) == ("record", "e", value if held is None else held)

    plant(story)


async def snapshots(plant: Plant) -> list[str]:
    snapshot = msgspec.json.decode((await plant.store.load_pool("shop")).snapshot)
    return [json.dumps(one) for one in snapshot["endpoints"]]


@pytest.mark.parametrize("name", ["mem", "ovr"])
def test_what_rules_remember_and_an_operators_word_may_be_unreadable_too(plant: Callable[[Story], None], name: str) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        await plant.redis("HSET", keys.in_slot(0, name), "e", b'{"states": 5}')
        await plant.round()
        await plant.work()
        assert {alert.labels.get("endpoint") for alert in await read_alerts(plant.store)} >= {"e", "other"}
        assert [(one.kind, one.key) for one in await plant.store.aside()] == [({"mem": "memory", "ovr": "override"}[name], "e")]

    plant(story)


def test_unreadable_neighbours_silence_nobody(plant: Callable[[Story], None]) -> None:
    """One endpoint's record and another's registry entry are rubbish: the third still falls silent beside a fourth, and is told."""

    async def story(plant: Plant) -> None:
        await register(plant.store, [endpoint(id=name, interval_ms=500) for name in ("a", "b", "c", "d")])
        await plant.round()
        await plant.redis("HSET", keys.in_slot(0, "rec"), "a", b"rubbish")
        await plant.redis("HSET", keys.in_slot(0, "spec"), "b", b"rubbish")
        began_ms = plant.clock.now_ms()
        while not {"[FIRING] Nothing is known of a", "[FIRING] Nothing is known of c"} <= set(plant.messages):
            await plant.round("d")  # Results come in: it is the others that are silent.
            await plant.work()
            assert plant.clock.now_ms() - began_ms < 40_000, plant.messages

    plant(story)


def test_people_see_status_events_alerts_and_history(plant: Callable[[Story], None], run: Run) -> None:
    plant(down)
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
    assert all(row["labels"]["alertname"] in {"EndpointDown", "PoolDown"} for row in sent)
    rows = json.loads(run("history", "e", "-o", "json").stdout)
    assert (sum(row["ok"] for row in rows), sum(row["failed"] for row in rows)) == (1, 3)
    history = run("history", "e")
    assert "uptime" in history.stdout.lower()
    assert "unknown for" in history.stderr
    assert "did you mean e?" in run("history", "ee", code=2).stderr
    explained = run("explain", "e").stdout
    assert "CLOSED -> OPEN: 3 failed probes in a row" in explained


def test_people_see_what_was_set_aside_and_delete_it(plant: Callable[[Story], None], run: Run) -> None:
    async def story(plant: Plant) -> None:
        await register(plant.store, [endpoint()])
        await plant.round()
        await plant.redis("HSET", keys.in_slot(0, "rec"), "e", b"rubbish")
        await plant.round()

    async def loses_what_people_wrote(plant: Plant) -> None:
        await register(plant.store, [endpoint(id="f")])
        await plant.redis("HSET", keys.in_slot(0, "spec"), "e", b'{"options": {"body": "s3cret"}')
        await plant.redis("HSET", keys.REGISTRY_POOLS, "shop", b'{"defaults": {"options": {"body": "s3cret"}}')
        await plant.redis("SET", keys.snapshot("shop"), b'{"endpoints": [{"url": "http://ada:s3cret@h/"}')
        await plant.publisher.weigh_leased([(0, lease) for lease in await plant._due(Queue.DIRTY)])

    assert_nothing = functools.partial(run, "quarantine", "list")
    plant(story)
    (row,) = json.loads(run("quarantine", "list", "-o", "json").stdout)
    assert (row["kind"], row["key"], row["begins"]) == ("record", "e", "rubbish")
    assert "record  e" in run("quarantine", "list").stdout
    assert "there is no copy" in run("quarantine", "rm", "record", "nobody", code=1).stderr
    assert run("quarantine", "rm", "record", "e").stdout == "record e deleted\n"
    assert "everything could be read" in assert_nothing().stderr
    assert "or --all" in run("quarantine", "rm", code=2).stderr

    plant(loses_what_people_wrote)
    listed = run("quarantine", "list", "-o", "json").stdout
    assert {row["kind"]: row["begins"] for row in json.loads(listed)} == dict.fromkeys(("endpoint", "pool", "snapshot"), "<secret>")
    assert "s3cret" not in listed
