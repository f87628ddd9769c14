"""What Watchkeeper costs: `python -m benchmarks [SECTION ...] [--quick] [-o json]`, or `make bench`.

    systems      whole systems beside Prometheus + blackbox_exporter and HAProxy, and where their CPU goes
    intervals    whether the shortest interval is kept
    capacity     the highest rate of probes that one machine sustains
    detection    from the decision to a consumer's view
    operations   breaker step, decide, weigh, pick
    breakers     the five policies in virtual time: how soon, how often in vain, at what cost
    transports   one HTTP probe: ours, httpx's, and the floor
    store        CPU per item, memory per endpoint
    traffic      what consumers report: CPU per counter, from the stream to the commit

The target is nginx; peers are measured where they are installed. Everything runs on this machine, targets too, in folders and
on ports of its own. Machines are shared and noisy: compare figures of one run only. docs/explanation/performance.md explains them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from benchmarks.breakers import breakers
from benchmarks.lab import QUICK, Report, Scale, found, say
from benchmarks.operations import operations
from benchmarks.store import stores
from benchmarks.systems import capacity, detection, intervals, whole
from benchmarks.traffic import traffic
from benchmarks.transport import transports

SECTIONS: Mapping[str, Callable[[Scale], list[Report]]] = {
    "systems": whole,
    "intervals": intervals,
    "capacity": capacity,
    "detection": detection,
    "operations": operations,
    "breakers": breakers,
    "transports": transports,
    "store": stores,
    "traffic": traffic,
}
PEERS = {"nginx": "-v", "prometheus": "--version", "prometheus-blackbox-exporter": "--version", "haproxy": "-v"}


def machine() -> dict[str, str]:
    """Where figures were made, and what they were compared with."""
    facts = {
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
    for name, option in PEERS.items():
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([found(name), option], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            facts[name] = (done.stdout.splitlines() or ["?"])[0]
    return facts


def table(report: Report) -> Table:
    shown = Table(title=report.title, title_justify="left", caption="\n".join(report.notes) or None, caption_justify="left")
    for name, value in (report.rows[0] if report.rows else {}).items():
        shown.add_column(name, justify="left" if isinstance(value, str) and not value.endswith("%") else "right")
    for row in report.rows:
        shown.add_row(*(f"{value:g}" if isinstance(value, float) else str(value) for value in row.values()))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="which to run; all without any")
    parser.add_argument("--quick", action="store_true", help="small sizes and short times: whether it works, not what it costs")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    facts = machine()
    sections: dict[str, list[Report]] = {}
    for name in options.sections or SECTIONS:
        try:
            sections[name] = SECTIONS[name](QUICK if options.quick else Scale())
        except FileNotFoundError as error:
            say(f"{name} left out: {error}")
    facts["load after"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    if options.output == "json":
        print(
            json.dumps(
                {"machine": facts, "sections": {name: [dataclasses.asdict(one) for one in all_] for name, all_ in sections.items()}},
                indent=1,
            )
        )
        return
    console = Console(width=None if os.isatty(1) else 150)
    console.print("\n".join(f"{name}: {value}" for name, value in facts.items()), highlight=False)
    for report in (report for reports in sections.values() for report in reports):
        console.print()
        console.print(table(report))


if __name__ == "__main__":
    main()
