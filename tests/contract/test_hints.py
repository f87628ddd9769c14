"""Hints: whoever listens hears of alert events as they are written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from monitor.store import keys
from tests.registering import register


@contextlib.asynccontextmanager
async def listening(house) -> AsyncIterator[asyncio.Queue[int]]:
    heard: asyncio.Queue[int] = asyncio.Queue()
    begun = asyncio.Event()
    task = asyncio.ensure_future(house.store.listen(heard.put_nowait, begun.set))
    try:
        async with asyncio.timeout(5):
            await begun.wait()
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def hears(heard: asyncio.Queue[int]) -> int:
    async with asyncio.timeout(5):
        return await heard.get()


async def test_a_commit_with_alerts_is_heard_of_once_and_one_without_is_not(house):
    claimed = await house.claim_one()
    other = await house.claim_one("other")
    async with listening(house) as heard:
        await house.commit(house.result(other))
        await house.commit(house.result(claimed, alerts=(b"one", b"two")))
        assert await hears(heard) == keys.slot_of("e", house.store.slots)
        await house.store.commit_subject("system", 0, 1, b"s", alerts=[b"three"])
        assert await hears(heard) == 0
        assert heard.empty()


async def test_a_subject_and_a_removed_endpoint_are_heard_of(house):
    await house.claim_one()
    await register(house.store, [], ["e"], [])
    async with listening(house) as heard:
        await house.store.commit_subject("pool:shop", 0, 1, b"s", transitions=[b"t"])
        await house.store.commit_subject("pool:shop", 1, 2, b"s", alerts=[b"a"])
        assert await hears(heard) == 0
        ver = await house.version("e")
        assert await house.store.forget("e", ver, [])
        assert await house.store.forget("e", ver, [b"ended"])
        assert await hears(heard) == keys.slot_of("e", house.store.slots)
        assert heard.empty()


async def test_who_has_stopped_listening_is_not_told(house):
    claimed = await house.claim_one()
    async with listening(house) as heard:
        pass
    await house.commit(house.result(claimed, alerts=(b"one",)))
    assert heard.empty()


def test_the_script_and_the_legend_name_the_same_channel():
    script = (Path(keys.__file__).parent / "lua" / "shared" / "hints.lua").read_text()
    assert f"'{keys.HINTS}'" in script
