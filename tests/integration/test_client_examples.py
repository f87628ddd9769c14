"""The programs of "Balance your requests over a pool" that report and try do so."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from examples.targets import Target
from monitor.client import HealthView
from monitor.core.policies.call import CallOutcome
from monitor.store import keys
from tests.docs.pages import blocks
from tests.integration.test_client_redis import Publisher, publisher
from tests.integration.test_client_trials import counted, endpoint, trials
from tests.waiting import wait_for

__all__ = ["publisher"]  # The fixture.


def program(name: str) -> Any:
    """The function of that name, from the page."""
    (text,) = [block.text for block in blocks("python") if block.page.name == "consume-health.md" and f"def {name}(" in block.text]
    names: dict[str, Any] = {}
    exec(text, names)
    return names[name]


def test_a_service_reports_and_tries(redis_url: str, publisher: Publisher) -> None:
    with Target(name="a") as target, httpx.Client(timeout=5) as http:
        at = {"url": target.health_url, "addr": "127.0.0.1", "port": target.port}
        of_target = [msgspec.structs.replace(one, **at) for one in (endpoint("a", 990), endpoint("b", 10, 0.01, 7))]
        publisher.redis.hset(keys.trials("shop"), "b", "7 5 4 30000")
        publisher.publish({}, endpoints=tuple(of_target))
        with HealthView(redis_url) as view:
            assert program("order")(view, http).status_code == 200
            program("warm")(view, http)
            wait_for(lambda: trials(publisher.redis))
    assert counted(publisher.redis) == {"a": 1}
    assert [trial.outcome for trial in trials(publisher.redis)] == [CallOutcome.SUCCESS]
