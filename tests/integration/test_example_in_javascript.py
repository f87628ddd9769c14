"""A service in another language reports with a socket and nothing else: examples/report.js, where Node is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import redis

from monitor.core.reports import Report, decode
from monitor.store import keys
from tests.missing import missing

SCRIPT = Path(__file__).parents[2] / "examples/report.js"
CALLS = "shop-1 success 3.5 200\nshop-1 success 3.6 200\nshop-1 failure 120 503\nshop-2 timeout 1000\nshop-2 success 0\n"


def test_it_reports_what_it_is_told(redis_url: str) -> None:
    node = shutil.which("node")
    if node is None:
        missing("node is not installed")
    subprocess.run([node, str(SCRIPT), redis_url, "shop"], input=CALLS, text=True, check=True, timeout=60)
    with redis.Redis.from_url(redis_url) as client:
        ((_, fields),) = client.xrange(keys.reports("shop"))
        assert client.zscore(keys.REPORTS, "shop") == 0
        now_ms = client.time()[0] * 1_000
    report = decode(fields[b"r"])
    assert isinstance(report, Report)
    assert abs(report.slot_ms - now_ms) <= 10_000
    shop_1, shop_2 = report.endpoints["shop-1"], report.endpoints["shop-2"]
    assert (shop_1.calls, shop_1.latency) == ({"success/200": 2, "failure/503": 1}, {37: 2})
    assert (shop_2.calls, shop_2.latency) == ({"timeout": 1, "success": 1}, {0: 1})
