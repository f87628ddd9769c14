"""Reports of consumers, and what is known of the traffic of each pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from monitor.core.history import RowWrite


class Traffic(msgspec.Struct, frozen=True):
    """What is known of a pool's traffic, as one reading: `head` of the pool, `fields` by endpoint id. `ver` 0: nothing."""

    ver: int = 0
    head: bytes = b""
    fields: Mapping[str, bytes] = {}


class TrafficCommit(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged of a pool's reports. Refused (Stale) unless the traffic's version is still `ver` and the pool's lease in the queue
    TRAFFIC still `token_ms`.

    `fields` are those that have changed, `gone` those of endpoints that are members no more; `last` is the id of the last entry that is
    folded in ("" for none): it goes, and all before it.
    """

    pool: str
    token_ms: int
    ver: int
    next_ver: int
    head: bytes
    fields: Mapping[str, bytes] = {}
    gone: Sequence[str] = ()
    last: str = ""
    rows: Sequence[tuple[str, RowWrite]] = ()
    """Closed minutes of endpoints' traffic, by id (core/history)."""


class TrafficPort(Protocol):
    """Reports wait in a stream for each pool; the pools that have some stand in the queue TRAFFIC, where consumers announce them."""

    async def reports(self, pool: str, limit: int) -> list[tuple[str, bytes]]:
        """The oldest entries that no commit has folded in, with their ids ("<server ms>-<n>"); b"" for one without a report.

        After REPORTS_READ_BYTES_MAX (store.keys) no more follow; one longer than REPORT_BYTES_MAX is cut where that shows. Read them
        after the traffic that they are folded into (load_pool): then a commit that came between refuses the next."""

    async def commit_traffic(self, commit: TrafficCommit) -> None:
        """Write what was judged and take the entries out, all at once. Raises Stale."""

    async def traffic_minutes(self, pool: str, endpoint_id: str) -> bytes:
        """The closed minutes of an endpoint's traffic, b"" for none; they go when none was added for TRAFFIC_MINUTES_TTL_MS."""

    async def drop_traffic(self, pool: str, token_ms: int) -> bool:
        """Take away all that is known and reported of a pool without members, and the pool from the queue. False when the lease is not
        ours any more."""

    async def traffic_heads(self, pools: Sequence[str]) -> list[bytes]:
        """The heads of these pools' traffic, in their order; b"" for one of which nothing is known."""

    async def announce_reports(self, pools: Sequence[str]) -> None:
        """Let pools fall due in the queue TRAFFIC unless they stand in it, as consumers do."""
