"""What people are shown of an endpoint is what consumers see."""

from __future__ import annotations

from monitor.query.status import read_pools
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
