"""Two operators at once: what one does between the other's reading and writing is never undone, and each is told the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from monitor import registry
from monitor.clock import FakeClock
from monitor.config.located import load_yaml
from monitor.core.endpoint import Endpoint
from monitor.core.errors import ConfigError
from monitor.core.record import BreakerState, Override, OverrideRecord, Record, Transition, encode_record
from monitor.registry.apply import WRITE_BATCH
from monitor.registry.journal import MOVED_MAX
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Store
from tests.registering import pools

Act = Callable[[Store], Awaitable[Any]]
MANIFEST = "owner: team-a\npools: {shop: {warm_up: 1s}}\nendpoints:\n  - {id: a, url: 'http://h/a', pool: shop}\n"


class Meanwhile:
    """A store in which others act just before each write: the acts in turn, each before one write."""

    def __init__(self, inner: MemoryStore, acts: Sequence[Act]) -> None:
        self._inner = inner
        self._acts = list(acts)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in {"register", "set_override", "rename"}:
            return method

        async def call(*args: Any) -> Any:
            if self._acts:
                await self._acts.pop(0)(self._inner)
            return await method(*args)

        return call


class Office:
    """A registry with endpoint `a`, and two operators."""

    def __init__(self) -> None:
        self.store = MemoryStore(FakeClock())

    async def begin(self) -> Office:
        await self.store.open(create=True)
        await registry.add(self.store, {"id": "a", "url": "http://h/a", "pool": "shop"}, actor="ann")
        return self

    def meanwhile(self, *acts: Act) -> Any:
        return Meanwhile(self.store, acts)

    async def a(self) -> Endpoint:
        return (await self.store.endpoints())["a"]

    async def word(self) -> str:
        (loaded,) = await self.store.load(["a"])
        return msgspec.json.decode(loaded.override, type=OverrideRecord).override if loaded.override else ""

    async def told(self, kind: str) -> list[tuple[str, str, str]]:
        transitions = [msgspec.json.decode(data, type=Transition) for data in await self.store.transitions("a")]
        return [(one.old, one.new, one.actor) for one in transitions if one.kind == kind]


def story(tale: Callable[[Office], Awaitable[None]]) -> None:
    async def run() -> None:
        await tale(await Office().begin())

    asyncio.run(run())


def pause(store: Store) -> Awaitable[Any]:
    return registry.set_paused(store, ["a"], paused=True, actor="bob")


async def nothing(_store: Store) -> None:
    """Nobody does anything."""


def edit(**entry: Any) -> Act:
    return lambda store: registry.edit(store, "a", entry, actor="bob")


def say(word: Override | None) -> Act:
    return lambda store: registry.set_override(store, "a", word, "bob's reason", actor="bob")


def test_an_edit_keeps_a_pause_made_meanwhile() -> None:
    async def tale(office: Office) -> None:
        change = await registry.edit(office.meanwhile(pause), "a", {"interval": "30s"}, actor="ann")
        assert change.fields == {"interval": ("10s", "30s")}
        assert ((await office.a()).interval_ms, (await office.a()).paused) == (30_000, True)
        assert await office.told("registry") == [
            ("ABSENT", "REGISTERED", "ann"),
            ("ACTIVE", "PAUSED", "bob"),
            ("REGISTERED", "CHANGED", "ann"),
        ]

    story(tale)


def test_a_pause_keeps_an_edit_made_meanwhile() -> None:
    async def tale(office: Office) -> None:
        store = office.meanwhile(edit(interval="30s", labels={"team": "b"}))
        assert await registry.set_paused(store, ["a"], paused=True, actor="ann") == ("a",)
        found = await office.a()
        assert (found.interval_ms, found.labels, found.paused) == (30_000, {"team": "b"}, True)

    story(tale)


def test_two_edits_of_different_settings_both_stand_and_of_one_the_later() -> None:
    async def tale(office: Office) -> None:
        await registry.edit(office.meanwhile(edit(interval="30s", weight="7")), "a", {"interval": "20s", "retries": "1"}, actor="ann")
        found = await office.a()
        assert (found.interval_ms, found.weight, found.retries) == (20_000, 7, 1)

    story(tale)


def test_an_application_keeps_a_pause_made_meanwhile_and_counts_once() -> None:
    async def tale(office: Office) -> None:
        changes = await registry.apply(office.meanwhile(pause), [load_yaml(MANIFEST, "f")], actor="ann")
        found = await office.a()
        assert (found.paused, found.owner) == (True, "team-a")
        assert changes.counts == "0 created, 1 changed, 0 removed, 0 unchanged; pools: 1 written, 0 removed"
        assert changes.pools_changed == ("shop",)

    story(tale)


def test_an_application_whose_pool_was_changed_meanwhile_is_decided_afresh() -> None:
    async def tale(office: Office) -> None:
        def other(store: Store) -> Awaitable[Any]:
            return registry.apply(store, [load_yaml("pools: {shop: {warm_up: 9s}}", "g")], actor="bob")

        changes = await registry.apply(office.meanwhile(other), [load_yaml(MANIFEST, "f")], actor="ann")
        pool = (await pools(office.store))["shop"]
        assert (pool.warm_up_ms, pool.owner) == (1_000, "team-a")
        assert changes.pool_owners == {"shop": ("manual", "team-a")}

    story(tale)


def test_a_removal_reads_anew_who_depends_on_it() -> None:
    async def tale(office: Office) -> None:
        def child(store: Store) -> Awaitable[Any]:
            return registry.add(store, {"id": "child", "url": "http://h/c", "depends_on": ["a"]}, actor="bob")

        with pytest.raises(ConfigError, match="child depends on it"):
            await registry.remove(office.meanwhile(nothing, child), ["a"], actor="ann")
        assert await office.a()

    story(tale)


def test_a_newcomer_reads_anew_whether_its_parent_is_there() -> None:
    async def tale(office: Office) -> None:
        def gone(store: Store) -> Awaitable[Any]:
            return registry.remove(store, ["a"], actor="bob")

        with pytest.raises(ConfigError, match="there is no endpoint of this id"):
            await registry.add(office.meanwhile(gone), {"id": "child", "url": "http://h/c", "depends_on": ["a"]}, actor="ann")
        assert await office.store.endpoints() == {}

    story(tale)


def test_two_edits_do_not_make_a_circle_together() -> None:
    async def tale(office: Office) -> None:
        await registry.add(office.store, {"id": "b", "url": "http://h/b"}, actor="ann")
        with pytest.raises(ConfigError, match="in a circle"):
            await registry.edit(office.meanwhile(edit(depends_on=["b"])), "b", {"depends_on": ["a"]}, actor="ann")

    story(tale)


def test_a_newcomer_takes_its_pools_defaults_as_they_are_when_it_is_written() -> None:
    async def tale(office: Office) -> None:
        def thresholds(number: int) -> Act:
            document = load_yaml(f"pools: {{shop: {{failure_threshold: {number}}}}}", "g")
            return lambda store: registry.apply(store, [document], actor="bob")

        await thresholds(3)(office.store)
        added = await registry.add(office.meanwhile(thresholds(7)), {"id": "p2", "url": "http://h/2", "pool": "shop"}, actor="ann")
        assert added.failure_threshold == (await office.store.endpoints())["p2"].failure_threshold == 7

    story(tale)


def test_an_application_whose_parent_is_removed_between_two_of_its_writes_is_decided_afresh() -> None:
    async def tale(office: Office) -> None:
        def gone(store: Store) -> Awaitable[Any]:
            return registry.remove(store, ["a"], actor="bob")

        document = load_yaml("pools: {p: {}}\nendpoints: [{id: child, url: 'http://h/c', depends_on: [a]}]", "f")
        with pytest.raises(ConfigError, match="there is no endpoint of this id"):
            await registry.apply(office.meanwhile(nothing, gone), [document], actor="ann")
        assert await office.store.endpoints() == {}

    story(tale)


def test_an_application_that_gets_on_is_not_ended_by_others_however_often_they_come_between() -> None:
    async def tale(office: Office) -> None:
        endpoints = [{"id": f"e{number}", "url": f"http://h/{number}", "depends_on": ["a"]} for number in range(WRITE_BATCH * 8)]
        document = load_yaml(json.dumps({"endpoints": endpoints}), "f")

        def links(number: int) -> Act:
            return lambda store: registry.add(store, {"id": f"x{number}", "url": "http://h/x", "depends_on": ["a"]}, actor="bob")

        turns = [act for number in range(8) for act in (nothing, nothing, links(number))]
        changes = await registry.apply(office.meanwhile(*turns), [document], actor="ann")
        assert len(changes.created) == len(endpoints)

    story(tale)


def test_who_reads_what_others_keep_changing_outlasts_a_long_application_and_is_told_in_the_end() -> None:
    async def tale(office: Office) -> None:
        def links(number: int) -> Act:
            return lambda store: registry.add(store, {"id": f"x{number}", "url": "http://h/x", "depends_on": ["a"]}, actor="bob")

        with pytest.raises(ConfigError, match="others keep changing pools, or which endpoints depend on which"):
            await registry.add(office.meanwhile(*map(links, range(MOVED_MAX))), {"id": "child", "url": "http://h/c"}, actor="ann")
        few = [links(number) for number in range(MOVED_MAX, 2 * MOVED_MAX - 1)]
        await registry.add(office.meanwhile(*few), {"id": "child", "url": "http://h/c"}, actor="ann")

    story(tale)


def test_who_adds_what_another_has_just_added_is_told() -> None:
    async def tale(office: Office) -> None:
        entry = {"id": "new", "url": "http://h/n"}

        def other(store: Store) -> Awaitable[Any]:
            return registry.add(store, {**entry, "interval": "30s"}, actor="bob")

        with pytest.raises(ConfigError, match="registered already"):
            await registry.add(office.meanwhile(other), entry, actor="ann")
        assert (await office.store.endpoints())["new"].interval_ms == 30_000

    story(tale)


def test_an_edit_of_what_was_removed_meanwhile_brings_it_not_back() -> None:
    async def tale(office: Office) -> None:
        def gone(store: Store) -> Awaitable[Any]:
            return registry.remove(store, ["a"], actor="bob")

        with pytest.raises(ConfigError, match="no endpoint of this id"):
            await registry.edit(office.meanwhile(gone), "a", {"interval": "30s"}, actor="ann")
        assert await office.store.endpoints() == {}

    story(tale)


def test_who_loses_every_round_is_told_what_changed_and_by_whom() -> None:
    async def tale(office: Office) -> None:
        others = [edit(weight=str(weight)) for weight in range(1, 20)]
        with pytest.raises(ConfigError, match=r"bob keeps changing it; last registry REGISTERED -> CHANGED \(weight 4 -> 5\)"):
            await registry.edit(office.meanwhile(*others), "a", {"interval": "30s"}, actor="ann")
        assert (await office.a()).interval_ms == 10_000
        with pytest.raises(ConfigError, match="bob keeps changing it"):
            await registry.apply(
                office.meanwhile(*[edit(weight=str(weight)) for weight in range(50, 90)]), [load_yaml(MANIFEST, "f")], actor="ann"
            )

    story(tale)


# Overrides ------------------------------------------------------------------------------------------------------------
def test_undrain_does_not_take_back_another_word_said_meanwhile() -> None:
    async def tale(office: Office) -> None:
        await registry.set_override(office.store, "a", Override.DRAIN, "kernel update", actor="ann")
        with pytest.raises(ConfigError, match="a is not under DRAIN"):
            await registry.set_override(office.meanwhile(say(Override.FORCED_OPEN)), "a", None, "done", actor="ann", only=Override.DRAIN)
        assert await office.word() == "FORCED_OPEN"

    story(tale)


def test_the_later_word_stands_and_names_the_one_it_replaced() -> None:
    async def tale(office: Office) -> None:
        store = office.meanwhile(say(Override.FORCED_CLOSED))
        transition = await registry.set_override(store, "a", Override.DRAIN, "kernel update", actor="ann")
        assert transition is not None
        assert (transition.old, transition.new, transition.actor) == ("FORCED_CLOSED", "DRAIN", "ann")
        assert await office.word() == "DRAIN"
        assert await office.told("override") == [("AUTO", "FORCED_CLOSED", "bob"), ("FORCED_CLOSED", "DRAIN", "ann")]

    story(tale)


def test_the_same_word_said_meanwhile_is_not_said_twice() -> None:
    async def tale(office: Office) -> None:
        store = office.meanwhile(say(Override.DRAIN))
        assert await registry.set_override(store, "a", Override.DRAIN, "kernel update", actor="ann") is None
        assert await office.told("override") == [("AUTO", "DRAIN", "bob")]

    story(tale)


def test_a_word_over_an_endpoint_that_moved_to_another_pool_says_so_of_the_new_one() -> None:
    async def tale(office: Office) -> None:
        transition = await registry.set_override(office.meanwhile(edit(pool="other")), "a", Override.DRAIN, "why", actor="ann")
        assert transition is not None
        assert transition.pool == "other"

    story(tale)


@pytest.mark.parametrize("held", [b"garbage", b'{"override":"FROM_A_NEWER_RELEASE","reason":"r","at_ms":1}'])
def test_an_override_that_cannot_be_read_is_replaced_or_taken_back_but_not_by_undrain(held: bytes) -> None:
    async def tale(office: Office) -> None:
        office.store._home("a")[1].overrides["a"] = held
        with pytest.raises(ConfigError, match="not under DRAIN"):
            await registry.set_override(office.store, "a", None, "done", actor="ann", only=Override.DRAIN)
        transition = await registry.set_override(office.store, "a", None, "cleared", actor="ann")
        assert transition is not None
        assert (transition.old, transition.new) == ("UNREADABLE", "AUTO")
        assert await office.word() == ""
        office.store._home("a")[1].overrides["a"] = held
        transition = await registry.set_override(office.store, "a", Override.DRAIN, "anew", actor="ann")
        assert transition is not None
        assert (transition.old, await office.word()) == ("UNREADABLE", "DRAIN")

    story(tale)


@pytest.mark.parametrize("actor", ["", " ", "a" * 65, "new\nline"])
def test_nobody_acts_without_a_name(actor: str) -> None:
    async def tale(office: Office) -> None:
        with pytest.raises(ConfigError, match="--by"):
            await registry.set_paused(office.store, ["a"], paused=True, actor=actor)
        with pytest.raises(ConfigError, match="--by"):
            await registry.set_override(office.store, "a", Override.DRAIN, "why", actor=actor)
        assert not (await office.a()).paused

    story(tale)


@pytest.mark.parametrize("held", [b"", b"{"], ids=["nothing", "what cannot be read"])
def test_an_operators_word_tells_the_generation_of_the_breaker_that_it_was_said_of(held: bytes) -> None:
    async def tell() -> None:
        office = await Office().begin()
        slot = office.store._slots[0]
        slot.records["a"] = (7, encode_record(Record(breaker=BreakerState(gen=3))))
        slot.overrides |= {"a": held} if held else {}
        said = await registry.set_override(office.store, "a", Override.DRAIN, "r", actor="ann")
        assert said is not None
        assert said.gen == 3

    asyncio.run(tell())


def test_a_rename_takes_along_what_was_changed_meanwhile() -> None:
    async def tale(office: Office) -> None:
        others = office.meanwhile(edit(interval="30s"), say(Override.DRAIN))
        assert await registry.rename(others, "a", "b", actor="ann", reason="one service") == ()
        found = await office.store.endpoints()
        assert (list(found), found["b"].interval_ms) == (["b"], 30_000)
        (loaded,) = await office.store.load(["b"])
        assert msgspec.json.decode(loaded.override, type=OverrideRecord).override is Override.DRAIN
        assert (await office.told("registry"))[-1] == ("REGISTERED", "RENAMED", "ann")

    story(tale)


def test_a_child_that_came_meanwhile_follows_too() -> None:
    async def tale(office: Office) -> None:
        async def depend(store: Store) -> None:
            await registry.add(store, {"id": "child", "url": "http://h/c", "depends_on": "a"}, actor="bob")

        assert await registry.rename(office.meanwhile(depend), "a", "b", actor="ann") == ("child",)
        assert (await office.store.endpoints())["child"].depends_on == ("b",)

    story(tale)


def test_of_two_who_rename_one_is_refused() -> None:
    async def tale(office: Office) -> None:
        async def first(store: Store) -> None:
            await registry.rename(store, "a", "b", actor="bob")

        with pytest.raises(ConfigError, match="there is no endpoint of this id"):
            await registry.rename(office.meanwhile(first), "a", "c", actor="ann")
        assert list(await office.store.endpoints()) == ["b"]

    story(tale)
