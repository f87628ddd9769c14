"""Another policy by `apply` or `edit`: what is known of the endpoint stays, and what was said is written back by an export."""

from __future__ import annotations

from monitor import registry
from monitor.config.manifest import load_sources
from monitor.store.port import Committed, Write
from tests.contract.conftest import House
from tests.registering import set_override

SHOP = """\
pools: {{shop: {{{pool}}}}}
endpoints: [{{id: e, url: 'http://h/', pool: shop, {endpoint}}}]
"""


async def apply(house: House, pool: str = "", endpoint: str = "") -> registry.Changes:
    return await registry.apply(house.store, load_sources([("shop.yml", SHOP.format(pool=pool, endpoint=endpoint))]), actor="ann")


async def known(house: House) -> tuple:
    (loaded,) = await house.store.load(["e"])
    series = [await house.store.samples("e", name) for name in ("ring", "min", "hour", "day")]
    return loaded.record, loaded.memory, loaded.override, series, await house.score("e")


async def with_a_past(house: House) -> tuple:
    await apply(house)
    claimed = (await house.claim())["e"]
    writes = tuple(Write(name, 0, name.encode()) for name in ("ring", "min", "hour", "day"))
    assert await house.commit(house.result(claimed, record=b"record", memory=b"alerts", writes=writes)) == [Committed.OK]
    await set_override(house.store, house.endpoint("e"), b"word", b"said")
    return await known(house)


async def test_another_policy_of_the_pool_leaves_what_is_known(house: House) -> None:
    past = await with_a_past(house)
    changes = await apply(house, "active: {kind: hystrix, sleep_window_ms: 3s}, passive: {kind: none}")
    assert (changes.pools_changed, changes.unchanged) == (("shop",), 1)
    assert await known(house) == past


async def test_another_policy_of_the_endpoint_leaves_what_is_known_and_is_told(house: House) -> None:
    past = await with_a_past(house)
    changes = await apply(house, endpoint="passive: {kind: envoy, interval_ms: 3s}")
    assert [change.fields for change in changes.changed] == [{"passive": (None, {"kind": "envoy", "interval_ms": "3s"})}]
    assert await known(house) == past
    told = (await house.store.transitions("e"))[-1]
    assert b"passive - -> kind=envoy interval_ms=3s" in told


async def test_an_export_applied_changes_nothing(house: House) -> None:
    await apply(
        house,
        "active: {kind: consecutive, failure_threshold: 5, cooldown_ms: 7s}, passive: {kind: cusum, false_ejections_per_day: 0.25}",
        "active: {kind: consecutive, failure_threshold: 6, cooldown_ms: 8s}, passive: {kind: resilience4j, failure_rate_threshold: 12.5}",
    )
    exported = registry.export_manifest(await registry.read_known(house.store))
    changes = await registry.apply(house.store, load_sources([("again.yml", exported)]), actor="ann")
    assert (changes.empty, changes.unchanged) == (True, 1)


async def test_an_edit_takes_a_policy_on_one_line_and_gives_it_back(house: House) -> None:
    past = await with_a_past(house)

    async def edit(**entry: str | None) -> dict:
        return dict((await registry.edit(house.store, "e", entry, actor="ann")).fields)

    assert await edit(active="consecutive,failure_threshold=5,cooldown_ms=9s") == {
        "failure_threshold": (3, 5),
        "active": (None, {"kind": "consecutive", "cooldown_ms": "9s"}),
    }
    assert await edit(failure_threshold="4") == {"failure_threshold": (5, 4)}
    assert await edit(active="consecutive,failure_threshold=6") == {
        "failure_threshold": (4, 6),
        "active": ({"kind": "consecutive", "cooldown_ms": "9s"}, {"kind": "consecutive"}),
    }
    assert await edit(active=None, passive="none") == {"active": ({"kind": "consecutive"}, None), "passive": (None, {"kind": "none"})}
    assert await known(house) == past


async def test_a_policy_of_another_release_is_quarantined_with_its_entry_alone(house: House) -> None:
    await apply(house)
    await house.spoil("e", b'{"id":"e","url":"http://h/","pool":"shop","passive":{"kind":"newer","settings":{"x":1}}}')
    await house.spoil_pool("shop", b'{"name":"shop","active":{"kind":"hystrix","settings":{"rolling_windw_ms":1}}}')
    found = await registry.read_known(house.store)
    assert "there is no policy 'newer' in this release" in found.endpoints["e"].why
    assert "rolling_windw_ms: there is no such setting" in found.pools["shop"].why
    await apply(house)
    assert (await registry.read_known(house.store)).unreadable() == []


async def test_an_older_pool_with_its_key_policy_is_read(house: House) -> None:
    await house.spoil_pool("shop", b'{"name":"shop","policy":"consecutive","open_ms":1000}')
    pool = (await registry.read_known(house.store)).registered.pools["shop"]
    assert pool.active is not None
    assert (pool.active.kind, pool.open_ms) == ("consecutive", 1_000)
