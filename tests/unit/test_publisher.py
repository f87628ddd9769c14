"""One pool on its way to consumers and rules, with everything that can go wrong on it: races, deaths, unreadable values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.memory import decode_assertion
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, Override, OverrideRecord, ProbeStatistics, Record, Transition, encode_record
from monitor.pool.compose import decode_pool_record, decode_snapshot
from monitor.pool.snapshot import Snapshot
from monitor.store.memory.store import MemoryStore
from monitor.store.port import NO_EPOCH, Commit, Committed, Epoch, Publication, Queue
from tests.registering import register, set_override
from workers.journey.counters import Counters
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

RULES = parse_rule_text("groups: [{name: pools, rules: [{alert: PoolDown, expr: pool_admitted == 0 && pool_size > 0}]}]")
IDS = ("a", "b", "c")


class House:
    """A store with one pool of three, and any number of publishers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.routed: list[int] = []
        self.due: list[tuple[str, int]] = []
        """What was said to fall due: pools, and how long from then."""
        self.publisher = self.another()

    def another(self) -> Publisher:
        return Publisher(
            store=self.store,
            clock=self.clock,
            rules=RULES,
            route=self.routed.append,
            counters=self.counters,
            quarantine=Quarantine(self.store, self.counters),
            soon=lambda _queue, _slot, pool, due_ms: self.due.append((pool, due_ms - self.clock.now_ms())),
        )

    async def opened(self) -> House:
        await register(self.store, [endpoint(one) for one in IDS], [], [])
        await self.become(Breaker.CLOSED, *IDS)
        return self

    async def become(self, breaker: Breaker, *ids: str) -> None:
        """Let the breakers of these endpoints be so."""
        for one, held in zip(ids, await self.store.load(ids), strict=True):
            probes = ProbeStatistics(Outcome.SUCCESS, 5, results=5, last_success_ms=self.clock.now_ms())
            state = BreakerState(state=breaker, reason="a test")
            record = encode_record(Record(breaker=state, probes=probes, since_ms=1, decided_ms=self.clock.now_ms()))
            commit = Commit(id=one, token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=record, reevaluate_ms=0, pool="shop")
            assert await self.store.commit([commit]) == [Committed.OK]

    async def snapshot(self) -> Snapshot | None:
        return decode_snapshot((await self.store.snapshots(["shop"]))[0])

    async def weights(self) -> dict[str, int]:
        snapshot = await self.snapshot()
        assert snapshot is not None
        return {one.id: one.weight for one in snapshot.endpoints}

    async def panics(self) -> list[tuple[str, str]]:
        """The pool's own transitions so far."""
        events = [msgspec.json.decode(data, type=Transition) for _, data in await self.store.events(1_000)]
        return [(one.old, one.new) for one in events if one.kind == "pool"]

    async def alerts(self) -> list[list[str]]:
        """What the rules have asserted since the last call: the names of all that fires, each time."""
        token_ms, events = await self.store.claim_alert_events(0, 100, 1_000)
        if events:
            await self.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
        return [[alert.labels["alertname"] for alert in decode_assertion(data).alerts] for _, data in events]

    async def aside(self) -> list[tuple[str, str]]:
        """What was kept aside because it could not be read."""
        return [(item.kind, item.key) for item in await self.store.aside()]

    async def subject(self) -> bytes:
        return (await self.store.load_subject("pool:shop"))[1]


def endpoint(endpoint_id: str) -> Endpoint:
    return Endpoint(id=endpoint_id, url=f"http://127.0.0.1/{endpoint_id}", pool="shop")


