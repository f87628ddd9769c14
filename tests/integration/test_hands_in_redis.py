"""What a hand in Redis deletes, overwrites or makes impossible harms itself alone, and is put right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError, StoreRefusal
from monitor.store import keys
from monitor.store.port import (
    AlertPhase,
    AssertedAlert,
    Commit,
    Committed,
    Flush,
    Membership,
    NewDelivery,
    Publication,
    Settle,
    SubjectAssertion,
)
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from tests.registering import register, set_override

LAST = "18446744073709551615-18446744073709551615"
FAR_MS = 9_000_000_000_000
Story = Callable[[RedisStore], Awaitable[None]]


def endpoint(name: str, pool: str = "shop") -> Endpoint:
    return Endpoint(id=name, url="http://127.0.0.1:1/", pool=pool)


def tell(url: str, story: Story) -> None:
    async def told() -> None:
        store = RedisStore(url)
        await store.open(create=True)
        try:
            await register(store, [endpoint("a"), endpoint("b"), endpoint("c", "cart")])
            await story(store)
        finally:
            await store.close()

    asyncio.run(told())


async def hand(store: RedisStore, *commands: tuple[str | int | bytes | float, ...]) -> None:
    await store._wire.execute(*commands)


def s0(name: str) -> str:
    return keys.in_slot(0, name)


MEMBERS = keys.members(0, "shop")


@pytest.mark.parametrize("overwritten", [False, True])
def test_a_pool_whose_members_are_lost_gets_them_back_and_stops_no_other(redis_url: str, overwritten: bool) -> None:
    async def story(store: RedisStore) -> None:
        for pool in ("shop", "cart"):
            await store.publish(Publication(pool=pool, epoch=await store.epoch(), ver=1, snapshot=b"s", delta=b"d"))
        for lease in await store.claim(Queue.DIRTY, 0, 9, 1_000):
            await store.finish(Queue.DIRTY, 0, lease.member, lease.token_ms, None)
        await hand(store, ("DEL", MEMBERS), *([("SET", MEMBERS, "x")] if overwritten else []))
        await hand(store, ("ZADD", s0("judged"), 1, "shop"), ("ZADD", s0("dirty"), 2, "shop"))
        assert set(await store.alive()) <= {"shop"}, "the heartbeat vouches for the others"
        assert (await store.pool_sizes())["cart"] == 1
        assert await store.reindex(0) == 2
        assert await store.reindex(0) == 0
        assert [member.id for member in (await store.load_pool("shop")).members] == ["a", "b"]
        assert "shop" in [lease.member for lease in await store.claim(Queue.DIRTY, 0, 9, 1_000)], "it is published again"

    tell(redis_url, story)


def test_a_plan_that_is_lost_is_made_anew_and_that_of_a_paused_endpoint_is_not(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        await register(store, [Endpoint(id="p", url="http://127.0.0.1:1/", pool="shop", paused=True)])
        await hand(store, ("HDEL", s0("plan"), "a"), ("ZREM", s0("due"), "a"))
        assert await store.reindex(0) == 1
        claim = await store.claim_probes(0, 9, 100_000_000)
        assert {item.id for item in claim.items} == {"a", "b", "c"}

    tell(redis_url, story)


@pytest.mark.parametrize("name", ["events", "due", "plan", "dirty", "reevaluate", "judged", "rec", "rev"])
def test_a_registration_is_whole_whatever_type_a_key_of_ours_holds(redis_url: str, name: str) -> None:
    async def story(store: RedisStore) -> None:
        await hand(store, ("DEL", s0(name)), ("RPUSH", s0(name), "x"))
        answer = await register(store, [endpoint("new")], ["b"])
        assert answer.ok
        assert {"new", "a", "c"} == set(await store.endpoints())
        assert [member.id for member in (await store.load_pool("shop")).members] == ["a", "new"]
        assert "shop" in [lease.member for lease in await store.claim(Queue.DIRTY, 0, 9, 1_000)]

    tell(redis_url, story)


def test_a_registration_is_refused_whole_where_what_people_said_is_lost(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        await hand(store, ("SET", s0("ovr"), "x"))
        with pytest.raises(StoreRefusal):
            await register(store, [endpoint("new")], ["b"])
        assert set(await store.endpoints()) == {"a", "b", "c"}

    tell(redis_url, story)


def test_a_stream_that_can_take_nothing_more_begins_anew(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        for name in ("events", "alerts"):
            await hand(store, ("DEL", s0(name)), ("XADD", s0(name), LAST, "d", b"x"))
        commit = Commit(
            id="a", token_ms=None, ver=0, next_ver=1, record=b"r", reevaluate_ms=0, pool="shop", transitions=(b"t",), alerts=(b"x",)
        )
        assert await store.commit([commit]) == [Committed.OK]
        await hand(store, ("XADD", s0("events"), LAST, "d", b"x"))
        await set_override(store, endpoint("a"), b"o", b"said")
        assert [data for _, data in await store.events(9)] == [b"said"]

    tell(redis_url, story)


async def assert_alert(store: RedisStore, name: str, ver: int = 1) -> None:
    member = Membership(fingerprint=name, group=name, meta=b"m", first_flush_ms=2)
    alert = AssertedAlert(fingerprint=name, alert=b"a", starts_ms=1, groups=(member,))
    await store.assert_alerts([SubjectAssertion(subject=f"pool:{name}", ver=ver, at_ms=1, expires_ms=FAR_MS, alerts=(alert,))])


async def flush(store: RedisStore, name: str) -> None:
    (lease,) = await store.claim(Queue.GROUPS, 0, 1, 1_000, [name])
    delivery = NewDelivery(f"d-{name}", "mail", b"row", 2)
    await store.commit_flush(Flush(group=name, token_ms=lease.token_ms, next_ms=FAR_MS, deliveries=(delivery,)))


def test_one_delivery_of_another_type_holds_up_no_other(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        for name in ("one", "two"):
            await assert_alert(store, name)
            await flush(store, name)
        await hand(store, ("DEL", keys.delivery("d-one")), ("SET", keys.delivery("d-one"), "x"))
        first, second = await store.load_deliveries(["d-one", "d-two"])
        assert first is None
        assert second is not None
        assert second.payload == b"row"

    tell(redis_url, story)


@pytest.mark.parametrize("spoil", [("SET", keys.SENT, "x"), ("XADD", keys.SENT, LAST, "d", b"x")])
def test_what_was_accepted_is_written_down_whatever_the_list_of_messages_holds(redis_url: str, spoil: tuple[str | bytes, ...]) -> None:
    async def story(store: RedisStore) -> None:
        await assert_alert(store, "one")
        await flush(store, "one")
        await hand(store, ("DEL", keys.SENT), spoil)
        (lease,) = await store.claim(Queue.DELIVERIES, 0, 9, 1_000)
        await store.settle_delivery(Settle(id="d-one", token_ms=lease.token_ms, group="one", place="mail", log=b"told", sent=b"sent"))
        group = await store.load_group("one")
        assert group is not None
        assert (group.log, group.in_flight) == ({"mail": b"told"}, {})
        assert [data for _, data in await store.sent(9)] == [b"sent"]

    tell(redis_url, story)


def test_a_group_of_another_type_and_a_count_that_is_none_begin_anew(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        await hand(store, ("SET", keys.group("one"), "x"), ("HSET", keys.ALERT_STORE[2], "one", "junk"))
        await assert_alert(store, "one")
        await flush(store, "one")
        (alert,) = await store.alerts(AlertPhase.FIRING, 9)
        assert alert.fingerprint == "one"
        (lease,) = await store.claim(Queue.DELIVERIES, 0, 9, 1_000)
        await store.assert_alerts([SubjectAssertion(subject="pool:one", ver=2, at_ms=5, expires_ms=FAR_MS, alerts=())])
        settle = Settle(id="d-one", token_ms=lease.token_ms, group="one", place="mail", log=b"told", sent=b"sent", drop={"one": 5})
        await store.settle_delivery(settle)
        assert await store.load_group("one") is None
        assert await store.alerts(AlertPhase.FIRING, 9) == []

    tell(redis_url, story)


@pytest.mark.parametrize("hold", [("SET", s0("routing"), "123"), ("SET", s0("routing"), "123", "PX", 3_600_000)])
def test_a_hold_that_is_none_of_ours_stops_no_routing(redis_url: str, hold: tuple[str | int, ...]) -> None:
    async def story(store: RedisStore) -> None:
        commit = Commit(id="a", token_ms=None, ver=0, next_ver=1, record=b"r", reevaluate_ms=0, pool="shop", alerts=(b"x",))
        await store.commit([commit])
        await hand(store, hold)
        _, events = await store.claim_alert_events(0, 9, 10_000)
        assert [data for _, data in events] == [b"x"]
        assert await store.claim_alert_events(0, 9, 10_000) == (0, [])

    tell(redis_url, story)


@pytest.mark.parametrize("score", ["1e300", "inf", "9e15"])
def test_times_that_nothing_can_reach_are_now(redis_url: str, score: str) -> None:
    async def story(store: RedisStore) -> None:
        await assert_alert(store, "one")
        await flush(store, "one")
        await hand(
            store, ("ZADD", keys.GROUPS, score, "one"), ("ZADD", keys.DELIVERIES, score, "d-one"), ("ZADD", s0("judged"), score, "shop")
        )
        await store.realign(0)
        assert [lease.member for lease in await store.claim(Queue.GROUPS, 0, 9, 1_000)] == ["one"]
        assert [lease.member for lease in await store.claim(Queue.DELIVERIES, 0, 9, 1_000)] == ["d-one"]
        await asyncio.sleep(0.005)
        assert "shop" in await store.lagging()

    tell(redis_url, story)


def test_a_pause_that_has_not_ended_yet_and_a_failure_to_come_count_for_nothing(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        await hand(store, ("HSET", s0("pace"), "gap", 999_999_999_999_999, "resumed", 999_999_999_999_999))
        pace = await store.result_pace(0)
        assert (pace.gap_ms, pace.since_ms) == (0, 0)
        await hand(store, ("HSET", s0("unpublished"), "shop", "1:99999999999999"))
        for lease in await store.claim(Queue.DIRTY, 0, 9, 1_000):
            await store.finish(Queue.DIRTY, 0, lease.member, lease.token_ms, None)
        assert await store.lagging() == []

    tell(redis_url, story)


@pytest.mark.parametrize("name", ["ring", "log"])
def test_one_endpoints_history_of_another_type_hides_no_other(redis_url: str, name: str) -> None:
    async def story(store: RedisStore) -> None:
        key = keys.of_endpoint(0, name, "a")
        await hand(store, ("DEL", key), ("SADD", key, "x"))
        assert (await store.samples("a", name) if name == "ring" else await store.transitions("a")) in (b"", [])

    tell(redis_url, story)


@pytest.mark.parametrize("marker", [b"0", b"65", b"abc", b"99999999999999999999"])
def test_a_number_of_slots_that_cannot_be_is_refused(marker: bytes) -> None:
    with pytest.raises(StoreError, match="number of slots cannot be read"):
        keys.read_slots(marker, None)


def test_a_copy_without_a_key_can_be_deleted(redis_url: str) -> None:
    async def story(store: RedisStore) -> None:
        await hand(store, ("HSET", keys.ASIDE, "junkfield", "junk"))
        (copy,) = await store.aside()
        assert await store.discard_aside(copy)
        assert await store.aside() == []

    tell(redis_url, story)
