"""The alert worker killed before it sends, or between a service's acceptance and the log: nothing is lost, and nothing untrue is told."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - seeded, so that a failure can be had again.
import time

import pytest

from alert_rules.files.routing_file import load_routing
from monitor.clock import SystemClock
from monitor.probes.policy import TargetPolicy
from monitor.store.port import AlertPhase, Store
from monitor.store.queues import QUEUES, Queue
from tests.acceptance.checks import check_history
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.receivers.address import services
from workers.receivers.send import Receivers

INTERVAL_MS = 500
AGAIN_S = QUEUES[Queue.DELIVERIES].lease_ms / 1000 + 10
KILLS = 4
STALE_MAX_S = 20
"""No message says that something fires later than this after it has recovered."""


def kill_between_send_and_log(system: System, receiver: Receiver) -> None:
    """The service has taken a message and holds back its answer: kill the sender now."""
    (sender,) = [process for process in system.processes if process.name == "alert-worker" and process.popen.poll() is None]
    sender.kill()
    receiver.release()


def test_a_firing_and_a_resolved_message_come_again(alerting_system: System, targets: Targets, receiver: Receiver) -> None:
    """One endpoint's resolved notice and another's firing one are on their way when the worker dies; both are still true."""
    system = alerting_system
    system.register(manifest(targets, ["a", "b", "c"], interval_ms=INTERVAL_MS))
    system.start("beat", "worker", "alert-worker")
    probed_again(targets, ["a", "b", "c"], interval_ms=INTERVAL_MS)
    targets.mode["a"] = "fail"
    eventually(lambda: receiver.of("a") == ["firing"], 20)
    eventually(lambda: system.execute(lambda store: store.sent(10)), 10)

    receiver.stalled = True
    targets.mode["a"], targets.mode["b"] = "ok", "fail"
    eventually(lambda: receiver.of("a") == ["firing", "resolved"] and receiver.of("b") == ["firing"], 30)
    kill_between_send_and_log(system, receiver)
    system.start("alert-worker")

    targets.mode["c"] = "fail"
    eventually(lambda: receiver.of("c") == ["firing"], 30, "what fires later does not wait for what is held")
    eventually(lambda: receiver.of("a") == ["firing", "resolved", "resolved"] and receiver.of("b") == ["firing", "firing"], AGAIN_S)
    targets.mode["b"] = targets.mode["c"] = "ok"
    eventually(lambda: receiver.of("b") == ["firing", "firing", "resolved"] and receiver.of("c") == ["firing", "resolved"], 30)
    assert receiver.of("a") == ["firing", "resolved", "resolved"]
    check_history(system)


def test_kills_at_random_tell_every_end_and_no_fire_that_is_long_out(alerting_system: System, targets: Targets, receiver: Receiver) -> None:
    system, rng = alerting_system, random.Random(5)
    names = ["a", "b", "c"]
    system.register(manifest(targets, names, interval_ms=INTERVAL_MS))
    system.start("beat", "worker", "alert-worker")
    probed_again(targets, names, interval_ms=INTERVAL_MS)
    recovered_ms: dict[str, int] = {}
    for _ in range(KILLS):
        for name in names:
            targets.mode[name] = "fail"
            time.sleep(rng.uniform(0.5, 1.5))  # The moment of the kill is what the seed varies.
        receiver.stalled = rng.random() < 0.5
        time.sleep(rng.uniform(0, 1.5))
        for process in system.processes:
            if process.name == "alert-worker" and process.popen.poll() is None:
                process.kill()
        receiver.release()
        for name in names:
            targets.mode[name] = "ok"
            recovered_ms[name] = SystemClock().now_ms()
        system.start("alert-worker")
    eventually(lambda: all(receiver.of(name)[-1:] in ([], ["resolved"]) for name in names), STALE_MAX_S + 20)
    eventually(lambda: not system.execute(lambda store: store.alerts(AlertPhase.FIRING, 9)), 20)
    assert all(receiver.of(name)[-1] == "resolved" for name in names if receiver.of(name))
    for told in receiver.told:
        if told.status == "firing" and told.endpoint in names:
            assert told.at_ms - recovered_ms[told.endpoint] <= STALE_MAX_S * 1_000, told


async def take_and_die(store: Store, alerting_file: str) -> bool:
    """Route and flush as an alert worker does, take what is to be sent, and end there."""
    clock, counters = SystemClock(), Counters()
    alerting = Alerting(
        store=store,
        clock=clock,
        routing=load_routing(alerting_file),
        send=Receivers(TargetPolicy()).send,
        services=services,
        counters=counters,
        quarantine=Quarantine(store, counters),
        soon=lambda *_: None,
        process="p",
    )
    for _ in range(300):
        await alerting.route(0)
        await alerting.flush(await store.claim(Queue.GROUPS, 0, 100, QUEUES[Queue.GROUPS].lease_ms))
        taken = await store.claim(Queue.DELIVERIES, 0, 100, QUEUES[Queue.DELIVERIES].lease_ms)
        rows = await store.load_deliveries([lease.member for lease in taken])
        if any(row and 'endpoint="a"' in row.group for row in rows):
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.parametrize("moment", ["before it sends", "after the service has accepted"])
def test_a_fire_that_is_out_is_not_told_by_whoever_takes_over(
    alerting_system: System, targets: Targets, receiver: Receiver, moment: str
) -> None:
    system = alerting_system
    system.register(manifest(targets, ["a"], interval_ms=INTERVAL_MS))
    accepted = moment == "after the service has accepted"
    system.start("worker", "beat", *(["alert-worker"] if accepted else []))
    probed_again(targets, ["a"], interval_ms=INTERVAL_MS)
    receiver.stalled = accepted
    targets.mode["a"] = "fail"
    if accepted:
        eventually(lambda: receiver.of("a") == ["firing"], 20)
        kill_between_send_and_log(system, receiver)
    else:
        assert system.execute(lambda store: take_and_die(store, system.variables["WATCHKEEPER_ALERTING"]))
    targets.mode["a"] = "ok"
    recovered_ms = SystemClock().now_ms()
    system.start("alert-worker")

    told = ["firing"] if accepted else []
    eventually(lambda: receiver.of("a") == [*told, "resolved"], STALE_MAX_S + 10)
    assert receiver.of("a") == [*told, "resolved"]
    assert all(one.at_ms < recovered_ms + STALE_MAX_S * 1_000 for one in receiver.told if one.status == "firing")
    sent = system.execute(lambda store: store.sent(10))
    assert b'"superseded":true' in sent[-1][1]
