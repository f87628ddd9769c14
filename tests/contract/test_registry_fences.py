"""Who decided from what he had read is refused where it is not there any more; and whatever is changed reaches those who decide."""

from __future__ import annotations

import pytest

from monitor.core.endpoint import Pool
from monitor.core.errors import Stale
from monitor.store.keys import EVENTS_LENGTH_MAX, OWN_LOG_LENGTH_MAX, of_endpoint, slot_of
from monitor.store.port import Committed, Entry, PoolPut, PoolRemoval, Put, Queue, RegistryChanges, Removal, digest
from tests.contract.conftest import on_servers
from tests.registering import pools, register, set_override


def put(endpoint, old=None, *transitions: bytes) -> RegistryChanges:
    return RegistryChanges(puts=(Put(endpoint=endpoint, old=old, transitions=transitions),))


async def entry(house, endpoint_id: str = "e") -> Entry:
    return (await house.store.endpoint_entries([endpoint_id]))[endpoint_id]


async def events(house) -> list[bytes]:
    return [data for _, data in await house.store.events(EVENTS_LENGTH_MAX)]


async def test_an_edit_decided_from_an_older_reading_is_stale_and_writes_nothing(house):
    await house.register(house.endpoint("e"))
    read = await entry(house)
    await house.register(house.endpoint("e", paused=True))
    await house.drain(Queue.REEVALUATE)
    ver = await house.version("e")
    answer = await house.store.register(put(house.endpoint("e", weight=7), read, b"t"))
    assert (answer.ok, answer.stale, answer.unwritten) == (False, {"e"}, {"e"})
    assert (await house.store.endpoints())["e"] == house.endpoint("e", paused=True)
    assert await events(house) == await house.store.transitions("e") == []
    assert await house.version("e") == ver
    assert await house.drain(Queue.REEVALUATE) == []
    assert (await house.store.register(put(house.endpoint("e", paused=True, weight=7), await entry(house)))).ok


@pytest.mark.parametrize("removed", [False, True])
async def test_neither_a_newcomer_nor_a_removal_passes_over_another(house, removed):
    await house.register(house.endpoint("e"))
    read = await entry(house)
    await register(house.store, [] if removed else [house.endpoint("e", weight=2)], ["e"] if removed else [])
    before = await house.store.endpoints()
    assert (await house.store.register(put(house.endpoint("e", weight=3), read))).stale == {"e"}
    if not removed:
        assert (await house.store.register(put(house.endpoint("e", weight=3)))).stale == {"e"}, "there was none, and there is one now"
        assert (await house.store.register(RegistryChanges(removals=(Removal(id="e", old=read),)))).stale == {"e"}
    assert await house.store.endpoints() == before


async def test_one_stale_entry_keeps_its_chunk_unwritten_and_says_which(house):
    ids = [f"e{i}" for i in range(6)]
    await house.register(*map(house.endpoint, ids))
    read = await house.store.endpoint_entries()
    await house.register(house.endpoint("e0", weight=9))
    changes = RegistryChanges(puts=tuple(Put(endpoint=house.endpoint(name, weight=2), old=read[name]) for name in ids))
    answer = await house.store.register(changes)
    together = {name for name in ids if slot_of(name, house.store.slots) == slot_of("e0", house.store.slots)}
    assert (answer.stale, answer.unwritten) == ({"e0"}, together)
    assert {name: endpoint.weight for name, endpoint in (await house.store.endpoints()).items()} == {
        name: 9 if name == "e0" else 100 if name in together else 2 for name in ids
    }


async def test_what_is_as_it_shall_be_is_no_change_so_that_a_call_whose_answer_was_lost_may_be_repeated(house):
    changes = put(house.endpoint("e"), None, b"created")
    assert (await house.store.register(changes)).ok
    assert (await house.store.register(changes)).ok
    change = put(house.endpoint("e", weight=2), await entry(house), b"changed")
    assert (await house.store.register(change)).ok
    ver = await house.version("e")
    assert (await house.store.register(change)).ok
    removal = RegistryChanges(removals=(Removal(id="e", old=await entry(house), transitions=(b"removed",)),))
    assert await house.version("e") == ver
    assert (await house.store.register(removal)).ok
    assert (await house.store.register(removal)).ok
    assert await events(house) == [b"created", b"changed", b"removed"]


