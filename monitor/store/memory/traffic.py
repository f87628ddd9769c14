"""Reports of consumers and what is known of traffic, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.errors import Stale
from monitor.core.reports import REPORT_BYTES_MAX
from monitor.store import keys
from monitor.store.memory.state import MemoryState
from monitor.store.port import Traffic, TrafficCommit
from monitor.store.queues import Queue


class MemoryTraffic(MemoryState):
    """See port.traffic."""

    def report(self, pool: str, data: bytes) -> None:
        """What a consumer does: an entry of the stream, and the pool announced."""
        self._reports[pool].append(data)
        self._queue(Queue.TRAFFIC).setdefault(pool, 0)

    async def reports(self, pool: str, limit: int) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        left = keys.REPORTS_READ_BYTES_MAX
        for at, data in self._reports[pool].after(0)[:limit]:
            if left <= 0:
                break
            found.append((f"{at}-0", data[: REPORT_BYTES_MAX + 1]))
            left -= len(found[-1][1])
        return found

    async def commit_traffic(self, commit: TrafficCommit) -> None:
        held = self._traffic.get(commit.pool, Traffic())
        if self._queue(Queue.TRAFFIC).get(commit.pool) != commit.token_ms or held.ver != commit.ver:
            raise Stale(f"the traffic of pool {commit.pool} is not ours any more, or was judged by another")
        fields = {endpoint_id: data for endpoint_id, data in {**held.fields, **commit.fields}.items() if endpoint_id not in commit.gone}
        self._traffic[commit.pool] = Traffic(commit.next_ver, commit.head, fields)
        for endpoint_id, row in commit.rows:
            blob = self._traffic_minutes.setdefault((commit.pool, endpoint_id), bytearray())
            blob.extend(bytes(max(0, row.offset + len(row.data) - len(blob))))
            blob[row.offset : row.offset + len(row.data)] = row.data
        stream, last = self._reports[commit.pool], int(commit.last.partition("-")[0] or 0)
        stream.delete([entry_id for entry_id, _ in stream.after(0) if int(entry_id) <= last])

    async def traffic_minutes(self, pool: str, endpoint_id: str) -> bytes:
        return bytes(self._traffic_minutes.get((pool, endpoint_id), b""))

    async def drop_traffic(self, pool: str, token_ms: int) -> bool:
        queue = self._queue(Queue.TRAFFIC)
        if queue.get(pool) != token_ms:
            return False
        del queue[pool]
        self._traffic.pop(pool, None)
        self._reports.pop(pool, None)
        return True

    async def traffic_heads(self, pools: Sequence[str]) -> list[bytes]:
        return [self._traffic.get(pool, Traffic()).head for pool in pools]

    async def announce_reports(self, pools: Sequence[str]) -> None:
        for pool in pools:
            self._queue(Queue.TRAFFIC).setdefault(pool, 0)
