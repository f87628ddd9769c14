"""Reports of consumers and what is known of traffic, on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.errors import Stale, StoreRefusal
from monitor.core.reports import REPORT_BYTES_MAX
from monitor.store import keys
from monitor.store.port import TrafficCommit
from monitor.store.redis.calls import Calls


class TrafficCalls(Calls):
    """The calls of the port that concern traffic."""

    async def reports(self, pool: str, limit: int) -> list[tuple[str, bytes]]:
        entries = await self._wire.run("load_reports", [keys.reports(pool)], limit, keys.REPORTS_READ_BYTES_MAX, REPORT_BYTES_MAX + 1)
        return [(entry_id.decode(), data) for entry_id, data in entries]

    async def commit_traffic(self, commit: TrafficCommit) -> None:
        names = [keys.traffic(commit.pool), keys.reports(commit.pool), keys.REPORTS]
        names += [keys.traffic_minutes(commit.pool, endpoint_id) for endpoint_id, _ in commit.rows]
        head = b"%013d%b" % (commit.next_ver, commit.head)
        fences = commit.pool, commit.token_ms, keys.version_text(commit.ver)
        fields = [part for field in commit.fields.items() for part in field]
        rows = [part for _, row in commit.rows for part in (row.offset, row.data)]
        limits = keys.TRAFFIC_TTL_MS, keys.TRAFFIC_MINUTES_TTL_MS, len(commit.fields)
        if not await self._wire.run("commit_traffic", names, *fences, head, commit.last, *limits, *fields, *rows, *commit.gone):
            raise Stale(f"the traffic of pool {commit.pool} is not ours any more, or was judged by another")

    async def traffic_minutes(self, pool: str, endpoint_id: str) -> bytes:
        (found,) = await self._wire.execute_each(("GET", keys.traffic_minutes(pool, endpoint_id)))
        return b"" if isinstance(found, StoreRefusal) else found or b""

    async def drop_traffic(self, pool: str, token_ms: int) -> bool:
        return bool(await self._wire.run("drop_traffic", [keys.traffic(pool), keys.reports(pool), keys.REPORTS], pool, token_ms))

    async def traffic_heads(self, pools: Sequence[str]) -> list[bytes]:
        heads = await self._wire.execute_each(*(("HGET", keys.traffic(pool), "") for pool in pools))
        return [b"" if isinstance(head, StoreRefusal) else keys.split_version(head)[1] for head in heads]

    async def announce_reports(self, pools: Sequence[str]) -> None:
        if pools:
            await self._wire.execute_one("ZADD", keys.REPORTS, "NX", *(part for pool in pools for part in (0, pool)))
