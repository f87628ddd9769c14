"""The parts that a running system consists of."""

from __future__ import annotations

from enum import StrEnum


class PartName(StrEnum):
    """What one process does; of each there may be several. It is the command that runs it, and the head of the process's name."""

    BEAT = "beat"
    WORKER = "worker"
    ALERT_WORKER = "alert-worker"
    WEB = "web"
