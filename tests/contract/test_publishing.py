"""Publishing: a version never goes back, a removed pool says so before it goes."""

from __future__ import annotations

from monitor.store import keys
from monitor.store.port import Publication


def version(epoch: int, ver: int, pool: str = "shop") -> Publication:
    return Publication(pool=pool, epoch=epoch, ver=ver, snapshot=b"s%d-%d" % (epoch, ver), delta=b"d%d-%d" % (epoch, ver))


async def test_only_a_larger_version_is_published(house):
    assert await house.store.publish(version(5, 1))
    assert await house.store.publish(version(5, 2))
    for epoch, ver in ((5, 2), (5, 1), (4, 99)):
        assert not await house.store.publish(version(epoch, ver))
    assert (await house.store.load_pool("shop")).snapshot == b"s5-2"
    assert await house.store.publish(version(6, 1))
    assert await house.store.snapshots(["shop", "ghost"]) == [b"s6-1", b""]
    assert await house.store.snapshots([]) == []


async def test_a_removed_pool_keeps_its_tombstone_and_its_version_for_a_while(house):
    await house.store.publish(version(5, 7))
    await house.store.unpublish("shop")
    assert (await house.store.load_pool("shop")).snapshot == b"s5-7"
    assert not await house.store.publish(version(5, 7))
    assert await house.store.publish(version(5, 8))
    if not house.url:
        await house.store.unpublish("shop")
        await house.passes(180_000)
        assert (await house.store.load_pool("shop")).snapshot == b""


async def test_consumers_find_the_contracts_keys(house):
    if not house.url:
        return
    wire = house.store._wire
    await house.store.publish(version(5, 1))
    await house.store.publish(version(5, 2))
    assert await wire.execute_one("GET", "wk:v1:{shop}:snap") == b"s5-2"
    assert await wire.execute_one("XRANGE", "wk:v1:{shop}:log", "-", "+") == [[b"5-1", [b"d", b"d5-1"]], [b"5-2", [b"d", b"d5-2"]]]
    assert await wire.execute_one("SMEMBERS", "wk:v1:pools") == [b"shop"]
    await house.store.unpublish("shop")
    assert await wire.execute_one("SMEMBERS", "wk:v1:pools") == []
    assert 0 < await wire.execute_one("PTTL", "wk:v1:{shop}:snap") <= 180_000
    await house.store.publish(version(5, 3))
    assert await wire.execute_one("PTTL", "wk:v1:{shop}:snap") == await wire.execute_one("PTTL", "wk:v1:{shop}:log") == -1


async def test_the_evaluators_heartbeat_is_the_servers_time_and_ends(house):
    await house.store.alive()
    if house.url:
        assert abs(int(await house.store._wire.execute_one("GET", keys.ALIVE)) - await house.store.now_ms()) < 5_000
        assert 0 < await house.store._wire.execute_one("PTTL", keys.ALIVE) <= keys.ALIVE_TTL_MS


async def test_one_run_of_the_server_has_one_epoch(house):
    epoch = await house.store.epoch()
    assert epoch == await house.store.epoch()
    assert abs(epoch - await house.store.now_ms()) < 60_000
