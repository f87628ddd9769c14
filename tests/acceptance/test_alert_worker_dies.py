"""The alert worker killed between a service's acceptance and the log: the message comes again, nothing is lost."""

from __future__ import annotations

from monitor.store.queues import Queue
from tests.acceptance.checks import check_history
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from workers.journey.dispatch import LEASE_MS

INTERVAL_MS = 500
AGAIN_S = LEASE_MS[Queue.DELIVERIES] / 1000 + 20


def kill_between_send_and_log(system: System, receiver: Receiver) -> None:
    """Let the service take a message and hold back its answer; kill the sender then, and start another."""
    assert receiver.accepted.wait(20)
    (sender,) = [process for process in system.processes if process.name == "alert-worker" and process.popen.poll() is None]
    sender.kill()
    receiver.release()
    system.start("alert-worker")


def test_a_firing_and_a_resolved_message_come_again(alerting_system: System, targets: Targets, receiver: Receiver) -> None:
    """One endpoint's resolved notice and another's firing one are on their way when the worker dies."""
    system = alerting_system
    system.register(manifest(targets, ["a", "b", "c"], interval_ms=INTERVAL_MS))
    system.start("beat", "worker", "alert-worker")
    probed_again(targets, ["a", "b", "c"], interval_ms=INTERVAL_MS)
    targets.mode["a"] = "fail"
    eventually(lambda: receiver.of("a") == ["firing"], 20)
    eventually(lambda: system.execute(lambda store: store.sent(10)), 10)

    receiver.accepted.clear()
    receiver.stalled = True
    targets.mode["a"], targets.mode["b"] = "ok", "fail"
    eventually(lambda: receiver.of("a") == ["firing", "resolved"] and receiver.of("b") == ["firing"], 30)
    kill_between_send_and_log(system, receiver)

    targets.mode["c"] = "fail"
    eventually(lambda: receiver.of("c") == ["firing"], 30, "what fires later does not wait for what is held")
    eventually(lambda: receiver.of("a") == ["firing", "resolved", "resolved"] and receiver.of("b") == ["firing", "firing"], AGAIN_S)
    targets.mode["b"] = targets.mode["c"] = "ok"
    eventually(lambda: receiver.of("b") == ["firing", "firing", "resolved"] and receiver.of("c") == ["firing", "resolved"], 30)
    assert receiver.of("a") == ["firing", "resolved", "resolved"]
    check_history(system)
