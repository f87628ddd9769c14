"""Watchkeeper as a whole, beside Prometheus + blackbox_exporter and HAProxy on the same nginx targets."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.lab import SUSTAINED, Measure, Report, Scale, Targets, folder, found, free_port, get, process, say, targets, wait_for
from examples.targets import Target
from monitor.core.endpoint import INTERVAL_MIN_MS

COMMAND = str(Path(sys.executable).with_name("watchkeeper"))
PEER = "Prometheus + blackbox_exporter"
ATTEMPTS_MAX = 4
CHANCES = 2
"""How often a rate is tried before it counts as too high: somebody else's work on the machine is not the system's limit."""
DETECTION_TIMEOUT_S = 30
SHORT_ENDPOINTS = 500

System = Callable[[Targets, Scale, int, int], Measure]
"""Runs with so many endpoints, each probed once in so many milliseconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """`watchkeeper up` on a folder of its own."""

    pid: int
    data_dir: Path
    listen: str

    def command(self, *argv: str) -> str:
        done = subprocess.run([COMMAND, *argv, "--data-dir", str(self.data_dir)], check=True, capture_output=True, text=True)
        return done.stdout

    def apply(self, defaults: dict[str, object], endpoints: list[dict[str, object]]) -> None:
        file = self.data_dir / "endpoints.json"
        file.write_text(json.dumps({"defaults": defaults, "endpoints": endpoints}))
        self.command("apply", "-f", str(file))

    def probe(self, target: Targets, endpoints: int, interval_ms: int) -> None:
        """Probe so many endpoints, ten to a pool, and let the system come to rest."""
        self.apply(
            {"interval": f"{interval_ms}ms", "timeout": f"{min(interval_ms, 1_000)}ms"},
            [{"id": f"service-{n}", "url": target.url(n), "pool": f"pool-{n // 10}"} for n in range(endpoints)],
        )
        time.sleep(3 + 3 * interval_ms / 1000)

    def observe(self, target: Targets, endpoints: int, interval_ms: int, seconds: float) -> Measure:
        measure = target.observe("Watchkeeper", endpoints, interval_ms, [self.pid], seconds)
        return dataclasses.replace(measure, lateness=self.lateness())

    def lateness(self) -> dict[str, float]:
        """Start lateness of the worst worker, as it was reported with the last heartbeat."""
        worst = {"p50": 0.0, "p99": 0.0}
        for line in get(f"http://{self.listen}/metrics", 30).splitlines():
            for name, label in (("p50", 'quantile="0.5"'), ("p99", 'quantile="0.99"')):
                if line.startswith("watchkeeper_process_lateness_seconds{") and 'part="worker"' in line and label in line:
                    worst[name] = max(worst[name], float(line.rpartition(" ")[2]) * 1000)
        return worst


@contextmanager
def running(workers: int) -> Iterator[Running]:
    with folder() as data_dir:
        listen = f"127.0.0.1:{free_port()}"
        argv = [COMMAND, "up", "--data-dir", str(data_dir), "--listen", listen, "--workers", str(workers)]
        with process(argv, data_dir / "log") as up:
            wait_for(f"http://{listen}/-/ready")
            yield Running(up.pid, data_dir, listen)


def watchkeeper(target: Targets, scale: Scale, endpoints: int, interval_ms: int) -> Measure:
    """The whole of it: history, breakers, weights, rules and publication are on, as they always are."""
    with running(scale.workers) as system:
        system.probe(target, endpoints, interval_ms)
        return system.observe(target, endpoints, interval_ms, scale.seconds)


