"""What people are shown of an endpoint is what consumers see."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.errors import ConfigError
from monitor.core.record import Override
from monitor.pool.balancer import OUT
from monitor.query.status import read_explanation, read_pools
from monitor.registry import read_members, set_override
from monitor.store.port import PoolLoad
from tests.unit.publishing.house import IDS, House, story

DAY_MS = 86_400_000


@story
async def test_status_shows_the_verdict_that_is_published(house: House) -> None:
    """Only whoever decides knows whether results could have come; who looks does not decide it again."""
    await house.publisher.publish("shop")
    house.clock.advance(DAY_MS)
    (pool,) = await read_pools(house.store)
    snapshot = await house.snapshot()
    assert snapshot is not None
    assert [one.verdict for one in pool.members] == [one.verdict for one in snapshot.endpoints] == ["HEALTHY"] * len(IDS)


@story
async def test_an_override_that_cannot_be_read_is_shown_as_it_is_published(house: House) -> None:
    await set_override(house.store, IDS[0], Override.DRAIN, "a repair", actor="ann")
    await house.publisher.publish("shop")
    house.store._slots[0].overrides[IDS[0]] = b"garbage"
    (pool,) = await read_pools(house.store)
    (drained,) = [one for one in pool.members if one.override is not None]
    assert (drained.endpoint.id, drained.override and drained.override.override, drained.unreadable) == (IDS[0], Override.DRAIN, True)
    explained = await read_explanation(house.store, IDS[0], house.clock.now_ms())
    assert explained.factors is not None
    assert explained.factors.tier == OUT


@story
async def test_a_page_of_one_pool_reads_nothing_of_the_others(house: House) -> None:
    async def everything(*_: object) -> None:
        raise AssertionError("it reads what others have")

    for name in ("pool_entries", "pool_sizes", "published_pools"):
        setattr(house.store, name, everything)
    entries = house.store.endpoint_entries

    async def some(ids: object = None) -> object:
        assert ids is not None, "it reads every endpoint"
        return await entries(ids)  # type: ignore[arg-type]

    house.store.endpoint_entries = some  # type: ignore[assignment,method-assign]
    (pool,) = await read_pools(house.store, ["shop"])
    assert len(pool.members) == len(IDS)
    assert (await read_explanation(house.store, IDS[0], house.clock.now_ms())).pool.name == "shop"
    assert sorted((await read_members(house.store, "shop")).registered.endpoints) == sorted(IDS)


@story
async def test_an_endpoint_that_leaves_its_pool_while_one_looks_is_no_error_of_ours(house: House) -> None:
    load_pool = house.store.load_pool

    async def without(pool: str) -> PoolLoad:
        load = await load_pool(pool)
        return msgspec.structs.replace(load, members=tuple(one for one in load.members if one.id != IDS[0]))

    house.store.load_pool = without  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="no member of its pool at this moment"):
        await read_explanation(house.store, IDS[0], house.clock.now_ms())
