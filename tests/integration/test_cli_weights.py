"""`watchkeeper pool weights`: what each member gets, drawn and in numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import yaml

from tests.integration.commands import WATCHKEEPER, Run
from tests.integration.published_pool import publish_pool
from tests.waiting import wait_for


def test_each_member_is_a_bar_beside_its_factors(run: Run, redis_url: str) -> None:
    publish_pool(redis_url)
    title, first, _, tried = run("pool", "weights", "shop").stdout.splitlines()
    assert title.split() == ["ENDPOINT", "WEIGHT", "SHARE", "BASE", "H", "L", "SIGMA", "CAP", "TARGET", "DAMPED", "WHY"]
    assert first.split()[:2] == ["shop-1", "495"]
    assert first.count("█") > 25
    assert tried.count("█") == 0
    assert "│" in tried, "the line of the base share, which its bar does not reach"
    assert "a trial share and tokens of consumers try it" in tried


def test_programs_get_every_factor(run: Run, redis_url: str) -> None:
    publish_pool(redis_url)
    rows = json.loads(run("pool", "weights", "shop", "-o", "json").stdout)
    assert [(row["endpoint"], row["weight"], row["tier"]) for row in rows] == [("shop-1", 495, 0), ("shop-2", 495, 0), ("shop-3", 10, 2)]
    assert (rows[2]["breaker"], rows[2]["override"], rows[2]["trial_share"], rows[2]["target"]) == ("HALF_OPEN", None, 0.01, 0.01)
    assert (rows[0]["base"], rows[0]["h"], rows[0]["l"], rows[0]["sigma"], rows[0]["cap"]) == (0.333333, 1, 1, 1, 0.666667)
    assert (rows[0]["pool"], rows[0]["pool_panic"], rows[0]["pool_shed"]) == ("shop", 0, 0)
    assert yaml.safe_load(run("pool", "weights", "shop", "-o", "yaml").stdout) == rows


def test_a_pool_that_is_none_is_refused(run: Run, redis_url: str) -> None:
    publish_pool(redis_url)
    assert "did you mean shop?" in run("pool", "weights", "shp", code=2).stderr


def test_watching_draws_it_again_until_it_is_interrupted(run: Run, redis_url: str) -> None:
    publish_pool(redis_url)
    watching = subprocess.Popen(
        [WATCHKEEPER, "pool", "weights", "shop", "--watch", "-o", "json", "--redis-url", redis_url],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert watching.stdout is not None
    seen: list[str] = []
    wait_for(lambda: seen.append(watching.stdout.readline()) or sum(line == "[\n" for line in seen) == 2)  # type: ignore[union-attr]
    watching.send_signal(signal.SIGINT)
    watching.wait(10)
