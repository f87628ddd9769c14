"""An operator's word silences what it speaks of, and the message that ends an alert says what was done, by whom and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitor import registry
from monitor.config.manifest import load_sources
from monitor.core.record import DRAINED, Override
from monitor.query.alerts import read_alerts
from tests.integration.plant import Plant, Story, down, endpoint
from tests.registering import register

POOL_DOWN = "[FIRING] No endpoint of shop is fit for traffic"
POOL_DEGRADED = "[FIRING] Only 1 of 2 endpoints of shop are fit for traffic"


async def healthy(plant: Plant, *names: str) -> None:
    await register(plant.store, [endpoint(id=name) for name in names])
    await plant.round()
    await plant.work()


async def failed(plant: Plant, *names: str) -> None:
    """They fail until everybody knows."""
    plant.failing |= set(names)
    for _ in range(3):
        await plant.round(*names)
    await plant.work()


async def says(plant: Plant, override: Override | None, *names: str) -> None:
    for name in names:
        await registry.set_override(plant.store, name, override, "kernel update", actor="ann")
    await plant.work()


async def pauses(plant: Plant, *names: str, paused: bool = True) -> None:
    await registry.set_paused(plant.store, names, paused=paused, actor="ann", reason="deploy")
    await plant.work()


def resolved(plant: Plant) -> list[str]:
    return [title for title in plant.messages if "RESOLVED" in title]


@pytest.mark.parametrize("word", [Override.DRAIN, Override.FORCED_OPEN])
def test_taking_healthy_endpoints_out_by_hand_tells_nobody(plant: Callable[[Story], None], word: Override) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e", "other")
        for names in ("e",), ("other",):
            await says(plant, word, *names)
            assert plant.messages == []
        await says(plant, None, "e", "other")
        await pauses(plant, "e", "other")
        await pauses(plant, "e", "other", paused=False)
        await registry.remove(plant.store, ["e"], actor="ann")
        await plant.work()
        assert plant.messages == []

    plant(story)


def test_a_drained_endpoint_that_is_rebooted_tells_nobody_until_it_is_undrained(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e", "other")
        await says(plant, Override.DRAIN, "e")
        await failed(plant, "e")
        assert plant.messages == []
        await says(plant, None, "e")
        assert await plant.told("[FIRING] e is down")
        assert await plant.told(POOL_DEGRADED)

    plant(story)


def test_where_one_is_drained_and_the_other_fails_the_pool_is_down(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e", "other")
        await says(plant, Override.DRAIN, "e")
        await failed(plant, "other")
        assert await plant.told(POOL_DOWN)
        assert any("Of its 2 endpoints 1 failed, and operators took out 1." in body for body in plant.bodies)
        plant.failing.clear()
        await says(plant, None, "e")
        for _ in range(50):
            if resolved(plant):
                break
            await plant.work()
        (title,) = resolved(plant)
        assert "ENDED" not in title

    plant(story)


@pytest.mark.parametrize(
    ("word", "done"),
    [
        (Override.DRAIN, "drained"),
        (Override.FORCED_OPEN, "forced open"),
        (Override.FORCED_CLOSED, "forced closed"),
        (Override.DISABLED, "its breaker disabled"),
    ],
)
def test_a_word_over_an_endpoint_that_is_down_ends_its_alerts_and_says_so(
    plant: Callable[[Story], None], word: Override, done: str
) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        await says(plant, word, "e", "other")
        assert await plant.told(f"[ENDED] e is down: {done} by ann: kernel update")
        spoken = f"{done} by ann: kernel update"
        pool = [title for title in plant.messages if title.startswith("[ENDED] No endpoint of shop is fit for traffic: ")]
        assert pool, plant.messages
        assert f"e {spoken}" in pool[0]
        assert resolved(plant) == []
        assert await read_alerts(plant.store) == []

    plant(story)


def test_a_pause_ends_alerts_with_its_reason_and_a_resume_waits_for_a_probe(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        await pauses(plant, "e", "other")
        assert await plant.told("[ENDED] e is down: paused by ann: deploy")
        assert await plant.told("[ENDED] No endpoint of shop is fit for traffic: e paused by ann: deploy; other paused by ann: deploy")
        assert any("): paused by ann: deploy\n" in body and "all alerts ended." in body for body in plant.bodies)
        assert resolved(plant) == []
        assert await read_alerts(plant.store) == []

        told = len(plant.messages)
        await pauses(plant, "e", "other", paused=False)
        assert plant.messages[told:] == [], "nothing is known yet"
        await plant.round()
        assert await plant.told("[FIRING] e is down")
        for _ in range(50):
            if plant.messages[told:].count(POOL_DOWN):
                break
            await plant.work()
        assert POOL_DOWN in plant.messages[told:]

    plant(story)


def test_what_was_down_before_a_pause_and_is_well_after_it_fires_no_more(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        await pauses(plant, "e", "other")
        plant.failing.clear()
        assert await plant.told("[ENDED] e is down: paused by ann: deploy")
        told = len(plant.messages)
        await pauses(plant, "e", "other", paused=False)
        for _ in range(3):
            await plant.round()
            await plant.work()
        assert [title for title in plant.messages[told:] if "FIRING" in title] == []

    plant(story)


@pytest.mark.parametrize("how", ["rm", "prune"])
def test_what_is_removed_while_it_is_down_is_told_as_removed(plant: Callable[[Story], None], how: str) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        if how == "rm":
            await registry.remove(plant.store, ["e"], actor="ann", reason="too old")
        else:
            text = "endpoints: [{id: other, url: 'http://127.0.0.1:1/', pool: shop, interval: 1s, timeout: 500ms, retries: 0}]"
            await registry.apply(plant.store, load_sources([("m", text)]), actor="ann", reason="too old", prune=True)
        await plant.work()
        assert await plant.told("[ENDED] e is down: removed by ann: too old")
        assert await plant.told("[ENDED] No endpoint of shop is fit for traffic: e removed by ann: too old")
        assert resolved(plant) == []
        assert [alert.labels["alertname"] for alert in await read_alerts(plant.store)] == ["EndpointDown"]
        await registry.remove(plant.store, ["other"], actor="bob")
        await plant.work()
        assert await plant.told("[ENDED] other is down: removed by bob")

    plant(story)


def test_what_is_renamed_while_it_is_down_is_told_as_renamed(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        await registry.rename(plant.store, "e", "f", actor="ann")
        plant.failing.add("f")
        await plant.work()
        assert await plant.told("[ENDED] e is down: renamed by ann: to f")
        assert await plant.told("[FIRING] f is down")
        assert [title for title in plant.messages if "RESOLVED" in title or "[ENDED] No endpoint" in title] == []

    plant(story)


def test_a_pool_whose_endpoints_are_removed_together_is_told_as_removed(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        await registry.remove(plant.store, ["e", "other"], actor="ann", reason="shop closed")
        for _ in range(50):
            if ended := [title for title in plant.messages if title.startswith("[ENDED] No endpoint")]:
                break
            await plant.work()
        assert ended[0].startswith("[ENDED] No endpoint of shop is fit for traffic: the pool has no endpoint any more: ")
        assert ended[0].endswith(" removed by ann: shop closed")
        assert resolved(plant) == []

    plant(story)


def test_who_moves_an_endpoint_out_of_a_pool_that_is_down_is_named(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        assert await plant.told(POOL_DOWN)
        await registry.edit(plant.store, "e", {"pool": "cart"}, actor="ann", reason="wrong shelf")
        await plant.work()
        assert await plant.told("[ENDED] No endpoint of shop is fit for traffic: e moved by ann: wrong shelf: to pool cart")
        assert resolved(plant) == []

    plant(story)


def test_a_drain_without_a_reason_is_told_once(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await down(plant)
        await registry.set_override(plant.store, "e", Override.DRAIN, DRAINED, actor="ann")
        await plant.work()
        assert await plant.told("[ENDED] e is down: drained by ann")

    plant(story)


def test_a_pool_that_becomes_worse_has_resolved_nothing(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e", "other")
        for name, title in ("e", POOL_DEGRADED), ("other", "[FIRING] other is down"):
            plant.failing.add(name)
            for _ in range(3):
                await plant.round()
            assert await plant.told(title)
        for _ in range(100):
            if ended := [body for body in plant.bodies if "no endpoint of the pool is fit for traffic any more" in body]:
                break
            await plant.work()
        assert "1 firing, 0 resolved, 1 ended" in ended[0]
        assert resolved(plant) == []

    plant(story)


def test_an_endpoint_alone_in_its_pool_is_one_page(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e")
        await failed(plant, "e")
        assert await plant.told("[FIRING] e is down")
        await plant.work()
        assert plant.messages == ["[FIRING] e is down"]

    plant(story)


def test_the_end_of_an_alert_tells_what_was_so_last(plant: Callable[[Story], None]) -> None:
    async def story(plant: Plant) -> None:
        await healthy(plant, "e", "other")
        plant.error = "connection refused"
        await failed(plant, "e")
        assert await plant.told("[FIRING] e is down")
        assert "3 probes of http://127.0.0.1:1/ have failed in a row; the last one: connection refused." in "".join(plant.bodies)
        plant.error = "status 500, want 2xx"
        await plant.round("e")
        await plant.work()
        await pauses(plant, "e")
        title = "[ENDED] e is down: paused by ann: deploy"
        assert await plant.told(title)
        body = plant.bodies[plant.messages.index(title)]
        assert "4 probes of http://127.0.0.1:1/ have failed in a row; the last one: status 500, want 2xx." in body

    plant(story)
