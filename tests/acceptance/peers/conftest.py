"""The peers that tests ask what is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.peers.alertmanager import Alertmanager
from tests.acceptance.peers.peer import installed, running


def ready(port: int, path: str = "/-/ready") -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    program = installed("prometheus-alertmanager")
    config = tmp_path / "alertmanager.yml"
    config.write_text("{route: {receiver: nobody}, receivers: [{name: nobody}]}")

    def command(port: int) -> list[str]:
        return [
            program,
            f"--config.file={config}",
            f"--storage.path={tmp_path / 'storage'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]

    with running(command, ready, tmp_path / "alertmanager.log") as port:
        peer = Alertmanager(port, config)
        yield peer
        peer.close()