async def test_pools_settings_and_what_belongs_to_no_entry_are_told_once_however_often_a_call_is_repeated(house):
    changes = RegistryChanges(pools=(PoolPut(pool=Pool(name="shop"), transitions=(b"shop",)),), transitions=(b"summary",))
    assert (await house.store.register(changes)).ok
    assert set(await house.dirty()) == {"shop"}
    revisions = [(await house.store.claim_probes(slot, 1, 0)).rev for slot in range(house.store.slots)]
    assert (await house.store.register(changes)).ok
    assert await events(house) == [b"summary", b"shop"]
    assert await house.dirty() == []
    assert [(await house.store.claim_probes(slot, 1, 0)).rev for slot in range(house.store.slots)] == revisions
    read = (await house.store.pool_entries())["shop"]
    both = (
        PoolPut(pool=Pool(name="db"), transitions=(b"db",)),
        PoolPut(pool=Pool(name="shop", warm_up_ms=1), old=read, transitions=(b"over",)),
    )
    removal = PoolRemoval(name="shop", old=read, transitions=(b"gone",))
    for _ in range(2):
        assert (await house.store.register(RegistryChanges(pools=both, pool_removals=(removal,)))).ok
    assert await pools(house.store) == {"db": Pool(name="db")}
    assert sorted((await events(house))[2:]) == [b"db", b"gone"]


async def test_pools_settings_are_fenced_too_and_come_first(house):
    await register(house.store, pools=[Pool(name="shop")])
    read = (await house.store.pool_entries())["shop"]
    await register(house.store, pools=[Pool(name="shop", warm_up_ms=1)])
    changes = RegistryChanges(pools=(PoolPut(pool=Pool(name="shop", warm_up_ms=2), old=read),), puts=(Put(endpoint=house.endpoint("e")),))
    answer = await house.store.register(changes)
    assert (answer.ok, answer.stale_pools, answer.unwritten) == (False, {"shop"}, {"e"})
    assert (await house.store.register(RegistryChanges(pool_removals=(PoolRemoval(name="shop", old=read),)))).stale_pools == {"shop"}
    assert (await house.store.register(RegistryChanges(pools=(PoolPut(pool=Pool(name="shop")),)))).stale_pools == {"shop"}
    assert await pools(house.store) == {"shop": Pool(name="shop", warm_up_ms=1)}
    assert await house.store.endpoints() == {}


async def test_what_was_decided_from_other_entries_is_refused_once_those_have_changed(house):
    await house.register(house.endpoint("e"), house.endpoint("f"))

    async def moves(change) -> bool:
        """Whether a newcomer that was decided before this change is refused after it."""
        read = await house.store.registry_revision()
        await change
        newcomer = RegistryChanges(puts=(Put(endpoint=house.endpoint("new"), transitions=(b"new",)),), revision=read)
        answer = await house.store.register(newcomer)
        assert (answer.ok, answer.unwritten) == (not answer.moved, {"new"} if answer.moved else set())
        assert ("new" in await house.store.endpoints()) is answer.ok
        settings = PoolPut(pool=Pool(name="new", warm_up_ms=read))
        assert (await house.store.register(RegistryChanges(pools=(settings,), revision=read))).moved is answer.moved
        await register(house.store, removes=["new"], pool_removes=["new"])
        return answer.moved

    assert not await moves(house.register(house.endpoint("e", weight=2), house.endpoint("g")))
    assert not await moves(house.register(house.endpoint("e", paused=True)))
    assert await moves(house.register(house.endpoint("e", depends_on=("f",))))
    assert await moves(house.register(house.endpoint("child", depends_on=("f",))))
    assert await moves(register(house.store, removes=["g"]))
    assert await moves(register(house.store, pools=[Pool(name="shop")]))
    assert await moves(register(house.store, pool_removes=["shop"]))
    assert b"new" in await events(house)


async def test_a_change_of_many_goes_on_from_what_it_wrote_itself_and_may_be_repeated(house):
    await house.register(house.endpoint("db"))
    read = await house.store.registry_revision()
    puts = tuple(Put(endpoint=house.endpoint(f"e{i}", depends_on=("db",))) for i in range(20))
    changes = RegistryChanges(puts=puts, pools=(PoolPut(pool=Pool(name="shop")),), revision=read)
    answer = await house.store.register(changes)
    assert answer.ok
    assert answer.revision == await house.store.registry_revision() > read
    assert (await house.store.register(RegistryChanges(pools=(PoolPut(pool=Pool(name="db")),), revision=answer.revision))).ok
    repeated = await house.store.register(changes)
    assert (repeated.ok, repeated.revision) == (True, read), "what others changed meanwhile is not taken for read"
    assert not (await house.store.register(RegistryChanges(puts=(Put(endpoint=house.endpoint("new")),), revision=repeated.revision))).ok


