"""A hand in Redis leaves names that are no UTF-8 wherever names stand: they harm nobody, and an operator can remove them."""

from __future__ import annotations

import subprocess
import urllib.request

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from monitor.client import HealthView
from monitor.store import keys
from tests.acceptance.checks import check_history
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.conftest import free_port
from tests.integration.commands import WATCHKEEPER

INTERVAL_MS = 1_000
NAMES = ["e0", "e1", "e2"]
NO_TEXT = b"no \xff\xfe text"
SHOWN = r"no \xff\xfe text"


def everywhere(client: redis.Redis) -> set[str]:
    """Put the name into every collection that there is, due now where it is a queue; return the keys."""
    keys_of: set[str] = set()
    client.zadd(keys.in_slot(0, "dirty"), {NO_TEXT: CLOCK.now_ms() // 2 * 2})  # These two are empty most of the time, and then no key.
    client.xadd(keys.in_slot(0, "alerts"), {b"d": NO_TEXT})
    for key in client.scan_iter("wk:*"):
        match client.type(key):
            case b"zset":
                client.zadd(key, {NO_TEXT: CLOCK.now_ms() // 2 * 2})
            case b"hash":
                client.hset(key, NO_TEXT, b"\xff")
            case b"set":
                client.sadd(key, NO_TEXT)
            case b"stream":
                client.xadd(key, {b"d": NO_TEXT})
            case _:
                continue
        keys_of.add(key.decode())
    return keys_of


def run(system: System, *arguments: str) -> str:
    command = [WATCHKEEPER, *arguments, "--redis-url", system.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def fetch(address: str, path: str) -> str:
    """Raises HTTPError where the answer is not 200."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.timeout(120)
def test_names_that_are_no_text_harm_nobody_wherever_they_stand(alerting_system: System, targets: Targets, receiver: Receiver) -> None:
    system = alerting_system
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    address = f"127.0.0.1:{free_port()}"
    system.start("beat", "worker", "alert-worker", "web", env={"WATCHKEEPER_LISTEN": address})
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    targets.mode["e0"] = "fail"
    eventually(lambda: receiver.of("e0") == ["firing"], 15, "a notice before")
    with redis.Redis.from_url(system.url, socket_timeout=5) as client:
        done = everywhere(client)
        assert {"wk:i:{s0}:due", "wk:i:{s0}:spec", "wk:i:{s0}:dirty", "wk:v1:pools", "wk:i:{alerts}:ticks", "wk:i:{s0}:alerts"} <= done
    targets.mode["e0"] = "ok"
    targets.mode["e1"] = "fail"
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    eventually(lambda: system.breaker("e1") == "OPEN", 10)
    eventually(lambda: system.weights("shop")["e1"] == 0, 10, "the pool to be published")
    with redis.Redis.from_url(system.url, socket_timeout=5) as client:
        eventually(lambda: client.exists(keys.ASIDE), 10)
        assert keys.ASIDE in everywhere(client)
    eventually(lambda: receiver.of("e0") == ["firing", "resolved"] and receiver.of("e1") == ["firing"], 40, "notices")
    check_history(system)
    with HealthView(system.url) as view:
        assert view.pools() == ("shop",)
        assert {endpoint.id: endpoint.weight for endpoint in view.endpoints("shop")} == system.weights("shop")
    assert '"ready":true' in fetch(address, "/-/ready")
    assert "probe_success" in {family.name for family in text_string_to_metric_families(fetch(address, "/metrics"))}
    run(system, "export")
    for command in ("status", "alerts list", "alerts sent", "events", "history e0", "endpoint list", "pool list", "quarantine list"):
        for output in ("table", "json"):
            run(system, *command.split(), "-o", output)
    for noun, verb in (("endpoint", "rm"), ("pool", "reset")):
        assert f"watchkeeper {noun} {verb} '{SHOWN}'" in run(system, noun, "list")
        run(system, noun, verb, SHOWN)
        assert f"watchkeeper {noun} {verb}" not in run(system, noun, "list")
    assert SHOWN in run(system, "events")
    assert SHOWN in run(system, "quarantine", "list")
    run(system, "quarantine", "rm", "--all")
    assert SHOWN not in run(system, "quarantine", "list")
