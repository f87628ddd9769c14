"""The command line for tests: the real command in a process of its own, on an empty real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.commands import WATCHKEEPER, Run, make_data_set
from tests.integration.plant import Plant, Story
from tests.receiving import Mailbox, Service, mail_server
from workers.receivers import plugins


@pytest.fixture
def environment(redis_url: str, tmp_path: Path) -> dict[str, str]:
    make_data_set(redis_url)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHKEEPER_", "REDIS_"))}
    return {**own, "WATCHKEEPER_REDIS_URL": redis_url, "WATCHKEEPER_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*args: str, code: int = 0, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        variables = {**environment, **(env or {})}
        done = subprocess.run(
            [str(WATCHKEEPER), *args], input=stdin, capture_output=True, text=True, cwd=tmp_path, env=variables, timeout=60, check=False
        )
        assert done.returncode == code, (args, done.stdout[-2_000:], done.stderr[-2_000:])
        assert "\x1b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def service() -> Iterator[Service]:
    plugins.apprise()  # It is imported once in a process, and no message of a test waits for that.
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    with mail_server() as box:
        yield box


@pytest.fixture
def plant(redis_url: str) -> Callable[[Story], None]:
    """Runs a story on an open, empty plant."""

    def play(story: Story) -> None:
        async def run() -> None:
            plant = await Plant(redis_url).open()
            try:
                await story(plant)
            finally:
                await plant.store.close()

        asyncio.run(run())

    return play