@pytest.mark.parametrize("change", ["edit", "pause", "resume", "override", "taken back", "remove"])
async def test_a_decision_in_flight_loses_against_an_operator(house, change):
    await house.register(house.endpoint("e", paused=change == "resume"))
    if change == "taken back":
        await set_override(house.store, house.endpoint("e"), b"o", b"t")
    ver = await house.version("e")
    await house.drain(Queue.REEVALUATE)
    if change in {"edit", "pause", "resume"}:
        await house.register(house.endpoint("e", paused=change == "pause", weight=2))
    elif change == "remove":
        await register(house.store, [], ["e"])
    else:
        await set_override(house.store, house.endpoint("e"), b"" if change == "taken back" else b"o", b"t2")
    assert await house.version("e") > ver
    assert await house.drain(Queue.REEVALUATE) == ["e"], "rules evaluate it at once"
    claimed = (await house.claim()).get("e")
    if claimed and change != "remove":
        assert await house.commit(house.result(claimed, ver=ver)) == [Committed.STALE]
        assert await house.commit(house.result(claimed, ver=await house.version("e"))) == [Committed.OK]


async def test_a_record_keeps_its_body_when_its_version_moves(house):
    claimed = await house.claim_one()
    await house.commit(house.result(claimed, record=b"body"))
    await house.register(house.endpoint("e", weight=2))
    await set_override(house.store, house.endpoint("e", weight=2), b"o", b"t")
    (loaded,) = await house.store.load(["e"])
    assert (loaded.record, loaded.override) == (b"body", b"o")
    assert loaded.ver >= await house.store.now_ms() - 60_000, "a version is at least the time"


async def test_an_override_decided_from_an_older_reading_is_stale(house):
    endpoint = house.endpoint("e")
    await house.register(endpoint)
    await house.store.set_override(endpoint, "", b"drain", b"t1")
    with pytest.raises(Stale):
        await house.store.set_override(endpoint, "", b"open", b"no")
    await house.store.set_override(endpoint, digest(b"drain"), b"open", b"t2")
    with pytest.raises(Stale):
        await house.store.set_override(endpoint, digest(b"drain"), b"", b"no")
    await house.store.set_override(endpoint, digest(b"drain"), b"open", b"no")  # it is so: an answer was lost, and it is asked again
    assert (await house.store.load(["e"]))[0].override == b"open"
    assert await events(house) == await house.store.transitions("e") == [b"t1", b"t2"]


async def test_an_override_goes_with_the_pool_that_it_was_decided_for(house):
    await house.register(house.endpoint("e"))
    await house.register(house.endpoint("e", pool="db"))
    with pytest.raises(Stale):
        await house.store.set_override(house.endpoint("e"), "", b"o", b"no")
    assert await events(house) == []


async def test_an_endpoints_own_log_is_capped_and_tells_what_the_stream_is_spared(house):
    many = tuple(b"t%d" % i for i in range(OWN_LOG_LENGTH_MAX + 10))
    await house.store.register(
        RegistryChanges(puts=(Put(endpoint=house.endpoint("e"), transitions=many),), transitions=(b"one for all",), in_stream=False)
    )
    assert await house.store.transitions("e") == list(many[10:])
    assert await house.store.transitions("ghost") == []
    assert await events(house) == [b"one for all"]


async def test_pools_tell_the_stream(house):
    await house.store.register(RegistryChanges(pools=(PoolPut(pool=Pool(name="shop"), transitions=(b"set",)),)))
    read = (await house.store.pool_entries())["shop"]
    await house.store.register(RegistryChanges(pool_removals=(PoolRemoval(name="shop", old=read, transitions=(b"gone",)),)))
    assert await events(house) == [b"set", b"gone"]


async def test_a_new_pool_counts_as_judged_until_its_first_results_are_due(house):
    now_ms = await house.store.now_ms()
    await house.register(house.endpoint("p", paused=True))
    assert await house.judged("shop") is None
    await house.register(house.endpoint("e", initial_delay_ms=1_000))
    until_ms = await house.judged("shop")
    assert now_ms + 31_000 <= until_ms <= await house.store.now_ms() + 31_000
    await house.register(house.endpoint("q", pool="quick", interval_ms=500))
    assert now_ms + 15_000 <= await house.judged("quick") <= await house.store.now_ms() + 15_000
    if house.store.slots == 1:
        await house.register(house.endpoint("f", initial_delay_ms=600_000))
        assert await house.judged("shop") == until_ms, "a newcomer says nothing of the others"
    await register(house.store, [], ["q"])
    assert await house.judged("quick") is None


