"""`active` and `passive` in manifests: how they are read and merged, what is refused and where, and how they are written back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from monitor.config.manifest import Manifest, Registered, load_sources, read_manifest
from monitor.config.manifest_writer import export
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.errors import ConfigError
from monitor.core.policies import POLICIES
from monitor.core.policies.choice import resolved
from monitor.core.policies.options import table


def read(text: str, registered: Registered | None = None) -> Manifest:
    return read_manifest(load_sources([("shop.yml", text)]), registered=registered)


def one(pool: str = "", endpoint: str = "", defaults: str = "") -> tuple[Endpoint, Pool]:
    """An endpoint and its pool, each with the settings that are given in flow style."""
    text = f"pools: {{shop: {{{pool}}}}}\ndefaults: {{{defaults}}}\nendpoints: [{{id: a, url: 'http://h/', pool: shop, {endpoint}}}]\n"
    manifest = read(text)
    return manifest.endpoints[0], manifest.pools["shop"]


def active(pool: str = "", endpoint: str = "", defaults: str = "") -> Any:
    return resolved(*one(pool, endpoint, defaults)).active


def passive(pool: str = "", endpoint: str = "", defaults: str = "") -> Any:
    return resolved(*one(pool, endpoint, defaults)).passive


# Reading


def test_without_a_word_it_is_consecutive_and_cusum_with_the_pools_times() -> None:
    chosen = resolved(*one("open: 7s, open_max: 1m, failure_threshold: 4"))
    assert (chosen.active.kind, chosen.active.settings.failure_threshold, chosen.active.settings.success_threshold) == ("consecutive", 4, 2)
    assert chosen.passive is not None
    for judge in (chosen.active, chosen.passive):
        times = judge.settings
        assert (times.cooldown_ms, times.cooldown_max_ms, times.cooldown_spread_percent) == (7_000, 60_000, 10)
    assert chosen.passive.kind == "cusum"


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("role", ["active", "passive"])
def test_both_take_every_kind(role: str, kind: str) -> None:
    chosen: Any = getattr(resolved(*one(f"{role}: {{kind: {kind}}}")), role)
    assert chosen.kind == kind
    assert chosen.policy is POLICIES[kind]


def test_the_kind_alone_is_short_for_a_mapping() -> None:
    assert one("passive: none, active: hystrix") == one("passive: {kind: none}, active: {kind: hystrix}")
    assert passive("passive: none") is None


@pytest.mark.parametrize("text", ["5000", "5s", "5000ms"])
def test_times_are_durations_or_whole_milliseconds(text: str) -> None:
    assert active(f"active: {{kind: hystrix, sleep_window_ms: {text}}}").settings.sleep_window_ms == 5_000


def test_values_have_their_settings_type() -> None:
    _, pool = one("passive: {kind: resilience4j, failure_rate_threshold: 40, sliding_window_type: time, sliding_window_size: 7}")
    assert pool.passive is not None
    assert {name: (type(value), value) for name, value in pool.passive.settings.items()} == {
        "failure_rate_threshold": (float, 40.0),
        "sliding_window_type": (str, "time"),
        "sliding_window_size": (int, 7),
    }
    assert passive("passive: {kind: envoy, always_eject_one_host: yes}").settings.always_eject_one_host is True


def test_thresholds_and_cooldown_of_an_active_consecutive_are_the_flat_settings() -> None:
    nested = one("active: {kind: consecutive, failure_threshold: 5, success_threshold: 4, cooldown_ms: 7s, cooldown_max_ms: 1m}")
    endpoint, pool = one("active: consecutive, failure_threshold: 5, success_threshold: 4, open: 7s, open_max: 1m")
    assert nested == (endpoint, pool)
    assert (endpoint.failure_threshold, endpoint.success_threshold, pool.open_ms, pool.open_max_ms) == (5, 4, 7_000, 60_000)


def test_a_passive_consecutive_has_thresholds_of_its_own() -> None:
    endpoint, pool = one("passive: {kind: consecutive, failure_threshold: 9}")
    assert endpoint.failure_threshold == 3
    chosen = resolved(endpoint, pool).passive
    assert chosen is not None
    assert chosen.settings.failure_threshold == 9


def test_a_cooldown_of_one_endpoint_is_its_own() -> None:
    endpoint, pool = one(endpoint="active: {kind: consecutive, cooldown_ms: 9s}")
    assert pool.open_ms == 5_000
    assert resolved(endpoint, pool).active.settings.cooldown_ms == 9_000


def test_the_older_key_policy_is_the_kind_of_active() -> None:
    assert one("policy: consecutive") == one("active: {kind: consecutive}")
    assert one("policy: consecutive, active: {kind: consecutive, failure_threshold: 2}")[0].failure_threshold == 2


# Merging


def test_the_same_kind_is_merged_setting_by_setting() -> None:
    settings = active(
        defaults="active: {kind: hystrix, sleep_window_ms: 1s, request_volume_threshold: 1, error_threshold_percentage: 11}",
        pool="active: {kind: hystrix, sleep_window_ms: 2s, request_volume_threshold: 2}",
        endpoint="active: {kind: hystrix, sleep_window_ms: 3s}",
    ).settings
    assert (settings.sleep_window_ms, settings.request_volume_threshold, settings.error_threshold_percentage) == (3_000, 2, 11)


def test_another_kind_begins_from_its_own_defaults() -> None:
    settings = active(
        defaults="active: {kind: hystrix, request_volume_threshold: 1}",
        pool="active: {kind: envoy}",
        endpoint="active: {kind: hystrix, sleep_window_ms: 3s}",
    ).settings
    assert (settings.sleep_window_ms, settings.request_volume_threshold) == (3_000, 20)


@pytest.mark.parametrize("endpoint", ["", "active: {kind: hystrix, sleep_window_ms: 3s}", "active: null"])
@pytest.mark.parametrize("pool", ["", "active: envoy", "active: {kind: hystrix, sleep_window_ms: 2s}"])
@pytest.mark.parametrize("defaults", ["", "active: {kind: hystrix, request_volume_threshold: 1}"])
def test_the_last_place_that_speaks_decides_the_kind(defaults: str, pool: str, endpoint: str) -> None:
    places = [defaults, pool, endpoint] if endpoint != "active: null" else [pool]
    kinds = ["envoy" if "envoy" in place else "hystrix" for place in places if place]
    assert active(pool, endpoint, defaults).kind == (kinds[-1] if kinds else "consecutive")


def test_a_pool_that_changes_reaches_a_member_with_a_setting_of_its_own() -> None:
    endpoint, _ = one(endpoint="active: {kind: hystrix, sleep_window_ms: 3s}", pool="active: hystrix")
    later = Pool(name="shop", active=PolicyChoice("hystrix", {"request_volume_threshold": 7}))
    settings = resolved(endpoint, later).active.settings
    assert (settings.sleep_window_ms, settings.request_volume_threshold) == (3_000, 7)


def test_a_registered_pool_counts_as_one_that_is_written() -> None:
    registered = Registered(pools={"shop": Pool(name="shop", active=PolicyChoice("hystrix"))})
    text = "defaults: {active: {kind: envoy, interval_ms: 1s}}\nendpoints: [{id: a, url: 'http://h/', pool: shop}]"
    assert read(text, registered).endpoints[0].active is None


def test_where_nobody_says_how_many_trials_there_may_be_there_are_as_many_as_have_to_succeed() -> None:
    assert passive("passive: {kind: consecutive, success_threshold: 3}").settings.half_open_max_calls == 3


# Refusing

POOL = "pools:\n  shop:\n    open: 5s\n    passive:\n      kind: %s\n      %s\n"
REFUSED = [
    # (file, line, key, seen, part of why or hint)
    ("pools:\n  shop:\n    active: [a]\n", 3, "active", "a list", "{kind: consecutive}"),
    ("pools:\n  shop:\n    active:\n", 3, "active", "nothing", "write"),
    ("pools:\n  shop:\n    active: {}\n", 3, "active", "a mapping", "no kind"),
    ("pools:\n  shop:\n    active:\n      kind: histrix\n", 4, "active", "'histrix'", "did you mean hystrix?"),
    ("pools:\n  shop:\n    active:\n      kind: [x]\n", 4, "active", "a list", "consecutive"),
    ("pools:\n  shop:\n    active:\n      kind:\n", 4, "active", "nothing", "consecutive"),
    ("pools:\n  shop:\n    active: none\n", 3, "active", "'none'", "breaker close"),
    ("pools:\n  shop:\n    passive: off\n", 3, "passive", "'off'", "none"),
    ("pools:\n  shop:\n    policy: hystrix\n    active: envoy\n", 3, "policy", "'hystrix'", "take `policy` out"),
    (POOL % ("hystrix", "sleep_windw_ms: 5s"), 6, "passive.sleep_windw_ms", "", "did you mean sleep_window_ms?"),
    (POOL % ("hystrix", "margin: 0.1"), 6, "passive.margin", "", "its settings are"),
    (POOL % ("none", "margin: 0.1"), 6, "passive.margin", "", "switched off"),
    (POOL % ("hystrix", "sleep_window_ms: 2w"), 6, "passive.sleep_window_ms", "'2w'", "whole milliseconds"),
    (POOL % ("hystrix", "sleep_window_ms: soon"), 6, "passive.sleep_window_ms", "'soon'", "whole milliseconds"),
    (POOL % ("hystrix", "sleep_window_ms: 5.5"), 6, "passive.sleep_window_ms", "'5.5'", "whole milliseconds"),
    (POOL % ("hystrix", "sleep_window_ms: -5"), 6, "passive.sleep_window_ms", "'-5'", "out of range"),
    (POOL % ("hystrix", "sleep_window_ms:"), 6, "passive.sleep_window_ms", "nothing", "write"),
    (POOL % ("hystrix", "sleep_window_ms: [5s]"), 6, "passive.sleep_window_ms", "a list", "whole milliseconds"),
    (POOL % ("hystrix", "error_threshold_percentage: 101"), 6, "passive.error_threshold_percentage", "'101'", "100"),
    (POOL % ("hystrix", "error_threshold_percentage: half"), 6, "passive.error_threshold_percentage", "'half'", "a whole number"),
    (POOL % ("cusum", "margin: nan"), 6, "passive.margin", "'nan'", "a number"),
    (POOL % ("cusum", "margin: 1e999"), 6, "passive.margin", "'1e999'", "a number"),
    (POOL % ("envoy", "always_eject_one_host: maybe"), 6, "passive.always_eject_one_host", "'maybe'", "true or false"),
    (POOL % ("resilience4j", "sliding_window_type: ring"), 6, "passive.sliding_window_type", "'ring'", "count"),
    (
        "pools:\n  shop:\n    passive:\n      kind: consecutive\n      success_threshold: 3\n      half_open_max_calls: 2\n",
        6, "passive.half_open_max_calls", "2", "below success_threshold, which is 3",
    ),
    (POOL % ("envoy", "max_ejection_time_ms: 1s"), 6, "passive.max_ejection_time_ms", "", "base_ejection_time_ms"),
    (
        "pools:\n  shop:\n    failure_threshold: 3\n    active:\n      kind: consecutive\n      failure_threshold: 4\n",
        6, "active.failure_threshold", "'4'", "write it once",
    ),
    (
        "pools:\n  shop:\n    open: 5s\n    active:\n      kind: consecutive\n      cooldown_ms: 6s\n",
        6, "active.cooldown_ms", "'6s'", "write it once",
    ),
    ("pools:\n  shop:\n    active: {kind: consecutive, cooldown_ms: 10m}\n", 2, "open", "600000 ms", "raise open_max"),
    (
        "endpoints:\n  - id: a\n    url: http://h/\n    active:\n      kind: consecutive\n      cooldown_ms: 10m\n",
        6, "active.cooldown_max_ms", "300000", "smaller cooldown_ms",
    ),
    ("defaults:\n  active:\n    kind: hystrix\n    sleep_window_ms: x\n", 4, "active.sleep_window_ms", "'x'", "whole milliseconds"),
    ("defaults:\n  active:\n", 2, "active", "nothing", "write"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "seen", "said"), REFUSED)
def test_what_is_wrong_is_refused_with_its_line_the_value_seen_and_what_to_write(
    text: str, line: int, key: str, seen: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (f"shop.yml:{line}", key)
    assert seen in problem.seen
    assert said in f"{problem.why}; {problem.hint}"


def test_a_member_that_contradicts_its_registered_pool_is_refused() -> None:
    registered = Registered(pools={"shop": Pool(name="shop", passive=PolicyChoice("envoy", {"base_ejection_time_ms": 60_000}))})
    text = "endpoints:\n- id: a\n  url: 'http://h/'\n  pool: shop\n  passive:\n    kind: envoy\n    max_ejection_time_ms: 40s\n"
    with pytest.raises(ConfigError) as caught:
        read(text, registered)
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == ("shop.yml:7", "passive.max_ejection_time_ms")
    assert problem.why.startswith("a: ")


def test_a_pool_that_contradicts_what_a_registered_member_has_is_refused() -> None:
    member = Endpoint(id="a", url="http://h/", pool="shop", passive=PolicyChoice("envoy", {"max_ejection_time_ms": 40_000}))
    text = "pools:\n  shop:\n    passive:\n      kind: envoy\n      base_ejection_time_ms: 1m\n"
    with pytest.raises(ConfigError) as caught:
        read(text, Registered({"a": member}))
    (problem,) = caught.value.problems
    assert problem.where.startswith("shop.yml:")
    assert problem.why.startswith("a, which is registered: ")


# Writing


def test_an_export_writes_policies_as_they_were_written() -> None:
    pools = {
        "shop": {
            "active": {"kind": "consecutive", "failure_threshold": 3, "success_threshold": 2, "cooldown_ms": "7s"},
            "passive": {"kind": "cusum", "false_ejections_per_day": 0.5},
        },
        "calm": {"passive": {"kind": "none"}},
    }
    endpoints = [
        {"id": "a", "url": "http://h/", "pool": "shop", "active": {"kind": "consecutive", "failure_threshold": 9}},
        {"id": "b", "url": "http://h/", "pool": "shop", "passive": {"kind": "envoy", "interval_ms": "1s", "always_eject_one_host": True}},
        {"id": "c", "url": "http://h/", "pool": "calm"},
    ]
    manifest = read(yaml.safe_dump({"pools": pools, "endpoints": endpoints}))
    assert yaml.safe_load(export(manifest.endpoints, manifest.pools.values())) == {"pools": pools, "endpoints": endpoints}


@pytest.mark.parametrize("kind", POLICIES)
def test_every_setting_comes_back_from_an_export_as_it_was(kind: str) -> None:
    rows = table(POLICIES[kind].settings).values()
    written = {row.name: _some(row.limits.choices, row.default, row.limits.high) for row in rows}
    pool = Pool(name="shop", passive=PolicyChoice(kind, written))
    text = export([], [pool])
    assert read(text).pools["shop"].passive == pool.passive


def _some(choices: tuple[str, ...], default: Any, high: float) -> Any:
    return choices[-1] if choices else int(high) if default is None else default
