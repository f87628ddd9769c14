"""Whom a decision is about."""

from __future__ import annotations

from typing import Any

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.record import Override


class Subject(msgspec.Struct, frozen=True):
    """What is registered, what an operator has said of it, and what must be known of its pool.

    `reported_ms` is when a consumer last reported anything on the pool (0: never), where an opening by such reports lasts; `gathered` is
    what an active policy that compares members has gathered from them. Elsewhere both are None.
    """

    endpoint: Endpoint
    pool: Pool
    override: Override | None = None
    reported_ms: int | None = None
    gathered: Any = None
