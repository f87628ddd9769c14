"""What views read without scanning everything: which subjects have alerts, how large each pool is, and since when a registry stands."""

from __future__ import annotations

from monitor.core.endpoint import Pool
from tests.registering import register


async def test_subjects_with_an_alert_are_known_by_name(house):
    await house.register(*(house.endpoint(name) for name in ("a", "b", "c")))
    claimed = await house.claim()

    async def remembers(name: str, alerting: bool, memory: bytes | None = b"m") -> None:
        ver = await house.version(name)
        item = house.result(claimed[name], ver=ver, next_ver=ver + 1, token_ms=None, memory=memory, alerting=alerting)
        await house.commit(item)

    for name in "abc":
        await remembers(name, alerting=name != "b")
    assert await house.store.alerting() == (["a", "c"], [])
    await remembers("a", alerting=False)
    await remembers("c", alerting=False, memory=None)  # What is remembered stays, and so does its place in the index.
    assert await house.store.alerting() == (["c"], [])
    await house.store.commit_subject("pool:idle", 0, 1, b"x")
    await house.store.commit_subject("pool:gone", 0, 1, b"x", alerting=True)
    await house.store.commit_subject("pool:gone", 1, 2, b"")
    await house.store.commit_subject("pool:calm", 0, 1, b"x", alerting=True)
    await house.store.commit_subject("pool:calm", 1, 2, b"y")
    await house.store.commit_subject("pool:shop", 0, 1, b"x", alerting=True)
    assert not await house.store.commit_subject("pool:shop", 0, 2, b"y"), "its version moved"
    assert await house.store.alerting() == (["c"], ["pool:shop"])
    await register(house.store, removes=["c"])
    assert await house.store.forget("c", await house.version("c"), ())
    assert await house.store.alerting() == ([], ["pool:shop"])


async def test_pools_are_listed_with_their_sizes_before_and_after_they_are_published(house):
    await house.register(*(house.endpoint(f"e{n}", pool="big") for n in range(7)), house.endpoint("x", pool="small"))
    await register(house.store, pools=[Pool(name="empty")])
    assert await house.store.pool_sizes() == {"big": 7, "empty": 0, "small": 1}
    await house.dirty()
    await register(house.store, removes=["x"])
    assert (await house.store.pool_sizes()).get("small", 0) == 0


async def test_records_are_loaded_with_the_registrys_revision(house):
    await house.register(*(house.endpoint(f"e{n}") for n in range(5)))
    ids = [f"e{n}" for n in range(5)]
    loaded, before = await house.store.load_with_revisions(ids)
    assert loaded == await house.store.load(ids)
    await house.register(*(house.endpoint(name, weight=7) for name in ids))
    _, after = await house.store.load_with_revisions(ids)
    assert before.keys() == after.keys()
    assert all(after[slot] > before[slot] for slot in before)
    assert (await house.store.load_with_revisions([])) == ([], {})
