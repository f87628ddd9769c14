"""A real Alertmanager, read over its API."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml


class Alertmanager:
    def __init__(self, port: int, config: Path) -> None:
        self._config = config
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def close(self) -> None:
        self._client.close()

    def load(self, config: Mapping[str, Any]) -> None:
        """Let it work with another configuration; its alerts stay."""
        self._config.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        answer = self._client.post("/-/reload")
        assert answer.status_code == 200, f"{answer.text}\n{self._config.read_text()}"

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        self._client.post("/api/v2/alerts", json=list(alerts)).raise_for_status()

    def groups(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.get("/api/v2/alerts/groups").raise_for_status().json()
        return found

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.get("/api/v2/alerts").raise_for_status().json()
        return found


def stamp(at_ms: int) -> str:
    """A time as the API writes it."""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat()
