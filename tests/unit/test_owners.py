"""Whose endpoints these are: manifests with owners, what pruning removes, what it leaves, and what passes from one to another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from monitor import registry
from monitor.clock import FakeClock
from monitor.config.located import load_yaml
from monitor.core.errors import ConfigError
from monitor.core.record import Transition
from monitor.registry import Changes
from monitor.store.keys import EVENTS_LENGTH_MAX
from monitor.store.memory.store import MemoryStore
from tests.registering import pools

A = "owner: team-a\npools: {shop: {warm_up: 1s}}\nendpoints: [{id: a1, url: 'http://h/1', pool: shop}, {id: a2, url: 'http://h/2'}]"
B = "owner: team-b\nendpoints: [{id: b1, url: 'http://h/3'}]"


class Desk:
    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.store = MemoryStore(FakeClock())
        self.runner.run(self.store.open(create=True))

    def do(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self.runner.run(awaited())

    def apply(self, *texts: str, **options: Any) -> Changes:
        roots = [load_yaml(text, f"{number}.yml") for number, text in enumerate(texts)]
        changes = self.do(registry.apply(self.store, roots, actor="ann", **options))
        assert isinstance(changes, Changes)
        return changes

    def owners(self) -> dict[str, str]:
        return {name: endpoint.owner for name, endpoint in self.do(self.store.endpoints()).items()}

    def events(self) -> list[Transition]:
        return [msgspec.json.decode(data, type=Transition) for _, data in self.do(self.store.events(EVENTS_LENGTH_MAX))]


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.runner.close()


def test_the_option_beats_the_file_and_an_entrys_own_owner_beats_both(desk: Desk) -> None:
    desk.apply(A, B, "endpoints: [{id: m, url: 'http://h/4'}, {id: c, url: 'http://h/5', owner: team-c}]")
    assert desk.owners() == {"a1": "team-a", "a2": "team-a", "b1": "team-b", "m": "manual", "c": "team-c"}
    assert desk.do(pools(desk.store))["shop"].owner == "team-a"
    desk.apply(A, "endpoints: [{id: c, url: 'http://h/5', owner: team-c}]", owner="ops")
    assert desk.owners() == {"a1": "ops", "a2": "ops", "b1": "team-b", "m": "manual", "c": "team-c"}


def test_pruning_removes_what_this_owner_registered_and_says_what_it_left(desk: Desk) -> None:
    desk.apply(A, B, "pools: {db: {warm_up: 2s}}\nendpoints: [{id: m, url: 'http://h/4'}]")
    changes = desk.apply("owner: team-a\nendpoints: [{id: a2, url: 'http://h/2'}]", prune=True)
    assert (changes.removed, changes.pools_removed, changes.owners, changes.left) == (("a1",), ("shop",), ("team-a",), 3)
    assert set(desk.owners()) == {"a2", "b1", "m"}
    assert set(desk.do(pools(desk.store))) == {"db"}
    assert desk.apply("endpoints: []", prune=True, dry_run=True).removed == ("m",)
    assert desk.apply(B, prune=True).empty


def test_what_another_registered_passes_to_who_applies_it(desk: Desk) -> None:
    desk.apply("endpoints: [{id: a2, url: 'http://h/2'}]\npools: {shop: {warm_up: 1s}}")
    changes = desk.apply(A)
    assert [(change.id, change.fields) for change in changes.changed] == [("a2", {"owner": ("manual", "team-a")})]
    assert changes.pool_owners == {"shop": ("manual", "team-a")}
    taken = [event for event in desk.events() if (event.old, event.new) == ("manual", "team-a")]
    assert [(event.endpoint, event.pool, event.kind, event.actor) for event in taken] == [
        ("", "shop", "registry", "ann"),
        ("a2", "a2", "registry", "ann"),
    ]
    assert desk.apply("owner: nobody\nendpoints: []", prune=True).empty


def test_pruning_does_not_take_away_what_others_depend_on(desk: Desk) -> None:
    desk.apply(A, "owner: team-b\nendpoints: [{id: b1, url: 'http://h/3', depends_on: [a1]}]")
    with pytest.raises(ConfigError, match="b1 of team-b depends on it"):
        desk.apply("owner: team-a\nendpoints: []", prune=True)
    assert set(desk.owners()) == {"a1", "a2", "b1"}
    with pytest.raises(ConfigError, match="there is no endpoint of this id"):
        desk.apply("owner: team-a\nendpoints: [{id: a2, url: 'http://h/2', depends_on: [a1]}]", prune=True)


def test_an_export_keeps_every_owner(desk: Desk) -> None:
    desk.apply(A, B)
    text = registry.export_manifest(desk.do(registry.read_known(desk.store)))
    other = Desk()
    other.apply(text)
    assert other.owners() == desk.owners()
    assert other.do(pools(other.store)) == desk.do(pools(desk.store))
    other.runner.close()
    desk.apply("owner: team-b\nendpoints: []", prune=True)
    text = registry.export_manifest(desk.do(registry.read_known(desk.store)))
    assert text.startswith("owner: team-a\n")
    assert "team-a" not in text.removeprefix("owner: team-a\n")


def test_an_owner_that_is_no_name_is_refused_where_it_is_written(desk: Desk) -> None:
    for text, where in (("owner: a b\nendpoints: []", r"0\.yml:1"), ("endpoints:\n- {url: 'http://h', owner: ''}", r"0\.yml:2")):
        with pytest.raises(ConfigError, match=f"{where}: owner"):
            desk.apply(text)
    with pytest.raises(ConfigError, match="--owner: owner"):
        desk.apply(A, owner="a b")
    with pytest.raises(ConfigError, match=r"0\.yml:1: owner"):
        desk.apply("defaults: {owner: x}")


def test_every_change_is_told_with_its_fields_its_actor_and_its_reason(desk: Desk) -> None:
    desk.apply(A, reason="first go")
    desk.do(registry.edit(desk.store, "a1", {"interval": "30s", "paused": "true", "owner": "ops"}, actor="bob", reason="quieter"))
    desk.do(registry.remove(desk.store, ["a2"], actor="bob"))
    told = [(event.endpoint or event.pool, event.old, event.new, event.actor, event.reason) for event in desk.events()]
    assert told == [
        ("shop", "ABSENT", "REGISTERED", "ann", "first go"),
        ("a1", "ABSENT", "REGISTERED", "ann", "first go"),
        ("a2", "ABSENT", "REGISTERED", "ann", "first go"),
        ("a1", "REGISTERED", "CHANGED", "bob", "quieter: interval 10s -> 30s"),
        ("a1", "ACTIVE", "PAUSED", "bob", "quieter"),
        ("a1", "team-a", "ops", "bob", "quieter: the owner changed"),
        ("a2", "REGISTERED", "REMOVED", "bob", "removed"),
    ]
    assert {event.kind for event in desk.events()} == {"registry"}


def test_a_change_of_a_pool_is_told_with_its_fields_and_without_its_secrets(desk: Desk) -> None:
    desk.apply("pools: {shop: {warm_up: 1s, headers: {X-Key: hunter2}}}\nendpoints: []")
    desk.apply("pools: {shop: {warm_up: 2s, interval: 30s, headers: {X-Key: hunter3}}}\nendpoints: []", reason="slower")
    told = desk.events()[-1]
    assert (told.pool, told.new) == ("shop", "CHANGED")
    assert "slower: " in told.reason
    assert "warm_up 1s -> 2s" in told.reason
    assert "interval - -> 30s" in told.reason
    assert "hunter" not in told.reason


def test_who_moves_an_endpoint_to_another_pool_changes_nothing_else(desk: Desk) -> None:
    old = "{interval: 1m, labels: {team: shop}, expect_body: ready, timeout: 2s}"
    new = "{interval: 20s, labels: {team: cart, tier: 1}, retries: 0, expect_status: '200', expect_body: fine}"
    desk.apply(f"pools: {{a: {old}, b: {new}}}\nendpoints: [{{id: e, url: 'http://h/1', pool: a}}]")
    change = desk.do(registry.edit(desk.store, "e", {"pool": "b"}, actor="bob"))
    assert change.fields == {"pool": ("a", "b")}
    change = desk.do(registry.edit(desk.store, "e", {"pool": "a", "labels": {"tier": "2"}, "retries": "3"}, actor="bob"))
    assert change.fields.keys() == {"pool", "labels", "retries"}


def test_a_secret_does_not_reach_an_event(desk: Desk) -> None:
    desk.apply(A)
    desk.do(registry.edit(desk.store, "a1", {"headers": {"X-Key": "hunter2"}}, actor="bob"))
    assert desk.events()[-1].new == "CHANGED"
    assert "hunter2" not in desk.events()[-1].reason


def test_a_large_application_tells_the_stream_once_and_each_endpoint_its_own(desk: Desk) -> None:
    entries = [f"{{id: e{n}, url: 'http://h/{n}'}}" for n in range(150)]
    changes = desk.apply(f"pools: {{p: {{warm_up: 1s}}}}\nendpoints: [{', '.join(entries)}]", reason="a move")
    counts = "150 created, 0 changed, 0 removed, 0 unchanged; pools: 1 written, 0 removed"
    assert changes.counts == counts
    pool, summary = desk.events()
    assert (pool.pool, pool.new, pool.actor) == ("p", "REGISTERED", "ann")
    assert (summary.endpoint, summary.pool, summary.new, summary.actor) == ("", "", "APPLIED", "ann")
    assert summary.reason == f"a move: {counts}"
    own = [msgspec.json.decode(data, type=Transition) for data in desk.do(desk.store.transitions("e7"))]
    assert [(one.new, one.actor) for one in own] == [("REGISTERED", "ann")]
    desk.apply(f"endpoints: [{', '.join(entries[:50])}]", prune=True)
    told = desk.events()[2:]
    assert sorted(event.endpoint for event in told if event.new == "REMOVED" and event.endpoint) == sorted(f"e{n}" for n in range(50, 150))
    assert [event.pool for event in told if event.new == "REMOVED" and not event.endpoint] == ["p"]
    assert told[-1].reason == "0 created, 0 changed, 100 removed, 50 unchanged; pools: 0 written, 1 removed"
