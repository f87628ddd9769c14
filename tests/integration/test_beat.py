"""Beat outlives a broker that is lost between the claim and the publication."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery

from tests.conftest import RedisServer
from tests.integration.test_startup import make_data_set
from workers.app import configuration
from workers.beat import PAUSE_S, ProbeScheduler
from workers.journey.dispatch import TaskMessage

MESSAGE = TaskMessage("route_alerts", "alert", (0,))


def test_a_batch_that_cannot_be_published_is_waited_for(new_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch) -> None:
    server = new_server()
    make_data_set(server.url)
    monkeypatch.setenv("WATCHKEEPER_REDIS_URL", server.url)
    app = Celery("beat", set_as_current=False)
    app.conf.update(configuration(server.url))
    scheduler = ProbeScheduler(app)

    async def claims(_: int) -> list[TaskMessage]:
        return [MESSAGE]

    async def claims_and_loses_redis(_: int) -> list[TaskMessage]:
        server.kill()
        return [MESSAGE]

    monkeypatch.setattr(scheduler, "_work", claims)
    assert scheduler.tick() < PAUSE_S
    monkeypatch.setattr(scheduler, "_work", claims_and_loses_redis)
    assert scheduler.tick() == PAUSE_S
    server.start()
    monkeypatch.setattr(scheduler, "_work", claims)
    assert scheduler.tick() < PAUSE_S
    scheduler.close()
