"""What Prometheus reads. Names of probes are blackbox_exporter's, so that its dashboards and rules go on working.

The text is written here and not by prometheus_client, which takes more than a second for the 100,000 samples of 10,000
endpoints; tests parse it with prometheus_client. docs/reference/metrics.md is the legend.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import REGISTRY, generate_latest

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome, Phases
from monitor.core.parts import PartName
from monitor.core.process import Process, decode_process
from monitor.core.record import Breaker, Record, decode_record
from monitor.pool.snapshot import Snapshot
from monitor.pool.traffic.shapes import decode_head
from monitor.query.readable import readable
from monitor.store.port import Loaded, Store

__all__ = ["CONTENT_TYPE", "FAMILIES", "render"]

HTTP_KINDS = frozenset({"http", "https"})
BREAKER_VALUES = {Breaker.CLOSED: 0, Breaker.HALF_OPEN: 1, Breaker.OPEN: 2}

FAMILIES: Mapping[str, str] = {
    "probe_success": "Whether the last conclusive probe succeeded (1) or failed (0)",
    "probe_duration_seconds": "How long the last attempt of the last probe took",
    "probe_http_duration_seconds": "Duration of the last HTTP probe by phase, summed over redirects",
    "probe_http_status_code": "Status of the last HTTP response",
    "probe_ssl_earliest_cert_expiry": "Earliest expiry of the certificates served last, in Unix seconds",
    "probe_ip_protocol": "Version of the Internet Protocol of the last connection, 4 or 6",
    "watchkeeper_stale_answer_timestamp_seconds": "When the expired DNS answer came that the last conclusive probe has its address from",
    "watchkeeper_breaker_state": "Breaker: 0 closed, 1 half-open, 2 open",
    "watchkeeper_weight": "Published weight; those of a pool sum to 1000, or to 0 where nobody may take traffic",
    "watchkeeper_last_result_timestamp_seconds": "When the last result came, in Unix seconds",
    "watchkeeper_pool_panic_ratio": "Share of a pool's traffic that goes to endpoints which should have none",
    "watchkeeper_pool_shed_ratio": "Share of a pool's traffic that is better refused",
    "watchkeeper_observers": "Consumers that report on a pool",
    "watchkeeper_observers_quarantined": "Consumers whose reports do not count, because they fail where the others do not",
    "watchkeeper_pool_traffic_success_ratio": "Share of the calls that consumers reported of late of endpoints in use which succeeded",
    "watchkeeper_endpoints": "Registered endpoints",
    "watchkeeper_overdue_endpoints": "Endpoints past their due time that nobody has taken",
    "watchkeeper_overdue_seconds": "How late the first of them is",
    "watchkeeper_pools_lagging": "Pools whose results, or whose publication, have stopped",
    "watchkeeper_unreadable_records": "Stored records that could not be read and were set aside",
    "watchkeeper_process_heartbeat_age_seconds": "Time since the last heartbeat of a process of ours",
    "watchkeeper_process_lateness_seconds": "Start lateness of probes between a worker's last two heartbeats",
}

_PHASES = {"resolve": "resolve_ms", "connect": "connect_ms", "tls": "tls_ms", "processing": "first_byte_ms", "transfer": "transfer_ms"}
_COUNTER = re.compile(r"[a-z][a-z0-9_]*")
"""Counters are called like this; whatever else stands among them is none of ours, and would make the whole scrape unreadable."""
_UNCOUNTABLE = contextlib.suppress(OverflowError)
"""Around whatever belongs to one item: a stored number that no float can hold leaves out that item's samples alone."""
_decode_snapshot = msgspec.json.Decoder(Snapshot).decode


