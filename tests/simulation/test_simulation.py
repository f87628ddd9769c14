"""The whole system under cruel weather, replayed from seeds. A failure names its seed and how to see all of it."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.run import simulate, weather_of

SEEDS = 100


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of warnings about the weather cost more time than the weather; `make simulate SEED=...` shows them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_must_hold_holds_in_any_weather(seed: int) -> None:
    outcome = simulate(seed, weather_of(seed))
    assert not outcome.complaints, str(outcome)


def test_a_seed_is_the_same_story_each_time() -> None:
    logs = [simulate(13, "storm").log for _ in range(2)]
    assert logs[0] == logs[1]
    assert len(logs[0]) > 100


STORY = """
import hashlib, logging
from tests.simulation.run import simulate
logging.disable(logging.CRITICAL)
print(hashlib.sha256("\\n".join(simulate(13, "storm").log).encode()).hexdigest())
"""


def test_and_in_another_interpreter_too() -> None:
    """However it orders its sets."""
    log = simulate(13, "storm").log
    ours = hashlib.sha256("\n".join(log).encode()).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        told = subprocess.run([sys.executable, "-c", STORY], env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert told.stdout.strip() == ours
