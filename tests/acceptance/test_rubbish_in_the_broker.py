"""Whatever stands in the broker's lists, the workers go on with what is theirs, count the rest and tell it."""

from __future__ import annotations

import base64
import json
import os
from itertools import product
from typing import Any

import pytest
import redis

from monitor.core.endpoint import SLOTS_MAX
from monitor.core.outcome import Outcome
from monitor.store.queues import ALERT_QUEUE, PROBE_QUEUE
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from workers.broker import ITEMS_MAX, SHAPES

INTERVAL_MS = 1_000
NAMES = ["a", "b", "c"]
LATER_MS = 2**53


def message(task: str, arguments: list[Any]) -> bytes:
    """As beat writes it."""
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps([arguments, {}, {}]).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task, "id": "1"},
            "properties": {"delivery_tag": "1", "body_encoding": "base64"},
        }
    ).encode()


def of_our_shape() -> list[bytes]:
    """Messages that say what nobody has said: of slots, members and leases that there are not."""
    members = ["", "nobody", "a", "shop", "\udcff", "{s0}", "x" * 10_000]
    items = [[member, token_ms, due_ms] for member, token_ms, due_ms in product(members, (0, 1, LATER_MS), (0, LATER_MS))]
    many = [["nobody", LATER_MS, 0]] * ITEMS_MAX
    made = []
    for task in SHAPES:
        for slot, some in product((0, 1, SLOTS_MAX - 1), ([], items, many)):
            head: list[Any] = [slot, LATER_MS] if task == "probe_batch" else [slot]
            made.append(message(task, head if task == "route_alerts" else [*head, some]))
    return made


RUBBISH = [
    b"", b"nonsense", b"\xff\xfe", b"[" * 200_000, b"x" * 10_485_760, b"{}", message("unknown", []), message("probe_batch", []),
    message("probe_batch", ["0", 1, []]), message("probe_batch", [SLOTS_MAX, 1, []]), message("deliver", [-1, []]),
    message("weigh_pools", [0, [["shop", 1e300, 0]]]), message("probe_batch", [0, 1, [["a", LATER_MS, 0]] * (ITEMS_MAX + 1)]),
]  # fmt: skip


@pytest.mark.timeout(180)
def test_rubbish_in_the_broker_ends_no_worker_and_costs_nobody_a_probe(system: System, targets: Targets) -> None:
    processes = system.start("beat", "worker", "alert-worker")
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    with redis.Redis.from_url(system.url) as client:
        for _ in range(5):
            since_ms = CLOCK.now_ms()
            client.lpush(PROBE_QUEUE, *RUBBISH)
            client.lpush(ALERT_QUEUE, *RUBBISH)
            probed_again(targets, NAMES, interval_ms=INTERVAL_MS, since_ms=since_ms)
        eventually(lambda: system.counter("messages_refused") == 2 * 5 * len(RUBBISH), 20)
        aside = system.execute(lambda store: store.aside())
        assert {(item.kind, item.key) for item in aside} == {("message", PROBE_QUEUE), ("message", ALERT_QUEUE)}

        for piece in of_our_shape():
            client.lpush(PROBE_QUEUE, piece)
            client.lpush(ALERT_QUEUE, piece)
        eventually(lambda: not client.llen(PROBE_QUEUE) and not client.llen(ALERT_QUEUE), 30)
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    assert [process.popen.poll() for process in processes] == [None] * 3
    assert all(system.record(name).probes.last.outcome is Outcome.SUCCESS for name in NAMES)
    assert sum(os.path.getsize(process.log) for process in processes) < 100_000


@pytest.mark.timeout(120)
def test_what_kombu_keeps_of_its_queues_is_put_right(system: System, targets: Targets) -> None:
    system.start("beat", "worker")
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    with redis.Redis.from_url(system.url) as client:
        client.sadd(f"_kombu.binding.{PROBE_QUEUE}", b"rubbish", b"\xff\xfe")
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
        for key in ("_kombu.binding.", "_kombu.binding_permanent."):
            client.set(key + PROBE_QUEUE, "rubbish")
        eventually(lambda: client.type(f"_kombu.binding.{PROBE_QUEUE}") != b"string", 20)
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
