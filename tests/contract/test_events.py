"""Transitions: one story over all slots, read on from a cursor."""

from __future__ import annotations

import pytest

from tests.registering import set_override


async def tell(house, *names: str) -> None:
    """One transition for each of some endpoints, a millisecond apart."""
    for name in names:
        await set_override(house.store, house.endpoint(name), name.encode(), name.encode())
        await house.passes(1)


@pytest.fixture
def names(house, runner) -> list[str]:
    names = [f"e{i}" for i in range(12)]
    runner.run(house.register(*map(house.endpoint, names)))
    return names


async def read(house, limit: int, after: str = "") -> list[str]:
    return [data.decode() for _, data in await house.store.events(limit, after)]


async def test_the_last_ones_oldest_first(house, names):
    assert await house.store.events(3) == []
    await tell(house, *names)
    assert await read(house, 3) == names[-3:]
    assert await read(house, 100) == names


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("limit", [1, 12])
async def test_reading_on_from_any_entry_misses_none_and_repeats_none(house, names, place, limit):
    await tell(house, *names)
    entries = await house.store.events(12 - place)
    cursor, rest = entries[0][0], []
    while found := await house.store.events(limit, cursor):
        cursor = found[-1][0]
        rest += [data.decode() for _, data in found]
    assert rest == names[place + 1 :]


async def test_what_comes_later_is_found_after_the_cursor(house, names):
    await tell(house, *names[:5])
    cursor = (await house.store.events(1))[-1][0]
    assert await house.store.events(10, cursor) == []
    await tell(house, *names[5:])
    assert await read(house, 100, cursor) == names[5:]
