"""The whole pipeline under bad weather, replayed from seeds. A failure names its seed: run that one again."""

from __future__ import annotations

import pytest

from alert_rules.files.routing_file import parse_routing
from alert_rules.files.rule_file import load_rules
from monitor.core.endpoint import Endpoint, Pool
from tests.simulation.checkers import CHECKERS
from tests.simulation.virtual import run
from tests.simulation.world import Weather, World

ROUTING = """
route: {receiver: people, group_by: [endpoint], group_wait: 2s, group_interval: 5s, repeat_interval: 1h}
receivers:
  - name: people
    apprise_configs:
      - url: "console:"
        body: |
          {% for a in firing %}FIRING {{ a.labels.alertname }} {{ a.labels.endpoint or a.labels.pool }} {{ a.starts_at }}
          {% endfor %}{% for a in resolved %}RESOLVED {{ a.labels.alertname }} {{ a.labels.endpoint or a.labels.pool }} {{ a.starts_at }}
          {% endfor %}
"""

WEATHERS = {
    "fair": Weather(),
    "lossy broker": Weather(message_loss=0.1, message_double=0.1, message_delay_s=0.3, leases_lost=3),
    "bad store": Weather(store_refusal=0.02, store_silence=0.02, leases_lost=3),
    "crashes": Weather(crash_every_s=7.0, leases_lost=3),
    "skewed clocks": Weather(clock_skew_ms=400),
    "storm": Weather(
        message_loss=0.05,
        message_double=0.05,
        message_delay_s=0.1,
        store_refusal=0.01,
        store_silence=0.01,
        crash_every_s=15.0,
        clock_skew_ms=200,
        leases_lost=4,
    ),
}


def make_world(seed: int, weather: Weather) -> World:
    pools = [Pool(name="shop", warm_up_ms=10_000, open_ms=2_000), Pool(name="bank", warm_up_ms=5_000, open_ms=2_000)]
    endpoints = [
        Endpoint(
            id=f"{pool.name}-{number}",
            url="http://127.0.0.1:9/",
            pool=pool.name,
            interval_ms=1_000 + 250 * number,
            timeout_ms=500,
            retries=0,
        )
        for pool in pools
        for number in range(5)
    ]
    return World(seed, weather, endpoints, pools, load_rules(), parse_routing(ROUTING))


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_what_must_hold_holds_in_any_weather(weather: Weather, seed: int) -> None:
    world = make_world(seed, weather)
    complaints: list[str] = []

    async def story() -> None:
        await world.live(120, calm_s=90)
        for checker in CHECKERS:
            complaints.extend(f"{checker.__name__}: {complaint}" for complaint in await checker(world))

    run(story(), world.loop)
    assert not complaints, f"seed {seed}:\n" + "\n".join(complaints)
    assert world.seen.messages, f"seed {seed}: nothing happened"
