"""docker-compose.yml for real: `make test-compose`, where a container engine is.

BASE and REDIS_IMAGE name other images where none can be pulled (tests/compose/make_base makes one with debootstrap).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import waiting

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
IMAGE = "watchkeeper:compose-test"
PROJECT = "watchkeeper-compose-test"
BUILD_S = 1_200
UP_S = 180.0

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1_800)]


def wait_for(condition: Callable[[], Any], deadline_s: float) -> Any:
    """Each look starts programs: look twice a second."""
    return waiting.wait_for(condition, deadline_s, poll_s=0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PORT = str(free_port())


def compose_command() -> list[str]:
    """`docker compose` where the plug-in is installed, else the older program."""
    if shutil.which("docker") is None:
        pytest.fail("there is no container engine: whoever asks for these tests wants to know")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    return ["docker", "compose"] if plugin else ["docker-compose"]


class Stack:
    def __init__(self) -> None:
        self._command = compose_command()
        files = (ROOT / "docker-compose.yml", HERE / "docker-compose.test.yml")
        self._options = ["-p", PROJECT, "--project-directory", str(ROOT), *(word for file in files for word in ("-f", str(file)))]
        self._env = {
            **os.environ,
            "REDIS_PASSWORD": "secret-of-this-test",
            "WATCHKEEPER_IMAGE": IMAGE,
            "WATCHKEEPER_PORT": PORT,
            "TEST_DIR": str(HERE),
        }

    def __call__(self, *words: str, timeout_s: float = 120.0) -> str:
        """Run compose and return its output; a failure shows it."""
        done = subprocess.run(
            [*self._command, *self._options, *words],
            env=self._env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def watchkeeper(self, *words: str) -> str:
        return self("exec", "-T", "web", "watchkeeper", *words)

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def received(self) -> list[str]:
        """Types of the messages that the receiver got, in order."""
        lines = [line.partition("RECEIVED ")[2] for line in self("logs", "--no-color", "receiver").splitlines()]
        return [json.loads(line)["type"] for line in lines if line]

    def breaker(self, endpoint: str) -> str:
        rows = json.loads(self.watchkeeper("status", "-o", "json"))
        return next((str(row["breaker"]) for row in rows if row["endpoint"] == endpoint), "")


def inspect(container: str, template: str) -> str:
    return subprocess.run(["docker", "inspect", "-f", template, container], capture_output=True, text=True, check=True).stdout.strip()


def probes() -> float:
    """Probes made so far, as /metrics says; -1 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return -1
    return sum(
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith(("watchkeeper_probes_success_total ", "watchkeeper_probes_failure_total "))
    )


def ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    build = ["docker", "build", "--network", "host", "-t", IMAGE]
    if base := os.environ.get("BASE"):
        build += ["--build-arg", f"BASE={base}"]
    subprocess.run([*build, str(ROOT)], check=True, timeout=BUILD_S, stdout=subprocess.DEVNULL)
    try:
        stack("up", "-d", "--no-build", timeout_s=UP_S)
        wait_for(ready, UP_S)
        yield stack
    except BaseException:
        print(stack("logs", "--no-color", "--tail", "40"))
        raise
    finally:
        stack("down", "-v", "--timeout", "10")


def test_it_comes_up_as_it_should(stack: Stack) -> None:
    assert len(stack.containers("beat")) == len(stack.containers("worker")) == 2
    for service in ("redis", "beat", "worker", "alert-worker", "web"):
        for container in stack.containers(service):
            wait_for(lambda container=container: inspect(container, "{{.State.Health.Status}}") == "healthy", 90)
            assert inspect(container, "{{.HostConfig.ReadonlyRootfs}}") == "true"
            assert inspect(container, "{{.Config.User}}") not in {"", "root", "0"}


def test_it_probes_and_alerts(stack: Stack) -> None:
    stack.watchkeeper(
        "endpoint", "add", "http://target:8000/", "--id", "target", "--interval", "1s", "--timeout", "500ms", "--retries", "0"
    )
    wait_for(lambda: probes() >= 3, 60)
    assert stack.breaker("target") == "CLOSED"
    stack("stop", "target")
    wait_for(lambda: stack.breaker("target") == "OPEN", 60)
    wait_for(lambda: "failure" in stack.received(), 60)
    stack("start", "target")
    wait_for(lambda: stack.received()[-1:] == ["success"], 120)
    assert stack.breaker("target") == "CLOSED"


def test_it_survives_a_worker_killed(stack: Stack) -> None:
    container = stack.containers("worker")[0]
    before = int(inspect(container, "{{.State.Pid}}"))
    try:
        os.kill(before, signal.SIGKILL)  # `docker kill` would count as a wish, after which nothing is restarted.
    except PermissionError:
        pytest.fail("only root may kill a container's process: run these tests as root")
    wait_for(lambda: int(inspect(container, "{{.State.Pid}}")) not in {0, before}, 60)
    at = probes()
    wait_for(lambda: probes() >= at + 5, 60)
    wait_for(ready, 60)


def test_it_survives_a_restart_of_redis(stack: Stack) -> None:
    stack("restart", "redis")
    wait_for(ready, 90)
    at = wait_for(lambda: max(probes(), 0), 60)
    wait_for(lambda: probes() >= at + 5, 60)
    assert stack.breaker("target") == "CLOSED"


def test_workers_scale(stack: Stack) -> None:
    stack("up", "-d", "--no-build", "--no-recreate", "--scale", "worker=3", timeout_s=UP_S)
    assert len(stack.containers("worker")) == 3
