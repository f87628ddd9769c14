"""The whole system in real processes that a test starts, stops, stalls and kills one by one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import redis
import yaml

from monitor import registry
from monitor.clock import SystemClock
from monitor.config.located import load_yaml
from monitor.core.record import Record, Transition, decode_record
from monitor.core.schedule import LEASE_SLACK_MS
from monitor.pool.compose import decode_snapshot
from monitor.pool.snapshot import Snapshot
from monitor.query.events import read_events
from monitor.store import keys
from monitor.store.port import Store
from monitor.store.redis.store import RedisStore
from tests.acceptance.receiver import BODY
from tests.acceptance.targets import Targets
from tests.conftest import RedisServer, die_with_parent
from tests.waiting import POLL_S

T = TypeVar("T")
HEARTBEAT_MS = 500
START_TIMEOUT_S = 40.0
BUSY_S = 2.0
"""What a busy machine may add to any limit of time."""
CLOCK = SystemClock()


def eventually(condition: Callable[[], T], within_s: float, what: str = "") -> T:
    """Return the first true value of `condition`; AssertionError with `what` when it does not come true in time.

    An AssertionError of the condition counts as not yet, and is what is raised at the end.
    """
    deadline_ms = CLOCK.monotonic_ms() + within_s * 1000
    last: AssertionError | None = None
    pause_s = POLL_S
    while True:
        late = CLOCK.monotonic_ms() > deadline_ms
        try:
            if value := condition():
                return value
        except AssertionError as error:
            last = error
        if late:
            raise last or AssertionError(f"not within {within_s} s: {what or condition}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)  # Leave the processor to those who are waited for.


class Process:
    """One part of the system in a process of its own."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self) -> None:
        """As `kill -9`."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(15)

    def pause(self) -> None:
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.popen.send_signal(signal.SIGCONT)


class System:
    """Parts on a server of the test's own. `url` is what tests and consumers use."""

    def __init__(self, server: RedisServer, folder: Path, *, variables: Mapping[str, str] | None = None) -> None:
        self.server = server
        self.folder = folder
        self.processes: list[Process] = []
        self.variables = {
            "WATCHKEEPER_REDIS_URL": server.url,
            "WATCHKEEPER_DATA_DIR": str(folder / "data"),
            "WATCHKEEPER_HEARTBEAT_MS": str(HEARTBEAT_MS),
            "WATCHKEEPER_LOG_LEVEL": "WARNING",
            **(variables or {}),
        }
        self._runner = asyncio.Runner()
        self._store = RedisStore(server.url)
        self._open = False

    @property
    def url(self) -> str:
        return self.server.url

    # Parts ------------------------------------------------------------------------------------------------------

    def start(self, *parts: str, env: Mapping[str, str] | None = None) -> list[Process]:
        """Start parts, and return when all of them show that they live."""
        processes = self.spawn(*parts, env=env)
        self.until_live(processes)
        return processes

    def spawn(self, *parts: str, env: Mapping[str, str] | None = None) -> list[Process]:
        """Start parts without waiting for them."""
        return [self._spawn(part, env or {}) for part in parts]

    def until_live(self, processes: Sequence[Process]) -> None:
        eventually(lambda: self.live(processes), START_TIMEOUT_S, f"{[process.name for process in processes]} to start")

    def live(self, processes: Sequence[Process]) -> bool:
        for process in processes:
            assert process.popen.poll() is None, f"{process.name} has ended:\n{process.log.read_text()[-3000:]}"
        hearts = self.execute(lambda store: store.heartbeats(HEARTBEAT_MS * 4))
        pids = {int(name.rpartition(":")[2]) for name in hearts}
        return pids.issuperset(process.pid for process in processes)

    def logs(self, processes: Sequence[Process] | None = None) -> str:
        """The ends of the parts' logs, for what pytest prints of a failure."""
        return "\n".join(f"--- {process.log.name}\n{process.log.read_text()[-3000:]}" for process in processes or self.processes)

    def close(self) -> None:
        """End every process that is left, whatever state it is in."""
        for process in self.processes:
            process.popen.kill()
        for process in self.processes:
            process.popen.wait()
        with contextlib.suppress(Exception):
            self._runner.run(self._store.close())
        self._runner.close()

    def _spawn(self, part: str, env: Mapping[str, str]) -> Process:
        log = self.folder / f"{len(self.processes)}-{part}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEPER_") and name != "REDIS_URL"}
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", "monitor.cli.main", part],
                env={**inherited, **self.variables, **env},
                stdout=file,
                stderr=file,
                cwd=self.folder,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no other way to die with the parent
            )
        process = Process(part, popen, log)
        self.processes.append(process)
        return process

    # What is registered -----------------------------------------------------------------------------------------

    def register(self, manifest: Mapping[str, Any], *, prune: bool = False) -> None:
        """As `watchkeeper apply` does."""
        root = load_yaml(yaml.safe_dump(dict(manifest)), "test.yml")
        self.execute(lambda store: registry.apply(store, [root], actor="tester", prune=prune))

    def route(self, url: str, *, body: str = BODY, **settings: Any) -> None:
        """Write the routing file for the parts started after this. A message tells of one alert, unless `settings` group otherwise."""
        file = self.folder / "alerting.yml"
        routing = {"receiver": "people", "group_by": ["alertname", "endpoint"], "group_wait": "1s", "group_interval": "1s", **settings}
        receiver = {"name": "people", "apprise_configs": [{"url": url, **({"body": body} if body else {})}]}
        file.write_text(yaml.safe_dump({"route": routing, "receivers": [receiver]}))
        self.variables["WATCHKEEPER_ALERTING"] = str(file)

    # What is true -----------------------------------------------------------------------------------------------

    def execute(self, question: Callable[[Store], Awaitable[T]]) -> T:
        async def executed() -> T:
            if not self._open:
                await self._store.open(create=True)
                self._open = True
            return await question(self._store)

        return self._runner.run(executed())

    def events(self) -> list[Transition]:
        return self.execute(lambda store: read_events(store, 10_000))[0]

    def breaker_events(self, endpoint: str) -> list[str]:
        """The breaker's states that an endpoint came to, in order."""
        return [event.new for event in self.events() if event.endpoint == endpoint and event.kind == "breaker"]

    def record(self, endpoint: str) -> Record:
        (loaded,) = self.execute(lambda store: store.load([endpoint]))
        return decode_record(loaded.record)

    def breaker(self, endpoint: str) -> str:
        return self.record(endpoint).breaker.state.value

    def snapshot(self, pool: str) -> Snapshot:
        (data,) = self.execute(lambda store: store.snapshots([pool]))
        snapshot = decode_snapshot(data)
        assert snapshot is not None, f"{pool} is not published"
        return snapshot

    def weights(self, pool: str) -> dict[str, int]:
        return {endpoint.id: endpoint.weight for endpoint in self.snapshot(pool).endpoints}

    def published(self, pool: str) -> list[tuple[int, int]]:
        """(epoch, version) of each entry of the pool's log, in the order of the log."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            entries: list[Any] = client.xrange(keys.log(pool))
        return [(int(entry.partition(b"-")[0]), int(entry.partition(b"-")[2])) for entry, _ in entries]

    def lagging(self) -> list[str]:
        return self.execute(lambda store: store.lagging())

    def counter(self, name: str) -> int:
        return self.execute(lambda store: store.counters()).get(name, 0)


def manifest(targets: Targets, names: Sequence[str], *, interval_ms: int = 1_000, pool: str = "shop", **settings: Any) -> dict[str, Any]:
    """Endpoints on targets of these names, quick to trip and quick to come back."""
    common = {
        "pool": pool,
        "interval": f"{interval_ms}ms",
        "timeout": f"{interval_ms // 2}ms",
        "retries": 0,
        "failure_threshold": 2,
        "success_threshold": 1,
        **settings,
    }
    pools = {pool: {"open": "1s", "warm_up": "1s"}}
    return {"pools": pools, "endpoints": [{"id": name, "url": targets.url(name), **common} for name in names]}


def again_within_s(interval_ms: int) -> float:
    """Two intervals and a lease: how soon every endpoint must have been probed again, whoever died (a probe may last an interval)."""
    return (2 * interval_ms + interval_ms + LEASE_SLACK_MS) / 1000 + BUSY_S


def probed_again(targets: Targets, names: Sequence[str], *, interval_ms: int, since_ms: int | None = None) -> None:
    """Wait until each target has been probed since then (now, when not given)."""
    from_ms = CLOCK.now_ms() if since_ms is None else since_ms
    left_s = again_within_s(interval_ms) - (CLOCK.now_ms() - from_ms) / 1000

    def missing() -> bool:
        still = [name for name in names if not targets.since(name, from_ms)]
        assert not still, f"not probed again: {still}"
        return True

    eventually(missing, left_s)
