"""A hundred processes race for trials while the server is killed and holders die: never too many at a time, and never stuck."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from monitor.client import HealthView
from monitor.core.policies.policy import CONCURRENT_MAX
from monitor.core.reports import TrialReport, decode
from monitor.store import keys
from tests.conftest import RedisServer, die_with_parent
from tests.integration.test_client_redis import Publisher
from tests.integration.test_client_trials import live, try_b
from tests.waiting import wait_for

PROCESSES = 100
LEASE_MS = 1_000
PERMITTED = 1_000_000
DEADLINE_S = 60.0
ROOT = Path(__file__).parents[2]


def intervals(log: str) -> list[tuple[int, int]]:
    """For each token the time (ns) for which its holder knew that he held it: until his request ended, or until the earliest end of the
    lease that the server can have given."""
    held: dict[tuple[str, str], tuple[int, int]] = {}
    for line in log.splitlines():
        kind, pid, number, *times = line.split()
        if kind == "h":
            asked_ns, began_ns = map(int, times)
            held[pid, number] = began_ns, asked_ns + LEASE_MS * 1_000_000
        else:
            began_ns, until_ns = held[pid, number]
            held[pid, number] = began_ns, min(until_ns, int(times[0]))
    return [(began_ns, until_ns) for began_ns, until_ns in held.values() if began_ns < until_ns]


def most_at_once(spans: list[tuple[int, int]]) -> int:
    moments = sorted([(began, 1) for began, _ in spans] + [(until, -1) for _, until in spans], key=lambda moment: (moment[0], moment[1]))
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


def test_a_hundred_processes(new_server: Callable[..., RedisServer], tmp_path: Path) -> None:
    server, log = new_server(appendonly=True), tmp_path / "log"
    publisher = Publisher(server.url)
    try_b(publisher, permitted=PERMITTED, lease_ms=LEASE_MS)
    log.touch()
    command = [sys.executable, "-m", "tests.integration.racing", server.url, str(PROCESSES), str(log)]
    racers = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, preexec_fn=die_with_parent)  # noqa: PLW1509 - see there
    assert racers.stdin is not None
    for _ in range(3):
        before = log.read_text().count("h ")
        wait_for(lambda before=before: log.read_text().count("h ") >= before + 50, DEADLINE_S, 0.1)
        server.kill()
        server.start()
    before = log.read_text().count("h ")
    wait_for(lambda: log.read_text().count("h ") >= before + 50, DEADLINE_S, 0.1)
    racers.stdin.close()
    racers.wait(30)

    text = log.read_text()
    assert len({line.split()[1] for line in text.splitlines()}) > PROCESSES // 4, "few took part"
    assert text.count("h ") > text.count("e "), "nobody died while he held a token"
    assert 2 <= most_at_once(intervals(text)) <= CONCURRENT_MAX

    with HealthView(server.url, poll_ms=200) as view:

        def tries() -> bool:
            with view.trial("b") as trial:
                return trial is not None

        wait_for(tries)  # What the dead held comes back with the end of its lease, and whoever asks takes it away.
        wait_for(lambda: not live(publisher.redis) or (tries() and False))
    gen, issued, lost, ok, failed = map(int, publisher.redis.hget(keys.trials_issued("shop"), "b").split())
    assert (gen, failed) == (7, 0)
    assert lost > 0
    assert issued == ok
    told = [decode(fields[b"r"]) for _, fields in publisher.redis.xrange(keys.reports("shop"))]
    assert len([one for one in told if isinstance(one, TrialReport)]) == ok
    publisher.redis.close()
