"""A parent that is registered no more, as a damaged or restored data set may leave it: it hinders nobody, and can be taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from monitor import registry
from monitor.cli.look import explain_lines
from monitor.clock import FakeClock
from monitor.config.located import load_yaml
from monitor.core.errors import ConfigError
from monitor.query.status import read_explanation
from monitor.store.memory.store import MemoryStore
from tests.registering import register


def orphaned(tale: Callable[[MemoryStore], Awaitable[None]]) -> None:
    """A registry whose endpoint `child` depends on `db`, which is gone."""

    async def run() -> None:
        store = MemoryStore(FakeClock())
        await store.open(create=True)
        await registry.add(store, {"id": "db", "url": "tcp://h:1"}, actor="ann")
        await registry.add(store, {"id": "child", "url": "http://h/", "depends_on": ["db"]}, actor="ann")
        await register(store, removes=["db"])
        await tale(store)

    asyncio.run(run())


def test_an_edit_of_something_else_is_not_refused() -> None:
    async def tale(store: MemoryStore) -> None:
        change = await registry.edit(store, "child", {"interval": "30s"}, actor="ann")
        assert change.fields == {"interval": ("10s", "30s")}
        with pytest.raises(ConfigError, match="there is no endpoint of this id"):
            await registry.edit(store, "child", {"depends_on": ["db", "other"]}, actor="ann")

    orphaned(tale)


def test_what_is_exported_can_be_applied() -> None:
    async def tale(store: MemoryStore) -> None:
        text = registry.export_manifest(await registry.read_known(store))
        for prune in (False, True):
            assert (await registry.apply(store, [load_yaml(text, "export")], actor="ann", prune=prune)).empty

    orphaned(tale)


def test_explain_says_so_until_the_parent_is_taken_out() -> None:
    async def tale(store: MemoryStore) -> None:
        async def said() -> str:
            return "\n".join(explain_lines(await read_explanation(store, "child", await store.now_ms()), await store.now_ms()))

        assert "depends on: db (not registered, or cannot be read" in await said()
        await registry.edit(store, "child", {"depends_on": []}, actor="ann")
        assert "depends on:" not in await said()

    orphaned(tale)
