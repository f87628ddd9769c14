"""Manifests as anybody could write them: endpoints and pools that can be written and read again, or a located refusal."""

from __future__ import annotations

from hypothesis import example, given

from monitor.config.manifest import Manifest, Registered, load_sources, read_manifest
from monitor.config.manifest_writer import export
from monitor.core.endpoint import Pool
from monitor.core.policies import POLICIES
from monitor.core.policies.choice import contradictions, resolved
from tests.fuzz.play import cases
from tests.fuzz.yaml_files import mutated, readings

FILE = """\
owner: team-shop
pools:
  shop: &pool
    failure_threshold: 4
    max_ejection_percent: 40
    open: 30s
    flapping_start_percent: 40
    active: {kind: consecutive, success_threshold: 3, cooldown_max_ms: 10m}
    passive: {kind: cusum, false_ejections_per_day: 0.25}
  checkout: {<<: *pool, max_ejection_percent: 50, passive: none}
defaults: {interval: 20s, timeout: 2s, labels: {team: shop}, passive: {kind: envoy, interval_ms: 1s}}
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
  - id: cart
    url: "http://127.0.0.1:9003/"
    pool: checkout
    active: {kind: resilience4j, sliding_window_type: time}
    passive: {kind: hystrix}
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
    assert dict(again.pools) == known.pools
    for one in manifest.endpoints:
        pool = manifest.pools.get(one.pool) or Pool(name=one.pool)
        assert list(contradictions(one, pool)) == []
        assert resolved(one, pool).active.policy is POLICIES[resolved(one, pool).active.kind]