class Exposition:
    """Samples by family, in Prometheus' text format."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in FAMILIES}

    def add(self, family: str, labels: str, value: float) -> None:
        self._samples[family].append(f"{family}{{{labels}}} {value}\n" if labels else f"{family} {value}\n")

    def text(self, counters: Mapping[str, int]) -> str:
        parts: list[str] = []
        for name, samples in self._samples.items():
            if samples:
                parts.append(f"# HELP {name} {FAMILIES[name]}\n# TYPE {name} gauge\n")
                parts.extend(samples)
        for name, value in sorted(counters.items()):
            if not _COUNTER.fullmatch(name):
                continue
            family = f"watchkeeper_{name}_total"
            parts.append(
                f"# HELP {family} Counted by all processes since the data set was made\n# TYPE {family} counter\n{family} {value}\n"
            )
        return "".join(parts)


def label_text(**labels: object) -> str:
    """Labels as the format writes them."""
    return ",".join(f'{name}="{_escape(str(value))}"' for name, value in labels.items())


async def render(store: Store, now_ms: int, max_age_ms: int) -> bytes:
    """Read the store once and return the whole scrape. Raises StoreError."""
    endpoints = list((await store.endpoints()).values())
    loaded = await store.load([endpoint.id for endpoint in endpoints])
    pools = sorted({endpoint.pool for endpoint in endpoints})
    snapshots, heads = await store.snapshots(pools), await store.traffic_heads(pools)
    overdue, overdue_ms = await store.due_overdue()
    hearts = await store.heartbeats(max_age_ms)
    counters = await store.counters()
    lagging, unreadable = len(await store.lagging()), await store.aside_count()

    def write() -> bytes:
        out = Exposition()
        weights = _add_pools(out, zip(pools, snapshots, strict=True))
        _add_traffic(out, zip(pools, heads, strict=True))
        for endpoint, record in zip(endpoints, loaded, strict=True):
            with _UNCOUNTABLE:
                _add_endpoint(out, endpoint, record, weights)
        out.add("watchkeeper_endpoints", "", len(endpoints))
        out.add("watchkeeper_overdue_endpoints", "", overdue)
        out.add("watchkeeper_overdue_seconds", "", overdue_ms / 1000)
        out.add("watchkeeper_pools_lagging", "", lagging)
        out.add("watchkeeper_unreadable_records", "", unreadable)
        _add_processes(out, [process for heart in hearts.values() if (process := readable(decode_process, heart)) is not None], now_ms)
        return out.text(counters).encode() + generate_latest(REGISTRY)

    return await asyncio.to_thread(write)


def _add_pools(out: Exposition, snapshots: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    """Add what is said of whole pools; return the weights by endpoint."""
    weights: dict[str, int] = {}
    for pool, data in snapshots:
        snapshot = readable(_decode_snapshot, data)
        if snapshot is None or snapshot.pool != pool:
            continue
        labels = label_text(pool=snapshot.pool)
        out.add("watchkeeper_pool_panic_ratio", labels, snapshot.panic)
        out.add("watchkeeper_pool_shed_ratio", labels, snapshot.shed)
        weights.update((endpoint.id, endpoint.weight) for endpoint in snapshot.endpoints)
    return weights


def _add_traffic(out: Exposition, heads: Iterable[tuple[str, bytes]]) -> None:
    """Add what consumers of whole pools report; nothing of a pool without any."""
    for pool, data in heads:
        head = readable(decode_head, data) if data else None
        if head is not None:
            labels = label_text(pool=pool)
            out.add("watchkeeper_observers", labels, len(head.observers))
            out.add("watchkeeper_observers_quarantined", labels, len(head.quarantined))
            out.add("watchkeeper_pool_traffic_success_ratio", labels, head.success_percent / 100)


def _add_endpoint(out: Exposition, endpoint: Endpoint, loaded: Loaded, weights: Mapping[str, int]) -> None:
    record = readable(decode_record, loaded.record) or Record()
    labels = label_text(endpoint=endpoint.id, pool=endpoint.pool)
    if endpoint.id in weights:
        out.add("watchkeeper_weight", labels, weights[endpoint.id])
    if not loaded.record:
        return
    out.add("watchkeeper_breaker_state", labels, BREAKER_VALUES[record.breaker.state])
    if record.probes.run_outcome is not None:
        out.add("probe_success", labels, int(record.probes.run_outcome is Outcome.SUCCESS))
    if record.probes.last.at_ms:
        _add_last_result(out, endpoint.kind, labels, record)


def _add_last_result(out: Exposition, kind: str, labels: str, record: Record) -> None:
    last = record.probes.last
    out.add("watchkeeper_last_result_timestamp_seconds", labels, last.at_ms / 1000)
    out.add("probe_duration_seconds", labels, last.duration_ms / 1000)
    if last.certificate_not_after_ms:
        out.add("probe_ssl_earliest_cert_expiry", labels, last.certificate_not_after_ms / 1000)
    if last.stale is not None:
        out.add("watchkeeper_stale_answer_timestamp_seconds", labels, last.stale.at_ms / 1000)
    if last.ip:
        out.add("probe_ip_protocol", labels, 6 if ":" in last.ip else 4)
    if kind in HTTP_KINDS:
        out.add("probe_http_status_code", labels, last.status)
        _add_phases(out, labels, last.phases)


def _add_phases(out: Exposition, labels: str, phases: Phases) -> None:
    for phase, field in _PHASES.items():
        out.add("probe_http_duration_seconds", f'{labels},phase="{phase}"', getattr(phases, field) / 1000)


def _add_processes(out: Exposition, processes: Iterable[Process], now_ms: int) -> None:
    for process in processes:
        labels = label_text(part=process.part, host=process.host, pid=process.pid, location=process.location)
        with _UNCOUNTABLE:
            out.add("watchkeeper_process_heartbeat_age_seconds", labels, max(0, now_ms - process.at_ms) / 1000)
            if process.part == PartName.WORKER:
                for quantile, late_ms in (("0.5", process.lateness_p50_ms), ("0.99", process.lateness_p99_ms)):
                    out.add("watchkeeper_process_lateness_seconds", f'{labels},quantile="{quantile}"', late_ms / 1000)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
