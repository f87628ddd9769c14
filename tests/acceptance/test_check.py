"""`watchkeeper endpoint check`: a registered endpoint is probed now, by a worker, and what follows from it is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from monitor import registry
from tests.acceptance.system import CLOCK, Process, System, eventually, manifest
from tests.acceptance.targets import Targets
from tests.integration.commands import WATCHKEEPER

HOUR_MS = 3_600_000


def begin(system: System, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, **system.variables}
    return subprocess.Popen([sys.executable, WATCHKEEPER, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(system: System, *arguments: str) -> tuple[int, str, str]:
    with begin(system, *arguments) as process:
        out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def check(system: System, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run(system, "endpoint", "check", *arguments, "-o", "json")
    assert out, err
    return code, json.loads(out)


def started(system: System, targets: Targets, **settings: Any) -> list[Process]:
    """A system with an endpoint whose next probe is far away."""
    processes = system.start("beat", "worker")
    system.register(manifest(targets, ["a"], interval_ms=HOUR_MS, timeout="2s", **settings))
    return processes


def test_each_check_is_one_probe_that_counts_as_any_other(system: System, targets: Targets) -> None:
    started(system, targets, initial_delay="30m")
    code, found = check(system, "a")
    assert (code, found["outcome"], found["breaker"], found["status"], found["attempts"]) == (0, "SUCCESS", "CLOSED", 200, 1)
    assert found["phases"]["connect_ms"] > 0
    targets.mode["a"] = "fail"
    code, found = check(system, "a")
    assert (code, found["outcome"], found["failure"], found["failures"]) == (1, "FAILURE", "status", 1)
    code, found = check(system, "a")
    assert (code, found["breaker_before"], found["breaker"], found["verdict"]) == (1, "CLOSED", "OPEN", "UNHEALTHY")
    assert found["text"] == "status 500, want 2xx"
    assert "2" in found["reason"]
    assert len(targets.seen["a"]) == 3
    assert system.breaker_events("a") == ["OPEN"]


def test_two_who_check_at_once_are_both_answered(system: System, targets: Targets) -> None:
    started(system, targets, initial_delay="30m")
    asking = [begin(system, "endpoint", "check", "a", "-o", "json") for _ in range(2)]
    answers = [process.communicate(timeout=90) for process in asking]
    assert [process.returncode for process in asking] == [0, 0], answers
    assert [json.loads(out)["outcome"] for out, _ in answers] == ["SUCCESS", "SUCCESS"]
    assert 1 <= len(targets.seen["a"]) <= 2


def test_a_probe_that_began_before_is_not_the_answer(system: System, targets: Targets) -> None:
    started(system, targets, initial_delay="30m")
    targets.mode["a"] = "hang"
    with begin(system, "endpoint", "check", "a", "-o", "json") as first:
        eventually(lambda: targets.seen["a"], 30, "a to be probed")
        targets.mode["a"] = "ok"
        fixed_ms = CLOCK.now_ms()
        code, found = check(system, "a")
        first.communicate(timeout=90)
    assert (code, found["outcome"]) == (0, "SUCCESS")
    assert targets.since("a", fixed_ms) == 1


def test_what_cannot_be_checked_says_why(system: System, targets: Targets) -> None:
    (_, worker) = started(system, targets, initial_delay="30m")
    system.execute(lambda store: registry.set_paused(store, ["a"], paused=True, actor="tester"))
    code, _, err = run(system, "endpoint", "check", "a")
    assert (code, "it is paused, so nobody probes it" in err and "`watchkeeper endpoint resume a`" in err) == (2, True)
    code, _, err = run(system, "endpoint", "check", "b")
    assert (code, "there is no endpoint of this id" in err) == (2, True)
    code, _, err = run(system, "endpoint", "check", "a", "--wait", "0")
    assert (code, "it is paused" in err) == (2, True)
    system.execute(lambda store: registry.set_paused(store, ["a"], paused=False, actor="tester"))
    code, _, err = run(system, "endpoint", "check", "a", "--wait", "0")
    assert (code, "its probe may be in flight. Give it longer with --wait." in err) == (4, True)
    worker.stop()
    code, out, err = run(system, "endpoint", "check", "a", "--wait", "1s")
    assert (code, out) == (4, "")
    assert "no result of a came in time; it stays due. No worker lives; `watchkeeper up` starts one." in err
    code, _, err = run(system, "endpoint", "check", "a", "--wait", "soon")
    assert (code, "'soon' is not a duration" in err) == (2, True)