def prometheus(target: Targets, scale: Scale, endpoints: int, interval_ms: int) -> Measure:
    """Two processes and two rules, as a user would set them up: one scrape of /probe for each endpoint.

    A probe may take 1 s, as with the others; the scrape around it the whole interval, so that a hiccup does not cost it its result.
    """
    with folder() as path:
        blackbox_port, port = free_port(), free_port()
        (path / "blackbox.yml").write_text("modules: {http_2xx: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4}}}\n")
        (path / "targets.json").write_text(json.dumps([{"targets": [target.url(n) for n in range(endpoints)]}]))
        (path / "rules.yml").write_text(
            "groups: [{name: probes, rules: [{alert: Down, expr: 'probe_success == 0', for: 6s},"
            " {alert: Slow, expr: 'probe_duration_seconds > 0.5', for: 1m}]}]\n"
        )
        (path / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {interval_ms}ms, scrape_timeout: {interval_ms}ms, evaluation_interval: {interval_ms}ms}}\n"
            f"rule_files: [{path}/rules.yml]\n"
            f"scrape_configs: [{{job_name: blackbox, metrics_path: /probe, params: {{module: [http_2xx]}},"
            f" file_sd_configs: [{{files: [{path}/targets.json]}}], relabel_configs: ["
            "{source_labels: [__address__], target_label: __param_target},"
            "{source_labels: [__param_target], target_label: instance},"
            f"{{target_label: __address__, replacement: '127.0.0.1:{blackbox_port}'}}]}}]\n"
        )
        exporter = [
            found("prometheus-blackbox-exporter"),
            f"--config.file={path}/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{blackbox_port}",
        ]
        server = [
            found("prometheus"),
            f"--config.file={path}/prometheus.yml",
            f"--storage.tsdb.path={path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with process(exporter, path / "log") as blackbox, process(server, path / "log") as prom:
            wait_for(f"http://127.0.0.1:{blackbox_port}/metrics")
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            time.sleep(6 + 3 * interval_ms / 1000)
            return target.observe(PEER, endpoints, interval_ms, [blackbox.pid, prom.pid], scale.seconds)


def haproxy(target: Targets, scale: Scale, endpoints: int, interval_ms: int) -> Measure:
    """Health checks alone: HAProxy keeps no history and sends no alerts."""
    with folder() as path:
        servers = "\n".join(f"  server s{n} 127.0.0.1:{target.port} check inter {interval_ms}ms" for n in range(endpoints))
        (path / "haproxy.cfg").write_text(
            "global\n  nbthread 1\n"
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n  timeout check 1s\n"
            f"frontend in\n  bind 127.0.0.1:{free_port()}\n  default_backend out\nbackend out\n  option httpchk GET /service/1\n{servers}\n"
        )
        with process([found("haproxy"), "-db", "-f", str(path / "haproxy.cfg")], path / "log") as balancer:
            time.sleep(2 + 2 * interval_ms / 1000)
            return target.observe("HAProxy checks", endpoints, interval_ms, [balancer.pid], scale.seconds)


def whole(scale: Scale) -> list[Report]:
    """Every system at a rate that it sustains: a peer with half as many endpoints until it does, Watchkeeper with longer intervals."""
    missing, measures = [], []
    with targets() as target:
        for peer in (prometheus, haproxy):
            try:
                measures += _until_sustained(peer, target, scale, scale.peer_size, lambda size, interval_ms: (size // 2, interval_ms))
            except FileNotFoundError as error:
                missing.append(f"left out: {error}")
                say(missing[-1])
        for size in scale.sizes:
            measures += _until_sustained(watchkeeper, target, scale, size, lambda size, interval_ms: (size, 2 * interval_ms))
    kept_up = [measure.cpu_us for measure in measures if measure.system == PEER and measure.achieved >= SUSTAINED]
    return [
        Report(
            "Whole systems: CPU of all processes per probe, as nginx counted probes",
            [_row(measure, kept_up[-1] if kept_up else None) for measure in measures],
            [f"Below {SUSTAINED:.0%} of the wanted rate a system did not keep up; it was then measured again with less to do.", *missing],
        ),
        Report("Where a system's CPU goes", [row for measure in measures if measure.achieved >= SUSTAINED for row in _parts(measure)]),
    ]


def _until_sustained(
    system: System, target: Targets, scale: Scale, endpoints: int, less: Callable[[int, int], tuple[int, int]]
) -> list[Measure]:
    measures: list[Measure] = []
    interval_ms = scale.interval_ms
    while len(measures) < ATTEMPTS_MAX and (not measures or measures[-1].achieved < SUSTAINED):
        if measures:
            say(f"  {measures[-1].achieved:.0%} of the wanted rate: again with less")
            endpoints, interval_ms = less(endpoints, interval_ms)
        say(f"{system.__name__}: {endpoints} endpoints every {interval_ms / 1000:g} s")
        measures.append(system(target, scale, endpoints, interval_ms))
    return measures


def _row(measure: Measure, peer_us: float | None) -> dict[str, str | float]:
    return {
        "system": measure.system,
        "endpoints": measure.endpoints,
        "every s": measure.interval_ms / 1000,
        "probes/s": round(measure.rate),
        "achieved": f"{measure.achieved:.0%}",
        "CPU us/probe": round(measure.cpu_us),
        "of Prometheus'": round(measure.cpu_us / peer_us, 3) if peer_us else "-",
        "memory MB": round(measure.pss_mb),
        "late p50 ms": round(measure.lateness["p50"]) if measure.lateness else "-",
        "late p99 ms": round(measure.lateness["p99"]) if measure.lateness else "-",
    }


def _parts(measure: Measure) -> list[dict[str, str | float]]:
    return [
        {
            "system": measure.system,
            "endpoints": measure.endpoints,
            "part": name,
            "user us/probe": round(measure.per_probe_us(used.user_s), 1),
            "kernel us/probe": round(measure.per_probe_us(used.kernel_s), 1),
            "share": f"{measure.per_probe_us(used.user_s + used.kernel_s) / max(measure.cpu_us, 1e-9):.0%}",
            "memory MB": round(used.pss_mb),
        }
        for name, used in sorted(measure.parts.items(), key=lambda item: -item[1].user_s - item[1].kernel_s)
    ]


def intervals(scale: Scale) -> list[Report]:
    """The shortest interval that may be registered, for as many endpoints as one machine easily probes."""
    with targets() as target:
        say(f"watchkeeper: {SHORT_ENDPOINTS} endpoints every {INTERVAL_MIN_MS / 1000:g} s")
        measure = watchkeeper(target, scale, SHORT_ENDPOINTS, INTERVAL_MIN_MS)
    row = {name: value for name, value in _row(measure, None).items() if name != "of Prometheus'"}
    return [Report("The shortest interval", [{**row, "achieved": f"{measure.achieved:.1%}"}])]


def capacity(scale: Scale) -> list[Report]:
    """One system, probing faster and faster until it falls behind."""
    measures: list[Measure] = []
    with targets() as target, running(scale.workers) as system:
        for rate in scale.rates:
            interval_ms = round(scale.capacity_endpoints / rate * 1000)
            say(f"watchkeeper: {scale.capacity_endpoints} endpoints, {rate} probes/s wanted")
            system.probe(target, scale.capacity_endpoints, interval_ms)
            for _ in range(CHANCES):
                measures.append(system.observe(target, scale.capacity_endpoints, interval_ms, scale.seconds / 2))
                if measures[-1].achieved >= SUSTAINED:
                    break
            else:
                break
    kept_up = [measure.rate for measure in measures if measure.achieved >= SUSTAINED]
    note = f"Sustained: {max(kept_up, default=0):,.0f} probes/s" + (" or more" if measures[-1].achieved >= SUSTAINED else "")
    rows = [{name: value for name, value in _row(measure, None).items() if name != "of Prometheus'"} for measure in measures]
    return [Report("Maximum sustained rate, targets on the same machine", rows, [note])]


def detection(scale: Scale) -> list[Report]:
    """From the decision to a consumer's view: the hint on the channel, and the snapshot read after it.

    Many endpoints, each alone in its pool, watch one target that begins to fail: all breakers open within one interval.
    """
    say(f"watchkeeper: {scale.trips} pools fail at once")
    delays: dict[str, float] = {}
    with running(1) as system, Target() as target:
        system.apply(
            {"interval": "1s", "timeout": "500ms", "retries": 0, "failure_threshold": 2},
            [{"id": f"flip-{n}", "url": target.health_url} for n in range(scale.trips)],
        )
        time.sleep(5)
        with redis.Redis.from_url(system.command("redis-url").strip()) as client, client.pubsub() as hints:
            hints.psubscribe("wk:v1:*:ch")
            target.mode = "fail"
            deadline = time.monotonic() + DETECTION_TIMEOUT_S
            while len(delays) < scale.trips and time.monotonic() < deadline:
                message = hints.get_message(timeout=1)
                if message is None or message["type"] != "pmessage":
                    continue
                snapshot = json.loads(client.get(message["channel"].decode().removesuffix(":ch") + ":snap") or b'{"endpoints": []}')
                seen_ms = time.time() * 1000
                for endpoint in snapshot["endpoints"]:
                    if endpoint["breaker"] == "OPEN":
                        delays.setdefault(endpoint["id"], seen_ms - endpoint["since_ms"])
    values = sorted(delays.values()) or [float("nan")]
    row: dict[str, str | float] = {
        "pools": scale.trips,
        "seen": len(delays),
        "median ms": round(statistics.median(values), 1),
        "p99 ms": round(values[int(len(values) * 0.99) - 1], 1),
        "worst ms": round(values[-1], 1),
    }
    return [Report("From the decision to a consumer's view, many pools failing at once", [row])]
