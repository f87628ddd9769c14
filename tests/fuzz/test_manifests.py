"""Manifests as anybody could write them: endpoints and pools that can be written and read again, or a located refusal."""

from __future__ import annotations

from hypothesis import example, given

from monitor.config.manifest import Manifest, Registered, load_sources, read_manifest
from monitor.config.manifest_writer import export
from tests.fuzz.play import cases
from tests.fuzz.yaml_files import mutated, readings

FILE = """\
owner: team-shop
pools:
  shop: &pool
    failure_threshold: 4
    max_ejection_percent: 40
    open: 30s
  checkout: {<<: *pool, max_ejection_percent: 50}
defaults: {interval: 20s, timeout: 2s, labels: {team: shop}}
endpoints:
  - &one
    id: shop-1
    url: "http://127.0.0.1:9001/health"
    pool: shop
    expect_status: 200-299
    expect_body: ok
    headers: {X-Probe: "yes", Authorization: "env:TOKEN"}
    labels: {tier: "1", team: null}
  - {<<: *one, id: shop-2, url: "http://127.0.0.1:9002/health", weight: 10, depends_on: [shop-1]}
  - {id: db, url: "tcp://127.0.0.1:5432", retries: 2, paused: true, owner: team-db}
"""
BOMBS = (
    "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
    "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{y{n}: {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}}}\n" for n in range(9)),
    "a: &a {" + ", ".join(f"k{n}: 1" for n in range(5_000)) + "}\nb:\n" + "- {<<: *a}\n" * 50,
)


@example(FILE)
@example(BOMBS[0])
@example(BOMBS[1])
@example(BOMBS[2])
@example("endpoints: " + "[" * 10_000)
@cases(300)
@given(mutated(FILE))
def test_a_manifest_is_read_or_refused_with_its_place(text: str) -> None:
    manifest = readings(lambda: read_manifest(load_sources([("shop.yml", text)])), "shop.yml")
    if manifest is None:
        assert text != FILE
        return
    assert isinstance(manifest, Manifest)
    known = Registered({one.id: one for one in manifest.endpoints}, dict(manifest.pools))
    written = export(known.endpoints.values(), known.pools.values())
    again = readings(lambda: read_manifest(load_sources([("again.yml", written)])), "again.yml")
    assert again is not None
    assert {one.id: one for one in again.endpoints} == known.endpoints
