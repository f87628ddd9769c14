"""Policies on the command line: options, lists, and what an export gives back."""

from __future__ import annotations

import json

from tests.integration.commands import Run

SHOP = """\
pools:
  shop:
    active: {kind: consecutive, failure_threshold: 4}
    passive: {kind: cusum, false_ejections_per_day: 0.5}
endpoints:
  - {id: shop-1, url: "http://127.0.0.1:9001/health", pool: shop}
  - {id: shop-2, url: "http://127.0.0.1:9002/health", pool: shop, passive: {kind: envoy, interval_ms: 1s}}
"""


def test_an_export_is_what_was_applied(run: Run) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    exported = run("export").stdout
    assert "active: {kind: consecutive, failure_threshold: 4}" in exported
    assert "passive: {kind: envoy, interval_ms: 1s}" in exported
    done = run("apply", "-f", "-", stdin=exported)
    assert done.stdout == ""
    assert "0 created, 0 changed, 0 removed, 2 unchanged" in done.stderr


def test_pools_are_listed_with_their_policies(run: Run) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    (row,) = json.loads(run("pool", "list", "-o", "json").stdout)
    assert row["passive"] == {"kind": "cusum", "false_ejections_per_day": 0.5}
    assert (row["policies"]["active"]["failure_threshold"], row["policies"]["passive"]["cooldown_ms"]) == (4, 5_000)
    assert "cusum,false_ejections_per_day=0.5" in run("pool", "list").stdout


def test_an_endpoint_takes_policies_as_options(run: Run) -> None:
    run("endpoint", "add", "tcp://127.0.0.1:1", "--id", "db", "--active", "hystrix,sleep_window_ms=3s", "--passive", "none")
    explained = json.loads(run("explain", "db", "-o", "json").stdout)["policies"]
    assert (explained["active"]["kind"], explained["active"]["sleep_window_ms"]) == ("hystrix", 3_000)
    assert explained["passive"] == {"kind": "none"}
    assert "probes are judged by hystrix (sleep_window_ms 3s)" in run("explain", "db").stdout
    assert "passive kind=none -> -" in run("endpoint", "edit", "db", "--passive", "").stdout
    refused = run("endpoint", "edit", "db", "--active", "hystrix,sleep_windw_ms=3s", code=2).stderr
    assert "--active: active.sleep_windw_ms: hystrix has no such setting" in refused
    assert "did you mean sleep_window_ms?" in refused
