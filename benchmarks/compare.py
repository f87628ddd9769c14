"""Watchkeeper beside Prometheus + blackbox_exporter and HAProxy: one run, one machine, the same nginx targets.

    python -m benchmarks.compare [--seconds 20] [--sizes 500,2000,8000] [--peer-size 2000] [--interval 2]

CPU per probe is the CPU time of every process of a system (Redis, beat, workers, exporters) divided by the requests that
nginx counted. Machines are shared and noisy: compare within one run only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.lab import Measure, Targets, found, free_port, get, observe, process, targets, wait_for
from examples.targets import Target

COMMAND = str(Path(sys.executable).with_name("watchkeeper"))
DETECTION_TIMEOUT_S = 30
PROMETHEUS_PEER = "Prometheus + blackbox_exporter"


def watchkeeper(target: Targets, endpoints: int, interval_s: int, seconds: float, workers: int) -> Measure:
    """The whole of it: history, breakers, weights, rules and publication are on, as they always are."""
    with running(workers) as (pid, data_dir, listen):
        manifest = {
            "defaults": {"interval": f"{interval_s}s", "timeout": "1s"},
            "endpoints": [{"id": f"service-{n}", "url": target.url(n), "pool": f"pool-{n // 10}"} for n in range(endpoints)],
        }
        file = data_dir / "endpoints.json"
        file.write_text(json.dumps(manifest))
        subprocess.run([COMMAND, "apply", "-f", str(file), "--data-dir", str(data_dir)], check=True, capture_output=True)
        time.sleep(3 * interval_s + 3)
        measure = observe("Watchkeeper", endpoints, [pid], target, seconds)
        return dataclasses.replace(measure, notes=lateness(listen))


@contextmanager
def running(workers: int) -> Iterator[tuple[int, Path, str]]:
    """`watchkeeper up` on a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="watchkeeper-bench-") as name:
        data_dir, listen = Path(name), f"127.0.0.1:{free_port()}"
        argv = [COMMAND, "up", "--data-dir", name, "--listen", listen, "--workers", str(workers)]
        with process(argv, data_dir / "log") as up:
            wait_for(f"http://{listen}/-/ready")
            yield up.pid, data_dir, listen


def redis_url(data_dir: Path) -> str:
    return subprocess.run([COMMAND, "redis-url", "--data-dir", str(data_dir)], check=True, capture_output=True, text=True).stdout.strip()


def lateness(listen: str) -> str:
    """Start lateness as the workers report it with their heartbeats."""
    worst = {"0.5": 0.0, "0.99": 0.0}
    for line in get(f"http://{listen}/metrics").splitlines():
        for quantile in worst:
            if line.startswith("watchkeeper_process_lateness_seconds{") and 'part="worker"' in line and f'quantile="{quantile}"' in line:
                worst[quantile] = max(worst[quantile], float(line.rpartition(" ")[2]))
    return f"lateness p50 {worst['0.5'] * 1000:.0f} ms, p99 {worst['0.99'] * 1000:.0f} ms"