async def test_a_resumed_pool_counts_as_judged_again(house):
    await house.register(house.endpoint("e"))
    first_ms = await house.judged("shop")
    await house.register(house.endpoint("e", paused=True))
    await house.passes(20)
    await house.register(house.endpoint("e"))
    assert await house.judged("shop") > first_ms


async def test_a_mark_for_weighing_is_never_taken_away_with_an_older_reading(house):
    await house.register(house.endpoint("e"))
    slot = slot_of("e", house.store.slots)
    (lease,) = await house.store.claim(Queue.DIRTY, slot, 10, 60_000)
    await house.register(house.endpoint("e", weight=2))
    assert not await house.store.finish(Queue.DIRTY, slot, "shop", lease.token_ms, None)
    (lease,) = await house.store.claim(Queue.DIRTY, slot, 10, 60_000)
    await set_override(house.store, house.endpoint("e", weight=2), b"o", b"t")
    assert not await house.store.finish(Queue.DIRTY, slot, "shop", lease.token_ms, None)
    assert await house.dirty() == ["shop"]


GARBAGE = [
    b"garbage",
    b"\xff\xfe",
    b'{"id":"e","url":"http://h/","pool":"shop","weight":"heavy"}',
    b'{"id":"other","url":"http://h/","pool":"shop"}',
    b'{"id":"e","url":"http://h/\\ud800","pool":"shop"}',
    b'{"id":"e","url":"http://h/","pool":"shop","interval_ms":0}',
    b'{"id":"e","url":"http://h/","pool":"shop","weight":-200}',
    b'{"id":"e","url":"http://h/","pool":"shop","retries":-1}',
]


@pytest.mark.parametrize("spec", GARBAGE)
async def test_an_entry_that_cannot_be_read_harms_nobody_else_and_can_be_removed_or_replaced(house, spec):
    await house.register(house.endpoint("e"), house.endpoint("f"))
    await house.spoil("e", spec)
    assert await house.store.endpoints() == {"f": house.endpoint("f")}
    assert await house.store.endpoints(["e", "f"]) == {"f": house.endpoint("f")}
    entries = await house.store.endpoint_entries()
    assert {name: found.value for name, found in entries.items()} == {"e": None, "f": house.endpoint("f")}
    assert entries["e"].why
    assert entries["e"].digest == digest(spec)
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["e", "f"]
    await house.dirty()

    await house.store.register(put(house.endpoint("e", pool="db"), entries["e"]))
    assert (await house.store.endpoints())["e"] == house.endpoint("e", pool="db")
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["f"]
    assert await house.dirty() == ["db", "shop"]

    await house.register(house.endpoint("e"))
    await house.spoil("e", spec)
    await house.dirty()
    assert (await house.store.register(RegistryChanges(removals=(Removal(id="e", old=await entry(house)),)))).ok
    assert await house.store.endpoint_entries(["e"]) == {}
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["f"]
    assert await house.dirty() == ["shop"]
    assert await house.store.forget("e", await house.version("e"), [])


async def test_pools_settings_that_cannot_be_read_harm_nobody_else_and_can_be_written_anew(house):
    await register(house.store, pools=[Pool(name="shop"), Pool(name="db")])
    await house.spoil_pool("shop", b'{"name":"shop","warm_up_ms":"long"}')
    assert await pools(house.store) == {"db": Pool(name="db")}
    read = (await house.store.pool_entries())["shop"]
    assert read.value is None
    assert "warm_up_ms" in read.why
    assert (await house.store.register(RegistryChanges(pools=(PoolPut(pool=Pool(name="shop"), old=read),)))).ok
    assert await pools(house.store) == {"db": Pool(name="db"), "shop": Pool(name="shop")}


@on_servers
async def test_an_own_log_of_another_type_keeps_no_operator_from_acting(house):
    e = house.endpoint("e")
    await house.register(e)
    log = of_endpoint(slot_of("e", house.store.slots), "log", "e")
    await house.store._wire.execute_one("SET", log, "x")
    await set_override(house.store, e, b"drain", b"t1")
    assert await house.store.transitions("e") == [b"t1"]
    await house.store._wire.execute(("DEL", log), ("SET", log, "x"))
    edited = Put(endpoint=house.endpoint("e", interval_ms=20_000), old=await entry(house), transitions=(b"t2",))
    assert (await house.store.register(RegistryChanges(puts=(edited,)))).ok
    assert await house.store.transitions("e") == [b"t2"]