def story(tell: Callable[[House], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine and takes a house."""

    def test() -> None:
        async def run() -> None:
            await tell(await House().opened())

        asyncio.run(run())

    test.__name__, test.__doc__ = tell.__name__, tell.__doc__
    return test


@story
async def test_what_nobody_would_notice_is_not_published(house: House) -> None:
    await house.publisher.publish("shop")
    first = await house.snapshot()
    await house.publisher.publish("shop")
    await house.another().publish("shop")
    assert await house.snapshot() == first
    assert (await house.panics(), await house.alerts(), house.routed) == ([], [], [])


@story
async def test_a_pool_that_moves_is_weighed_at_its_time_by_who_weighed_it(house: House) -> None:
    async def settle() -> list[tuple[str, int]]:
        house.due.clear()
        for lease in await house.store.claim(Queue.DIRTY, 0, 10, 5_000):
            await house.publisher.weigh_one(0, lease)
        return house.due

    assert await settle() == []
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    await house.become(Breaker.CLOSED, "a")
    house.store._mark_dirty(0, "shop", house.clock.now_ms())
    assert await settle() == [("shop", 1_000)], "it rises, a step each second"
    house.clock.advance(1_000)
    assert await settle() == [("shop", 1_000)]
    house.clock.advance(60_000)
    assert await settle() == []
    assert await house.weights() == {"a": 334, "b": 333, "c": 333}


# The pool as a subject ------------------------------------------------------------------------------------------


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


# Races ----------------------------------------------------------------------------------------------------------


@story
async def test_who_loses_every_round_says_so_and_leaves_the_pool_in_the_queue(house: House) -> None:
    rounds = 0

    async def always_late(_: Publication) -> Epoch:
        nonlocal rounds
        rounds += 1
        raise Stale("somebody was faster")

    publish, house.store.publish = house.store.publish, always_late  # type: ignore[method-assign]
    (lease,) = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    with pytest.raises(Stale, match="shop kept changing"):
        await house.publisher.publish("shop")
    assert rounds == 8
    await house.publisher.weigh_one(0, lease)
    house.store.publish = publish  # type: ignore[method-assign]
    house.clock.advance(5_001)
    (again,) = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    await house.publisher.weigh_one(0, again)
    assert await house.weights() == {"a": 334, "b": 333, "c": 333}


@story
async def test_who_cannot_write_the_record_says_so_too(house: House) -> None:
    """The panic of a pool whose record others kept changing was lost without a word."""

    async def always_late(*_: Any, **__: Any) -> bool:
        return False

    await house.become(Breaker.OPEN, *IDS)
    commit, house.store.commit_subject = house.store.commit_subject, always_late  # type: ignore[method-assign]
    with pytest.raises(Stale, match="kept changing"):
        await house.publisher.publish("shop")
    house.store.commit_subject = commit  # type: ignore[method-assign]
    await house.publisher.publish("shop")
    assert await house.panics() == [("NORMAL", "PANIC")]


@story
async def test_a_late_tombstone_takes_no_live_pool_out(house: House) -> None:
    """A worker reads a pool without members, another publishes it with a new one, then the first goes on."""
    await house.publisher.publish("shop")
    await register(house.store, [], IDS, [])
    publish, turn = house.store.publish, asyncio.Event()

    async def held_up(publication: Publication) -> Epoch:
        if publication.tombstone:
            await turn.wait()
        return await publish(publication)

    house.store.publish = held_up  # type: ignore[method-assign]
    late = asyncio.create_task(house.another().publish("shop"))
    await asyncio.sleep(0.01)
    await register(house.store, [endpoint("new")], [], [])
    await house.publisher.publish("shop")
    turn.set()
    await late
    assert house.store.published == {"shop"}
    assert await house.weights() == {"new": 1_000}


# Epochs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["forgotten", "an older backup", "a snapshot from a later life"])
def test_a_data_set_that_begins_anew_is_published_in_a_larger_epoch(how: str) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        await house.become(Breaker.OPEN, "a")
        await house.publisher.publish("shop")
        before = await house.snapshot()
        assert before is not None
        if how == "forgotten":
            house.store._epoch = NO_EPOCH
        elif how == "an older backup":
            house.store._epoch = Epoch(before.epoch, 1)
        else:
            later = msgspec.structs.replace(before, epoch=before.epoch + 1_000_000)
            held = house.store._published["shop"]
            house.store._published["shop"] = msgspec.structs.replace(held, snapshot=msgspec.json.encode(later))
            before = later
        await house.publisher.renew_epoch()  # As with every heartbeat.
        await house.publisher.publish("shop")
        after = await house.snapshot()
        assert after is not None
        assert after.epoch > before.epoch
        assert [one.weight for one in after.endpoints] == [one.weight for one in before.endpoints]

    asyncio.run(tell())


@story
async def test_a_publisher_that_has_not_heard_of_the_new_epoch_learns_of_it_when_it_is_refused(house: House) -> None:
    await house.publisher.publish("shop")
    house.store._epoch = NO_EPOCH
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    assert (await house.weights())["a"] == 0


@story
async def test_an_older_snapshot_that_was_put_back_is_gone_beyond(house: House) -> None:
    await house.publisher.publish("shop")
    older = house.store._published["shop"].snapshot
    for breaker in (Breaker.OPEN, Breaker.CLOSED, Breaker.OPEN):
        await house.become(breaker, "a")
        await house.publisher.publish("shop")
    latest = await house.snapshot()
    house.store._published["shop"] = msgspec.structs.replace(house.store._published["shop"], snapshot=older)
    await house.become(Breaker.CLOSED, "a")  # As the older one says: whoever holds the latest must hear of it.
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert latest is not None
    assert after is not None
    assert after.ver > latest.ver + 1, "consumers read the snapshot"
    assert all((await house.weights()).values())


@story
async def test_a_log_of_a_later_epoch_than_the_data_sets_is_gone_beyond(house: House) -> None:
    await house.publisher.publish("shop")
    before = await house.snapshot()
    assert before is not None
    house.store._published["shop"] = msgspec.structs.replace(
        house.store._published["shop"], epoch=Epoch(before.epoch + 90_000_000), snapshot=b"?"
    )
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    assert (await house.weights())["a"] == 0
    after = await house.snapshot()
    assert after is not None
    assert after.epoch > before.epoch + 90_000_000


# Unreadable values ----------------------------------------------------------------------------------------------


def unreadable_record(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b"{not json")


def record_of_a_newer_release(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b'{"breaker":{"state":"AJAR"}}')


@pytest.mark.parametrize("damage", [unreadable_record, record_of_a_newer_release])
def test_an_unreadable_record_counts_as_unknown(damage: Callable[[House], None]) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        damage(house)
        await house.become(Breaker.OPEN, "b")
        await house.publisher.publish("shop")
        snapshot = await house.snapshot()
        assert snapshot is not None
        assert {one.id: one.verdict for one in snapshot.endpoints} == {"a": "UNKNOWN", "b": "UNHEALTHY", "c": "HEALTHY"}
        assert (await house.weights())["b"] == 0
        assert house.counters.take()["unreadable"] == 1
        assert await house.aside() == [("record", "a")]

    asyncio.run(tell())


@story
async def test_an_unreadable_override_leaves_the_operators_last_word_in_force(house: House) -> None:
    drain = msgspec.json.encode(OverrideRecord(override=Override.DRAIN, reason="new disks", at_ms=5))
    await set_override(house.store, endpoint("a"), drain, b"")
    await house.publisher.publish("shop")
    house.store._slots[0].overrides["a"] = b"{not json"
    await house.become(Breaker.OPEN, "b")
    await house.publisher.publish("shop")
    snapshot = await house.snapshot()
    assert snapshot is not None
    (drained,) = [one for one in snapshot.endpoints if one.id == "a"]
    assert (drained.weight, drained.override, drained.reason) == (0, "DRAIN", "new disks")
    assert await house.weights() == {"a": 0, "b": 0, "c": 1_000}
    assert await house.aside() == [("override", "a")]


@story
async def test_an_unreadable_snapshot_is_replaced_by_one_that_every_consumer_reads(house: House) -> None:
    await house.publisher.publish("shop")
    before = await house.snapshot()
    assert before is not None
    held = house.store._published["shop"]
    house.store._published["shop"] = msgspec.structs.replace(held, snapshot=b"{")
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert after is not None
    assert after.endpoints == before.endpoints
    assert (after.epoch, after.ver) == (before.epoch, before.ver + 2), "a delta that follows would leave out what was removed meanwhile"
    assert await house.aside() == [("snapshot", "shop")]


@pytest.mark.parametrize("snapshot", [b"{", b""])
def test_a_snapshot_that_was_lost_is_published_anew_although_nothing_moves(snapshot: bytes) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        await house.store.finish(Queue.DIRTY, 0, "shop", (await house.store.claim(Queue.DIRTY, 0, 10, 5_000))[0].token_ms, None)
        before = await house.weights()
        await house.publisher.restore_snapshots()
        assert await house.store.claim(Queue.DIRTY, 0, 10, 5_000) == []
        held = house.store._published["shop"]
        house.store._published["shop"] = msgspec.structs.replace(held, snapshot=snapshot)
        for later_ms, wanted in ((29_999, 0), (1, 1)):
            house.clock.advance(later_ms)
            await house.publisher.restore_snapshots()
            leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
            assert len(leases) == wanted
            await house.publisher.weigh_leased((0, lease) for lease in leases)
        assert await house.weights() == before

    asyncio.run(tell())


@story
async def test_a_pool_of_which_everything_published_was_lost_goes_on_above_what_consumers_hold(house: House) -> None:
    for breaker in (Breaker.OPEN, Breaker.CLOSED, Breaker.OPEN):
        house.clock.advance(60_000)
        await house.become(breaker, "a")
        await house.publisher.publish("shop")
    before = await house.snapshot()
    del house.store._published["shop"]
    house.clock.advance(10)
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert before is not None
    assert after is not None
    assert (after.epoch, after.endpoints) == (before.epoch, before.endpoints)
    assert after.ver > before.ver


@story
async def test_a_pool_without_members_whose_snapshot_was_lost_leaves_the_index(house: House) -> None:
    await house.publisher.publish("shop")
    held = house.store._published["shop"]
    house.store._published["shop"] = msgspec.structs.replace(held, snapshot=b"")
    await register(house.store, removes=IDS)
    await house.publisher.publish("shop")
    assert house.store.published == set()
    tombstone = await house.snapshot()
    assert tombstone is not None
    assert tombstone.tombstone is True


@story
async def test_unreadable_settings_of_a_pool_harm_no_other(house: House) -> None:
    class Torn(MemoryStore):
        async def load_pool(self, pool: str) -> Any:
            load = await super().load_pool(pool)
            return msgspec.structs.replace(load, settings=b"{") if pool == "shop" else load

    house.store.__class__ = Torn
    await register(house.store, [msgspec.structs.replace(endpoint("d"), pool="db")], [], [])
    leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    assert {lease.member for lease in leases} == {"shop", "db"}
    await house.publisher.weigh_leased((0, lease) for lease in leases)
    assert all(await house.store.snapshots(["shop", "db"]))


@story
async def test_a_pool_that_fails_holds_up_no_other(house: House) -> None:
    load_pool = house.store.load_pool

    async def broken(pool: str) -> Any:
        if pool == "shop":
            raise RuntimeError("a bug")
        return await load_pool(pool)

    house.store.load_pool = broken  # type: ignore[method-assign]
    await register(house.store, [msgspec.structs.replace(endpoint("d"), pool="db")], [], [])
    for _ in range(4):
        leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
        await house.publisher.weigh_leased((0, lease) for lease in leases)
        assert house.store.published == {"db"}
        assert [lease.member for lease in leases if lease.member == "shop"] == ["shop"]
        house.clock.advance(5_001)
    assert await house.store.lagging() == ["shop"], "consumers must not take it for fresh"


@pytest.mark.parametrize(
    "spec",
    [b"{", b'{"id":"a","url":"http://127.0.0.1:99999/","pool":"shop"}', b'{"id":"b","url":"http://127.0.0.1/b","pool":"shop"}', b""],
    ids=["no JSON", "no port", "another's", "nothing"],
)
def test_an_endpoint_that_cannot_be_read_leaves_its_share_to_the_others(spec: bytes) -> None:
    async def tell() -> None:
        house = await House().opened()
        load_pool = house.store.load_pool

        async def torn(pool: str) -> Any:
            load = await load_pool(pool)
            first, *others = load.members
            return msgspec.structs.replace(load, members=(msgspec.structs.replace(first, spec=spec), *others))

        house.store.load_pool = torn  # type: ignore[method-assign]
        await house.publisher.publish("shop")
        assert await house.weights() == {"b": 500, "c": 500}
        assert await house.aside() == ([("endpoint", "a")] if spec else []), "of what is not there no copy is kept"

    asyncio.run(tell())


@story
async def test_a_pool_of_which_no_endpoint_can_be_read_stays_as_it_is_published(house: House) -> None:
    """Its members are there: taking it for a removed pool would send its traffic nowhere."""
    await house.publisher.publish("shop")
    before = await house.snapshot()
    load = await house.store.load_pool("shop")
    torn = msgspec.structs.replace(load, members=tuple(msgspec.structs.replace(one, spec=b"{") for one in load.members))

    async def unreadable(_: str) -> Any:
        return torn

    house.store.load_pool = unreadable  # type: ignore[method-assign]
    with pytest.raises(Stale, match="none of the 3 endpoints of pool shop can be read"):
        await house.publisher.publish("shop")
    assert await house.snapshot() == before


@story
async def test_an_unreadable_record_of_the_pool_is_begun_afresh(house: House) -> None:
    await house.become(Breaker.OPEN, *IDS)
    await house.store.commit_subject("pool:shop", 0, 5, b"{not json")
    await house.publisher.publish("shop")
    assert decode_pool_record(await house.subject()).panic
    assert await house.alerts() == [["PoolDown"]]
    assert await house.aside() == [("subject", "pool:shop")]


@story
async def test_no_time_passes_for_a_pool_while_the_timeline_is_tilted_and_an_operators_word_is_published(house: House) -> None:
    await house.become(Breaker.OPEN, "c")
    await house.publisher.publish("shop")
    house.clock.advance(1_000)
    (held,) = await house.store.load(["c"])
    probes = ProbeStatistics(Outcome.SUCCESS, 5, results=5, last_success_ms=house.clock.now_ms())
    back = encode_record(Record(breaker=BreakerState(), probes=probes, since_ms=1, warm_up_since_ms=house.clock.now_ms()))
    commit = Commit(id="c", token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=back, reevaluate_ms=0, pool="shop")
    assert await house.store.commit([commit]) == [Committed.OK]
    house.clock.advance(1_000)
    await house.publisher.publish("shop")
    warming = await house.weights()
    assert 0 < warming["c"] < warming["a"]
    house.clock.jump(3_600_000)
    next_ms = await house.publisher.publish("shop")
    assert next_ms is not None
    assert house.clock.now_ms() < next_ms <= house.clock.now_ms() + 2_000
    assert await house.weights() == warming
    drain = msgspec.json.encode(OverrideRecord(override=Override.DRAIN, reason="a test", at_ms=house.clock.now_ms()))
    await set_override(house.store, endpoint("a"), drain, b"")
    await house.publisher.publish("shop")
    drained = await house.weights()
    assert drained["a"] == 0
    house.clock.advance(31_000)
    await house.publisher.publish("shop")
    assert (await house.weights())["c"] > drained["c"]


@story
async def test_while_the_timeline_is_tilted_a_pool_stands_where_its_members_were_last_judged(house: House) -> None:
    """And not where it was last published, which may be days ago."""
    await house.publisher.publish("shop")
    house.clock.advance(3_600_000)
    await house.become(Breaker.CLOSED, *IDS)
    house.clock.jump(3_600_000)
    drain = msgspec.json.encode(OverrideRecord(override=Override.DRAIN, reason="a test", at_ms=house.clock.now_ms()))
    await set_override(house.store, endpoint("a"), drain, b"")
    await house.publisher.publish("shop")
    snapshot = await house.snapshot()
    assert snapshot is not None
    assert snapshot.ts_ms == house.clock.now_ms() - 3_600_000
