"""From a commit to its message nobody waits for beat."""

from __future__ import annotations

import statistics

from tests.acceptance.receiver import Receiver
from tests.acceptance.system import System, eventually, manifest
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(20)]
PROMPT_MEDIAN_MAX_MS = 120
"""Beat's tick and the broker alone cost 170 at least. Twenty at once need 10 on a quiet machine, and 50 with four busy processes
on two cores."""


def test_a_message_follows_its_alert_at_once(system: System, targets: Targets, receiver: Receiver) -> None:
    system.route(receiver.url, group_wait="0s")
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    system.start("beat", "worker", "alert-worker")
    eventually(lambda: all(len(targets.seen[name]) > 2 for name in NAMES), 20)
    for name in NAMES:
        targets.mode[name] = "fail"
    eventually(lambda: all(receiver.of(name) == ["firing"] for name in NAMES), 30)
    opened_ms = {event.endpoint: event.at_ms for event in system.events() if event.kind == "breaker" and event.new == "OPEN"}
    took_ms = sorted(told.at_ms - opened_ms[told.endpoint] for told in receiver.told if told.rule == "EndpointDown")
    print(took_ms)
    assert statistics.median(took_ms) < PROMPT_MEDIAN_MAX_MS, took_ms
