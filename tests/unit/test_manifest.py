"""Manifests: what is read, where settings come from, and the way back."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.manifest import Manifest, Registered, load_sources, read_manifest
from monitor.config.manifest_writer import entry_of, export, shown
from monitor.core.endpoint import Endpoint, Pool
from monitor.registry.apply import plan
from monitor.registry.known import Known
from monitor.store.port import Entry


def read(text: str, *, endpoints: tuple[Endpoint, ...] = (), pools: tuple[Pool, ...] = ()) -> Manifest:
    known = Registered({endpoint.id: endpoint for endpoint in endpoints}, {pool.name: pool for pool in pools})
    return read_manifest(load_sources([("shop.yml", text)]), registered=known)


def one(text: str, **known: tuple) -> Endpoint:
    (endpoint,) = read(text, **known).endpoints
    return endpoint


def test_the_format_of_the_readme():
    manifest = read(
        """
        pools:
          shop: {failure_threshold: 4, max_ejection_percent: 40}
        defaults: {interval: 20s, timeout: 2s}
        endpoints:
          - {id: shop-1, url: "http://127.0.0.1:9001/health", pool: shop, labels: {team: shop}}
          - {id: db, url: "tcp://127.0.0.1:5432"}
        """
    )
    assert manifest.endpoints == (
        Endpoint(
            id="shop-1",
            url="http://127.0.0.1:9001/health",
            pool="shop",
            interval_ms=20_000,
            timeout_ms=2_000,
            failure_threshold=4,
            labels={"team": "shop"},
        ),
        Endpoint(id="db", url="tcp://127.0.0.1:5432", pool="db", kind="tcp", interval_ms=20_000, timeout_ms=2_000),
    )
    assert manifest.pools == {"shop": Pool(name="shop", max_ejection_percent=40, defaults={"failure_threshold": 4})}


def test_the_most_specific_setting_wins():
    manifest = read(
        """
        pools:
          web: {retries: 1, weight: 10}
        defaults: {retries: 5, weight: 50, failure_threshold: 7}
        endpoints:
          - {id: own, url: "http://h", pool: web, retries: 0}
          - {id: inherits, url: "http://h", pool: web}
          - {id: alone, url: "http://h"}
        """
    )
    found = {endpoint.id: (endpoint.retries, endpoint.weight, endpoint.failure_threshold) for endpoint in manifest.endpoints}
    assert found == {"own": (0, 10, 7), "inherits": (1, 10, 7), "alone": (5, 50, 7)}


def test_a_registered_pool_gives_its_members_defaults():
    pool = Pool(name="web", defaults={"interval_ms": 30_000, "options": {"http": {"expect_status": "200"}}})
    endpoint = one("endpoints: [{url: 'http://h', pool: web}]", pools=(pool,))
    assert (endpoint.interval_ms, endpoint.options) == (30_000, {"expect_status": "200"})


def test_a_pool_that_is_written_replaces_the_registered_one():
    pool = Pool(name="web", defaults={"interval_ms": 30_000})
    assert one("pools: {web: }\nendpoints: [{url: 'http://h', pool: web}]", pools=(pool,)).interval_ms == 10_000


def test_labels_are_merged_and_taken_away_by_nothing():
    endpoint = one(
        """
        defaults: {labels: {site: a, team: x, tier: "1"}}
        pools: {web: {labels: {team: y}}}
        endpoints: [{url: "http://h", pool: web, labels: {tier: , env: prod}}]
        """
    )
    assert endpoint.labels == {"site": "a", "team": "y", "env": "prod"}


def test_the_built_in_timeout_yields_to_a_shorter_interval():
    assert one("endpoints: [{url: 'http://h', interval: 1s}]").timeout_ms == 1_000


def test_options_of_another_kind_among_the_defaults_are_passed_over():
    manifest = read("defaults: {expect_status: 200-399, send: PING}\nendpoints: [{url: 'http://h'}, {url: 'tcp://h:1'}]")
    assert [endpoint.options for endpoint in manifest.endpoints] == [{"expect_status": "200-399"}, {"send": "PING"}]


def test_an_option_as_it_is_built_in_is_no_option():
    assert one("endpoints: [{url: 'http://h', expect_status: 2xx, method: get}]").options == {}


def test_ids_come_from_host_port_and_path():
    urls = ("http://h", "https://h:443/a/", "http://h:80", "http://h:8080/a b?q=1".replace(" ", "%20"), "tcp://[::1]:5432", "http://h/{x}")
    ids = [one(f"endpoints: [{{url: '{url}'}}]").id for url in urls]
    assert ids == ["h", "h/a", "h", "h:8080/a%20b", "[::1]:5432", "h/%7Bx%7D"]


def test_parents_may_be_registered_or_written_in_any_file():
    sources = [
        ("a.yml", "endpoints: [{id: web, url: 'http://h', depends_on: [db, cache]}]"),
        ("b.yml", "endpoints: [{id: db, url: 'tcp://h:1'}]"),
    ]
    known = Registered({"cache": Endpoint(id="cache", url="tcp://h:2", pool="cache", kind="tcp")})
    manifest = read_manifest(load_sources(sources), registered=known)
    assert manifest.endpoints[0].depends_on == ("db", "cache")


def test_what_an_operator_paused_stays_paused_where_nothing_is_written():
    known = Endpoint(id="a", url="http://h", pool="a", paused=True)
    assert one("endpoints: [{id: a, url: 'http://h'}]", endpoints=(known,)).paused
    assert not one("endpoints: [{id: a, url: 'http://h', paused: false}]", endpoints=(known,)).paused


def test_empty_files_and_sections_hold_nothing():
    for text in ("", "endpoints:", "pools:\ndefaults:\nendpoints: []"):
        assert read(text) == Manifest((), {})


def test_ten_thousand_endpoints_depend_in_a_line_without_exhausting_the_stack():
    lines = [f"- {{id: e{n}, url: 'http://h', depends_on: [{f'e{n + 1}' if n < 9_999 else ''}]}}" for n in range(10_000)]
    assert len(read("endpoints:\n" + "\n".join(lines)).endpoints) == 10_000


def test_secrets_are_hidden_where_things_are_shown_and_kept_where_they_are_exported():
    endpoint = one("endpoints: [{id: a, url: 'http://h', headers: {X-Plain: words, Authorization: 'env:TOKEN'}}]")
    assert shown(endpoint)["headers"] == {"X-Plain": "<secret>", "Authorization": "env:TOKEN"}
    assert entry_of(endpoint)["headers"] == {"X-Plain": "words", "Authorization": "env:TOKEN"}


# There and back -----------------------------------------------------------------------------------------------------
names = st.from_regex(r"[a-zA-Z0-9_.:/-]{1,20}", fullmatch=True) | st.sampled_from(
    ["null", "~", "on", "017", "1e3", "2024-01-01", "été", "#x"]
)
label_values = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=0, max_size=10)
label_names = st.from_regex(r"l[a-z0-9_]{0,5}", fullmatch=True)
spans = st.integers(500, 86_400_000)
thresholds = st.integers(1, 1_000)
options = st.fixed_dictionaries(
    {},
    optional={
        "expect_status": st.sampled_from(["200", "2xx,301", "200-299"]),
        "expect_body": st.sampled_from(["ready", "^a$", "null", "[0-9]{3}", "'\"\\\\"]),
        "expect_headers": st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.none() | st.just("yes")),
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B", "Authorization"]), st.just("env:TOKEN")),
        "body": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20).map(str),
        "max_redirects": st.integers(0, 20),
        "verify_tls": st.booleans(),
    },
)
settings_of_members = st.fixed_dictionaries(
    {},
    optional={
        "interval_ms": spans,
        "retries": st.integers(0, 10),
        "retry_delay_ms": st.integers(0, 10_000),
        "failure_threshold": thresholds,
        "success_threshold": thresholds,
        "weight": thresholds,
        "initial_delay_ms": st.integers(0, 100_000),
        "labels": st.dictionaries(label_names, label_values, max_size=3),
        "paused": st.booleans(),
    },
)


def _without_body_conflict(chosen: dict) -> dict:
    return {key: value for key, value in chosen.items() if value or key in {"max_redirects", "verify_tls"}}


@st.composite
def registries(draw: st.DrawFn) -> tuple[list[Endpoint], list[Pool]]:
    pools = []
    for name in draw(st.lists(names, unique=True, max_size=3)):
        defaults = draw(settings_of_members)
        if chosen := _without_body_conflict(draw(options)):
            defaults["options"] = {"http": chosen, "https": chosen}
        own = {"max_ejection_percent": draw(st.integers(0, 100)), "panic": draw(st.booleans()), "warm_up_ms": draw(st.integers(0, 99_999))}
        pools.append(Pool(name=name, defaults=defaults, **own))
    endpoints: list[Endpoint] = []
    for endpoint_id in draw(st.lists(names, unique=True, max_size=6)):
        values = {"paused": False, **draw(settings_of_members)}
        interval_ms = values.get("interval_ms", 10_000)
        values["timeout_ms"] = draw(st.integers(10, interval_ms))
        parents = [endpoint.id for endpoint in endpoints]
        depends_on = tuple(draw(st.lists(st.sampled_from(parents), unique=True, max_size=2))) if parents else ()
        pool = draw(st.sampled_from([pool.name for pool in pools])) if pools and draw(st.booleans()) else endpoint_id
        url = "https://h:8443/x"
        chosen = {
            key: value
            for key, value in _without_body_conflict(draw(options)).items()
            if value != {"verify_tls": True, "max_redirects": 5}.get(key)
        }
        endpoints.append(Endpoint(id=endpoint_id, url=url, pool=pool, kind="https", options=chosen, depends_on=depends_on, **values))
    return endpoints, pools


@given(registries())
def test_what_is_exported_is_read_back_the_same(registry: tuple[list[Endpoint], list[Pool]]):
    endpoints, pools = registry
    manifest = read(export(endpoints, pools))
    stored = msgspec.json.decode(msgspec.json.encode(pools), type=list[Pool])
    again = read(export(manifest.endpoints, stored))
    for read_back in (manifest, again):
        assert {endpoint.id: endpoint for endpoint in read_back.endpoints} == {endpoint.id: endpoint for endpoint in endpoints}
        assert {name: values(pool) for name, pool in read_back.pools.items()} == {pool.name: values(pool) for pool in pools}


def values(pool: Pool) -> Any:
    """JSON has no tuples, and which defaults it leaves out depends on how a number came to be."""
    return msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(pool)))


def test_a_default_that_is_written_and_a_list_that_was_stored_are_no_change():
    text = "pools: {shop: {warm_up: 30s, depends_on: [db]}}\nendpoints: [{url: 'tcp://h:1', id: db, pool: db}]\n"
    manifest = read(text)
    stored = {name: msgspec.json.decode(msgspec.json.encode(pool), type=Pool) for name, pool in manifest.pools.items()}
    entries = {name: Entry("digest", pool) for name, pool in stored.items()}
    assert plan(Known({"db": Entry("digest", manifest.endpoints[0], "db")}, entries), manifest, prune=False).empty
