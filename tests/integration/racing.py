"""Consumers that race for trials, each a process of its own: `python -m tests.integration.racing URL PROCESSES LOG`.

Each writes to the log when it holds a token ("h <pid> <n> <asked> <held>") and when its request has ended ("e <pid> <n> <ended>"), in
monotonic nanoseconds, which all processes of a machine share. Some die while they hold one. All end when standard input does.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time

from monitor.client import HealthView
from tests.conftest import die_with_parent

DIES_OF = 30
"""One of so many holders dies."""
REQUEST_S = 0.03
BETWEEN_S = 0.2


def race(url: str, log: int) -> None:
    pid, holds = os.getpid(), 0
    dice = secrets.SystemRandom()
    with HealthView(url, pools=["shop"], poll_ms=300, timeout_ms=500) as view:
        while True:
            asked_ns = time.monotonic_ns()
            with view.trial("b") as trial:
                if trial is not None:
                    holds += 1
                    os.write(log, b"h %d %d %d %d\n" % (pid, holds, asked_ns, time.monotonic_ns()))
                    if dice.randrange(DIES_OF) == 0:
                        os.kill(pid, signal.SIGKILL)
                    time.sleep(REQUEST_S * dice.random())
                    os.write(log, b"e %d %d %d\n" % (pid, holds, time.monotonic_ns()))
            time.sleep(BETWEEN_S * dice.random())


def main(url: str, processes: int, path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            die_with_parent()
            race(url, log)
        children.append(child)
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