def prometheus(target: Targets, endpoints: int, interval_s: int, seconds: float) -> Measure:
    """Two processes and two rules, as a user would set them up."""
    with tempfile.TemporaryDirectory(prefix="watchkeeper-bench-") as name:
        folder, blackbox_port, port = Path(name), free_port(), free_port()
        (folder / "blackbox.yml").write_text("modules: {http_2xx: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4}}}\n")
        (folder / "targets.json").write_text(json.dumps([{"targets": [target.url(n) for n in range(endpoints)]}]))
        (folder / "rules.yml").write_text(
            "groups: [{name: probes, rules: [{alert: Down, expr: 'probe_success == 0', for: 6s},"
            " {alert: Slow, expr: 'probe_duration_seconds > 0.5', for: 1m}]}]\n"
        )
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {interval_s}s, scrape_timeout: 1s, evaluation_interval: {interval_s}s}}\n"
            f"rule_files: [{folder}/rules.yml]\n"
            f"scrape_configs: [{{job_name: blackbox, metrics_path: /probe, params: {{module: [http_2xx]}},"
            f" file_sd_configs: [{{files: [{folder}/targets.json]}}], relabel_configs: ["
            "{source_labels: [__address__], target_label: __param_target},"
            "{source_labels: [__param_target], target_label: instance},"
            f"{{target_label: __address__, replacement: '127.0.0.1:{blackbox_port}'}}]}}]\n"
        )
        exporter = [
            found("prometheus-blackbox-exporter"),
            f"--config.file={folder}/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{blackbox_port}",
        ]
        server = [
            found("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with process(exporter, folder / "log") as blackbox, process(server, folder / "log") as prom:
            wait_for(f"http://127.0.0.1:{blackbox_port}/metrics")
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            time.sleep(3 * interval_s + 6)
            return observe(PROMETHEUS_PEER, endpoints, [blackbox.pid, prom.pid], target, seconds)


def haproxy(target: Targets, endpoints: int, interval_s: int, seconds: float) -> Measure:
    """Health checks alone: HAProxy keeps no history and sends no alerts."""
    with tempfile.TemporaryDirectory(prefix="watchkeeper-bench-") as name:
        folder = Path(name)
        servers = "\n".join(f"  server s{n} 127.0.0.1:{target.port} check inter {interval_s}s" for n in range(endpoints))
        (folder / "haproxy.cfg").write_text(
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n  timeout check 1s\n"
            f"frontend in\n  bind 127.0.0.1:{free_port()}\n  default_backend out\nbackend out\n  option httpchk GET /service/1\n{servers}\n"
        )
        with process([found("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder / "log") as balancer:
            time.sleep(2 * interval_s + 2)
            return observe("HAProxy checks", endpoints, [balancer.pid], target, seconds)


def detection(samples: int) -> str:
    """From the decision to a consumer's view: the hint on the channel, and the snapshot read after it.

    Many endpoints, each alone in its pool, watch one target that begins to fail.
    """
    with running(1) as (_, data_dir, _), Target() as target:
        manifest = {
            "defaults": {"interval": "1s", "timeout": "500ms", "retries": 0, "failure_threshold": 2},
            "endpoints": [{"id": f"flip-{n}", "url": target.health_url} for n in range(samples)],
        }
        file = data_dir / "endpoints.json"
        file.write_text(json.dumps(manifest))
        subprocess.run([COMMAND, "apply", "-f", str(file), "--data-dir", str(data_dir)], check=True, capture_output=True)
        time.sleep(5)
        delays: dict[str, float] = {}
        with redis.Redis.from_url(redis_url(data_dir)) as client, client.pubsub() as hints:
            hints.psubscribe("wk:v1:*:ch")
            target.mode = "fail"
            deadline = time.monotonic() + DETECTION_TIMEOUT_S
            while len(delays) < samples and time.monotonic() < deadline:
                message = hints.get_message(timeout=1)
                if message is None or message["type"] != "pmessage":
                    continue
                snapshot = json.loads(client.get(message["channel"].decode().removesuffix(":ch") + ":snap") or b"{}")
                seen_ms = time.time() * 1000
                endpoint = snapshot["endpoints"][0]
                if endpoint["breaker"] == "OPEN":
                    delays.setdefault(endpoint["id"], seen_ms - endpoint["since_ms"])
    values = sorted(delays.values())
    return f"decision to consumer's view, {len(values)} trips: median {statistics.median(values):.1f} ms, worst {values[-1]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sizes", default="500,2000,8000")
    parser.add_argument("--peer-size", type=int, default=2000)
    parser.add_argument("--interval", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    console = Console()
    measures = []
    with targets() as target:
        for size in map(int, options.sizes.split(",")):
            console.print(f"Watchkeeper with {size} endpoints every {options.interval} s ...")
            measures.append(watchkeeper(target, size, options.interval, options.seconds, options.workers))
        for peer in () if options.skip_peers else (prometheus, haproxy):
            console.print(f"{peer.__name__} with {options.peer_size} endpoints ...")
            try:
                measures.append(peer(target, options.peer_size, options.interval, options.seconds))
            except FileNotFoundError as error:
                console.print(f"  left out: {error}")
    console.print(table(measures, options.peer_size))
    console.print(detection(options.samples))


def table(measures: list[Measure], peer_size: int) -> Table:
    rows = Table(title="CPU of all processes per probe, as nginx counted probes")
    for name in ("system", "endpoints", "probes/s", "CPU us/probe", "memory MB (PSS)", "against Prometheus", "notes"):
        rows.add_column(name, justify="left" if name in {"system", "notes"} else "right")
    peer = next((measure.cpu_us for measure in measures if measure.system == PROMETHEUS_PEER), None)
    for one in measures:
        ratio = f"{one.cpu_us / peer:.3f}" if peer else "-"
        rows.add_row(one.system, str(one.endpoints), f"{one.rate:.0f}", f"{one.cpu_us:.0f}", f"{one.pss_mb:.0f}", ratio, one.notes)
    del peer_size
    return rows


if __name__ == "__main__":
    main()
