"""Systems, targets and receivers for one test each; everything that a test started ends with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.receiver import Receiver
from tests.acceptance.system import System
from tests.acceptance.targets import Targets
from tests.conftest import RedisServer


@pytest.fixture
def targets() -> Iterator[Targets]:
    targets = Targets()
    yield targets
    targets.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def system(new_server: Callable[..., RedisServer], tmp_path: Path) -> Iterator[System]:
    """A server that keeps its data, and no part yet."""
    system = System(new_server(appendonly=True), tmp_path)
    yield system
    print(system.logs())
    system.close()


@pytest.fixture
def alerting_system(system: System, receiver: Receiver) -> System:
    """The system with a routing file that leads to `receiver`."""
    system.route(receiver.url)
    return system
