"""The pool as a subject: its panic and its alerts are told once, whoever dies."""

from __future__ import annotations

import asyncio

import pytest

from alert_rules.files.rule_file import load_rules
from monitor import registry
from monitor.core.endpoint import Pool
from monitor.core.record import Breaker
from monitor.pool.compose import decode_pool_record
from monitor.registry.endpoints import set_paused
from monitor.store.port import Epoch, Publication
from tests.registering import register
from tests.unit.publishing.house import IDS, House, endpoint, story


@story
async def test_panic_and_its_end_are_told_once_each_whoever_publishes(house: House) -> None:
    publishers = [house.publisher, house.another()]
    for breaker, told in ((Breaker.CLOSED, 0), (Breaker.OPEN, 1), (Breaker.CLOSED, 2), (Breaker.OPEN, 3)):
        house.clock.advance(60_000)
        await house.become(breaker, *IDS)
        await asyncio.gather(*(one.publish("shop") for one in publishers))
        assert await house.panics() == [("NORMAL", "PANIC"), ("PANIC", "NORMAL"), ("NORMAL", "PANIC")][:told]


@story
async def test_a_death_between_publication_and_evaluation_loses_neither_panic_nor_alert(house: House) -> None:
    await house.publisher.publish("shop")
    assert await house.store.alerting() == ([], []), "a pool without an alert is none that `alerts list` loads"
    await house.become(Breaker.OPEN, *IDS)
    publish = house.store.publish

    async def die_after(publication: Publication) -> Epoch:
        await publish(publication)
        raise asyncio.CancelledError

    house.store.publish = die_after  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await house.publisher.publish("shop")
    house.store.publish = publish  # type: ignore[method-assign]
    snapshot = await house.snapshot()
    assert snapshot is not None
    assert snapshot.panic == 1.0
    assert (await house.panics(), await house.alerts()) == ([], [])
    await house.another().publish("shop")
    assert (await house.panics(), await house.alerts()) == ([("NORMAL", "PANIC")], [["PoolDown"]])
    assert await house.store.alerting() == ([], ["pool:shop"])
    assert await house.snapshot() == snapshot


@story
async def test_who_published_an_older_version_tells_what_is_published_now(house: House) -> None:
    """One publishes the panic and is held up; the other publishes its end and finds nothing to tell."""
    slow = house.another()
    load_subject, published, held = house.store.load_subject, asyncio.Event(), asyncio.Event()

    async def held_up(subject: str) -> tuple[int, bytes]:
        published.set()
        await held.wait()
        return await load_subject(subject)

    await house.publisher.publish("shop")
    await house.become(Breaker.OPEN, *IDS)
    house.store.load_subject = held_up  # type: ignore[method-assign]
    slow_task = asyncio.create_task(slow.publish("shop"))
    await published.wait()
    house.store.load_subject = load_subject  # type: ignore[method-assign]
    await house.become(Breaker.CLOSED, *IDS)
    await house.publisher.publish("shop")
    held.set()
    await slow_task
    assert (await house.panics(), await house.alerts()) == ([], [])


@story
async def test_who_read_the_members_before_a_pause_fires_nothing_after_it(house: House) -> None:
    """One loads the pool and is held up; meanwhile somebody pauses all that is down, and another tells the end."""
    rules = load_rules()
    first, slow = house.another(rules), house.another(rules)
    load_subject, loaded, held = house.store.load_subject, asyncio.Event(), asyncio.Event()

    async def held_up(subject: str) -> tuple[int, bytes]:
        loaded.set()
        await held.wait()
        return await load_subject(subject)

    await house.become(Breaker.OPEN, *IDS)
    await first.publish("shop")
    assert await house.alerts() == [["PoolDown"]]
    house.store.load_subject = held_up  # type: ignore[method-assign]
    slow_task = asyncio.create_task(slow.publish("shop"))
    await loaded.wait()
    house.store.load_subject = load_subject  # type: ignore[method-assign]
    await set_paused(house.store, IDS, paused=True, actor="ann", reason="deploy")
    await first.publish("shop")
    held.set()
    await slow_task
    assert await house.ends() == ["a paused by ann: deploy; b paused by ann: deploy; c paused by ann: deploy"]
    assert (await house.store.alerting())[1] == []


@story
async def test_of_many_who_were_spoken_of_some_are_named_and_the_rest_is_counted(house: House) -> None:
    publisher = house.another(load_rules())
    await register(house.store, [endpoint(one) for one in "defgh"], [], [])
    await house.become(Breaker.OPEN, *IDS, *"defgh")
    await publisher.publish("shop")
    await set_paused(house.store, [*IDS, *"defgh"], paused=True, actor="ann")
    await publisher.publish("shop")
    assert await house.ends() == ["a paused by ann; b paused by ann; c paused by ann; and 5 more"]


@story
async def test_a_pool_whose_last_member_goes_ends_its_alerts_and_leaves_nothing_behind(house: House) -> None:
    await house.publisher.publish("shop")
    await house.become(Breaker.OPEN, *IDS)
    await house.publisher.publish("shop")
    assert await house.alerts() == [["PoolDown"]]
    assert decode_pool_record(await house.subject()).panic
    await register(house.store, [], IDS, [])
    for _ in range(2):
        assert await house.publisher.publish("shop") is None
        assert await house.store.load_subject("pool:shop") == (0, b"")
        assert house.store.published == set()
    assert await house.alerts() == [[]]
    assert await house.panics() == [("NORMAL", "PANIC"), ("PANIC", "NORMAL")]
    tombstone = await house.snapshot()
    assert tombstone is not None
    assert tombstone.tombstone is True
    assert house.counters.take()["publications"] == 3, "one tombstone is enough"


@story
async def test_of_a_pool_that_never_had_a_member_nothing_is_published(house: House) -> None:
    await register(house.store, [], [], [Pool(name="empty")])
    assert await house.publisher.publish("empty") is None
    assert await house.store.snapshots(["empty"]) == [b""]


@story
async def test_a_renamed_member_takes_the_place_of_its_old_name_in_the_next_version(house: House) -> None:
    await house.publisher.publish("shop")
    before = await house.snapshot()
    await registry.rename(house.store, "a", "z", actor="ann")
    house.clock.advance(1)
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert before is not None
    assert after is not None
    assert after.ver == before.ver + 1
    assert [(one.id, one.breaker) for one in after.endpoints] == [("b", "CLOSED"), ("c", "CLOSED"), ("z", "CLOSED")]
    weights = {one.id: one.weight for one in before.endpoints}
    assert all(abs(one.weight - weights[{"z": "a"}.get(one.id, one.id)]) <= 1 for one in after.endpoints), "a name moves no traffic"
    assert [one.addr for one in after.endpoints][2] == before.endpoints[0].addr
