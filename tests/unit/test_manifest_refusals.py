"""What manifests refuse: each error names its line, key, the value seen and what to write instead."""

import contextlib

import pytest

from monitor.config.fields import ENDPOINT_FIELDS
from monitor.config.kinds import kinds
from monitor.config.manifest import PROBLEMS_SHOWN_MAX, Registered, load_sources, read_manifest
from monitor.config.manifest_writer import entry_node
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem
from monitor.probes.policy import TargetPolicy

KNOWN = Registered(
    {
        "db": Endpoint(id="db", url="tcp://h:1", pool="db", kind="tcp", depends_on=("store",)),
        "store": Endpoint(id="store", url="tcp://h:2", pool="store", kind="tcp"),
    },
    {"slow": Pool(name="slow", defaults={"timeout_ms": 8_000})},
)


def refused(*texts: str) -> tuple[Problem, ...]:
    sources = [(f"{name}.yml", text) for name, text in zip("abc", texts, strict=False)]
    with pytest.raises(ConfigError) as caught:
        read_manifest(load_sources(sources), registered=KNOWN, deny=TargetPolicy().refusal)
    return caught.value.problems


def entry(more: str, url: str = "http://h/x") -> str:
    """A file whose line 2 begins an endpoint and whose line 4 says `more`."""
    return f"endpoints:\n  - id: web\n    url: {url}\n    {more}\n"


ERRORS = [
    # Shape
    ("- a\n", 1, "", "a list", "endpoints:"),
    ("word", 1, "", "'word'", "endpoints:"),
    ("endpoint: []\n", 1, "endpoint", "", "did you mean endpoints?"),
    ("xyz: []\n", 1, "xyz", "", "a file holds owner, pools, defaults, endpoints"),
    ("endpoints: {a: b}\n", 1, "endpoints", "a mapping", "dash"),
    ("endpoints:\n  - http://h\n", 2, "endpoints", "'http://h'", "url:"),
    ("endpoints:\n  -\n", 2, "endpoints", "nothing", "url:"),
    ("defaults: 3\n", 1, "defaults", "'3'", "defaults:"),
    ("pools: [shop]\n", 1, "pools", "a list", "pools:"),
    ("pools:\n  shop: 3\n", 2, "shop", "'3'", "failure_threshold"),
    # Keys
    (entry("intervall: 3s"), 4, "intervall", "", "did you mean interval?"),
    (entry("expect_staus: 200"), 4, "expect_staus", "", "did you mean expect_status?"),
    (entry("zzz: 1"), 4, "zzz", "", "the keys are"),
    (entry("send: PING"), 4, "send", "", "it belongs to tcp"),
    (entry("url: http://other"), 4, "url", "", "keep one"),
    ("defaults: {id: x}\n", 1, "id", "", "the keys are"),
    ("pools:\n  shop:\n    max_ejection: 5\n", 3, "max_ejection", "", "did you mean max_ejection_percent?"),
    # Ids and pools
    ("endpoints:\n  - {id: a, url: 'http://h'}\n  - {id: a, url: 'http://i'}\n", 3, "id", "'a'", "own `id`"),
    ("endpoints:\n  - url: http://h/x\n  - url: https://h/x\n", 3, "id", "'h/x'", "own `id`"),
    ("pools:\n  a: {weight: 1}\n  a: {weight: 2}\n", 3, "a", "", "keep one"),
    (entry("pool: 'a b'"), 4, "pool", "'a b'", "letters"),
    (entry("pool: '{a}'"), 4, "pool", "'{a}'", "letters"),
    (entry('pool: "a\\tb"'), 4, "pool", "'a\\tb'", "letters"),
    (entry("pool: ''"), 4, "pool", "''", "letters"),
    (entry("pool:"), 4, "pool", "nothing", "write one"),
    ("pools:\n  'a b': {}\n", 2, "pools", "'a b'", "letters"),
    ("endpoints:\n  - url: http://h\n    id: ' '\n", 3, "id", "' '", "letters"),
    ('endpoints:\n  - url: http://h\n    id: "a\\0b"\n', 3, "id", "'a\\x00b'", "letters"),
    ("endpoints:\n  - url: http://h\n    id: a}b\n", 3, "id", "'a}b'", "letters"),
    ("endpoints:\n  - url: http://h\n    id: [a]\n", 3, "id", "a list", "single word"),
    ("endpoints:\n  - url: http://h\n    id: " + "a" * 201 + "\n", 3, "id", "'aaaa", "shorter"),
    # URLs
    ("endpoints:\n  - id: web\n", 2, "url", "", "url: http://"),
    (entry("retries: 1", "ftp://h/x"), 3, "url", "'ftp://h/x'", "http://, https://, tcp://"),
    (entry("retries: 1", "h:8080"), 3, "url", "'h:8080'", "http://"),
    (entry("retries: 1", "http:///x"), 3, "url", "'http:///x'", "after the ://"),
    (entry("retries: 1", "http://:80/x"), 3, "url", "'http://:80/x'", "after the ://"),
    (entry("retries: 1", "http://h:99999/"), 3, "url", "'http://h:99999/'", "write for example"),
    (entry("retries: 1", "http://h:port/"), 3, "url", "'http://h:port/'", "write for example"),
    (entry("retries: 1", "http://h:0/"), 3, "url", "'http://h:0/'", "port"),
    (entry("retries: 1", "http://[::1/"), 3, "url", "'http://[::1/'", "write for example"),
    (entry("retries: 1", "tcp://h"), 3, "url", "'tcp://h'", "tcp://127.0.0.1:5432"),
    (entry("retries: 1", '"http://h/a b"'), 3, "url", "'http://h/a b'", "%20"),
    (entry("retries: 1", '"http://h/\\n"'), 3, "url", "'http://h/\\n'", "%20"),
    (entry("retries: 1", "[a]"), 3, "url", "a list", "http://"),
    (entry("retries: 1", "http://h/" + "x" * 2_048), 3, "url", "'http://h/xxx", "shorten"),
    (entry("retries: 1", "http://user:hunter2@h/"), 3, "url", "'http://user:<secret>@h/'", "env:NAME"),
    (entry("retries: 1", "http://user:hun/ter2@h/"), 3, "url", "'http://user:<secret>@h/'", "write for example"),
    (entry("retries: 1", "http://169.254.169.254/latest"), 3, "url", "'http://169.254.169.254/latest'", "target_allow"),
    (entry("retries: 1", "'http://[::ffff:169.254.169.254]/'"), 3, "url", "169.254.169.254", "target_allow"),
    (entry("retries: 1", "tcp://224.0.0.1:1"), 3, "url", "'tcp://224.0.0.1:1'", "target_allow"),
    (entry("retries: 1", "tcp://①:80"), 3, "url", "'tcp://①:80'", "ASCII form"),
    (entry("retries: 1", "tcp://①②⑦.⓪.⓪.①:80"), 3, "url", "①②⑦", "ASCII form"),
    (entry("retries: 1", "http://\uff11\uff16\uff19.254.169.254/"), 3, "url", "\uff11\uff16\uff19", "ASCII form"),
    (entry("retries: 1", "http://169。254。169。254/"), 3, "url", "169。254", "target_allow"),
    (entry("retries: 1", "tcp://169\uff0e254\uff0e169\uff0e254:80"), 3, "url", "169\uff0e254", "target_allow"),
    (entry("retries: 1", "http://2852039166/"), 3, "url", "2852039166", "write 169.254.169.254"),
    (entry("retries: 1", "tcp://0x7f.1:80"), 3, "url", "0x7f.1", "write 127.0.0.1"),
    (entry("retries: 1", "http://017700000001/"), 3, "url", "017700000001", "write 127.0.0.1"),
    (entry("retries: 1", "http://127.1/"), 3, "url", "127.1", "write 127.0.0.1"),
    (entry("retries: 1", "http://127.0.0.1./"), 3, "url", "127.0.0.1.", "write 127.0.0.1"),
    (entry("retries: 1", "http://0177.0.0.1/"), 3, "url", "0177.0.0.1", "write 127.0.0.1"),
    (entry("retries: 1", "http://256.1.1.1/"), 3, "url", "256.1.1.1", "0 to 255"),
    (entry("retries: 1", "http://1.2.3.4.5/"), 3, "url", "1.2.3.4.5", "0 to 255"),
    (entry("retries: 1", "'http://[fe80::1%25eth0]/'"), 3, "url", "fe80::1%25eth0", "without %"),
    (entry("retries: 1", "'tcp://[fe80::1%eth0]:80'"), 3, "url", "fe80::1%eth0", "without %"),
    (entry("retries: 1", "'http://[v1.a]/'"), 3, "url", "v1.a", "[2001:db8::7]"),
    (entry("retries: 1", "'http://%31%32%37.0.0.1/'"), 3, "url", "%31", "letters, digits and hyphens"),
    (entry("retries: 1", "http://a..b/"), 3, "url", "a..b", "between its dots"),
    (entry("retries: 1", "'tcp://a\\b:80'"), 3, "url", "a", "letters, digits and hyphens"),
    (entry("retries: 1", "http://" + "a" * 64 + ".test/"), 3, "url", "aaaa", "63"),
    (entry("retries: 1", "http://☕.test/"), 3, "url", "☕", "ASCII form"),
    # Times and numbers
    (entry("interval: 499ms"), 4, "interval", "'499ms'", "500ms to 1d"),
    (entry("interval: 25h"), 4, "interval", "'25h'", "500ms to 1d"),
    (entry("interval: 10"), 4, "interval", "'10'", "500ms, 10s"),
    (entry("interval: ten"), 4, "interval", "'ten'", "500ms, 10s"),
    (entry("interval: [10s]"), 4, "interval", "a list", "single word"),
    (entry("interval:"), 4, "interval", "nothing", "write one"),
    (entry("timeout: 11s"), 4, "timeout", "11s", "at most 10s"),
    (entry("timeout: 0"), 4, "timeout", "'0'", "10ms"),
    (entry("fast_interval: 20s"), 4, "fast_interval", "20s", "at most 10s"),
    (entry("fast_interval: 1ms"), 4, "fast_interval", "'1ms'", "0 for the interval"),
    ("defaults: {timeout: 3s}\nendpoints:\n  - {url: 'http://h', interval: 2s}\n", 1, "timeout", "3s", "at most 2s"),
    (entry("failure_threshold: 0"), 4, "failure_threshold", "'0'", "1 to 1000"),
    (entry("success_threshold: -1"), 4, "success_threshold", "'-1'", "1 to 1000"),
    (entry("success_threshold: 1.5"), 4, "success_threshold", "'1.5'", "1 to 1000"),
    (entry("retries: 11"), 4, "retries", "'11'", "0 to 10"),
    (entry("weight: 0"), 4, "weight", "'0'", "1 to 1000"),
    (entry("weight: 99999999999999999999"), 4, "weight", "'99999999999999999999'", "1 to 1000"),
    (entry("paused: maybe"), 4, "paused", "'maybe'", "true or false"),
    ("pools:\n  shop: {max_ejection_percent: 101}\n", 2, "max_ejection_percent", "'101'", "0 to 100"),
    ("pools:\n  shop: {policy: magic}\n", 2, "policy", "'magic'", "consecutive"),
    ("pools:\n  shop: {flapping_start_percent: 10}\n", 2, "flapping_start_percent", "start 10, stop 25", "lower flapping_stop_percent"),
    ("pools:\n  shop: {flapping_stop_percent: 101}\n", 2, "flapping_stop_percent", "'101'", "0 to 100"),
    ("pools:\n  shop: {open: 10m, open_max: 5m}\n", 2, "open", "600000 ms", "raise open_max"),
    # Labels
    (entry("labels: [a]"), 4, "labels", "a list", "{team: shop}"),
    (entry("labels: {a-b: c}"), 4, "labels", "", "letters"),
    (entry("labels: {endpoint: c}"), 4, "labels", "", "another name"),
    (entry("labels: {a: [b]}"), 4, "labels", "", "shorten"),
    (entry('labels: {a: "b\\nc"}'), 4, "labels", "", "shorten"),
    (entry("labels: {" + ", ".join(f"l{n}: x" for n in range(65)) + "}"), 4, "labels", "", "fewer"),
    # Options of probers
    (entry("expect_body: '('"), 4, "expect_body", "'('", ""),
    (entry("expect_body: '(?=x)'"), 4, "expect_body", "'(?=x)'", "look-around"),
    (entry("expect_status: 999"), 4, "expect_status", "'999'", "200"),
    (entry("method: 'G ET'"), 4, "method", "'G ET'", "GET"),
    (entry("max_redirects: 21"), 4, "max_redirects", "'21'", "0 to 20"),
    (entry("expect_response_time: 6s"), 4, "expect_response_time", "'6s'", "at most 5s"),
    (entry("server_name: other"), 4, "server_name", "'other'", "https://"),
    ("defaults: {expect_body: '('}\n", 1, "expect_body", "'('", ""),
    ("pools:\n  shop: {expect_status: 2}\n", 2, "expect_status", "'2'", "200"),
    ("pools:\n  p: {max_redirects: 5, expect_status: 301}\nendpoints:\n  - {url: 'http://h', pool: p}\n", 2, "max_redirects", "'5'", "0"),
    ("defaults: {headers: {Cookie: hunter2}}\nendpoints: [{url: 'http://h'}]\n", 1, "headers", "<secret>", "env:NAME"),
    # Secrets
    (entry("headers: {Authorization: Bearer hunter2}"), 4, "headers", "<secret>", "env:NAME"),
    (entry("headers: {X-Api-Key: hunter2}"), 4, "headers", "<secret>", "env:NAME"),
    (entry("headers: {X-Plain: <secret>}"), 4, "headers", "<secret>", "env:NAME"),
    (entry("headers: [Bearer hunter2]"), 4, "headers", "<secret>", "Name: value"),
    # Parents
    (entry("depends_on: [dbb]"), 4, "depends_on", "'dbb'", "did you mean db?"),
    (entry("depends_on: [qqq]"), 4, "depends_on", "'qqq'", "register it first"),
    (entry("depends_on: {a: b}"), 4, "depends_on", "a mapping", "[db, cache]"),
    (entry("depends_on: [web]"), 4, "depends_on", "web -> web", "take one"),
    (entry("depends_on: [" + ", ".join(f"p{n}" for n in range(65)) + "]"), 4, "depends_on", "", "depend on one"),
    (
        "endpoints:\n  - {id: a, url: 'http://h', depends_on: [b]}\n  - {id: b, url: 'http://h', depends_on: a}\n",
        2,
        "depends_on",
        "a -> b -> a",
        "take",
    ),
    ("endpoints:\n  - {id: store, url: 'tcp://h:2', depends_on: [db]}\n", 2, "depends_on", "db -> store -> db", "take one"),
]


@pytest.mark.parametrize(("text", "line", "key", "seen", "hint"), ERRORS)
def test_an_error_names_line_key_value_and_hint(text: str, line: int, key: str, seen: str, hint: str):
    (problem,) = refused(text)
    assert problem.where == f"a.yml:{line}"
    assert problem.key == key
    assert seen in problem.seen or seen in str(problem)
    assert hint in problem.hint
    assert problem.why
    assert problem.hint
    assert "hunter2" not in str(problem)


def test_a_timeout_of_a_registered_pool_is_named_with_its_pool():
    (problem,) = refused("endpoints:\n  - {url: 'http://h', pool: slow, interval: 2s}\n")
    assert (problem.where, problem.key, problem.seen) == ("registered pool slow", "timeout", "8s")


def test_ids_and_pools_are_unique_across_files():
    first = "pools: {shop: {}}\nendpoints:\n  - {id: a, url: 'http://h'}\n"
    problems = refused(first, "pools: {shop: {}}\nendpoints: [{id: a, url: 'http://i'}]\n")
    assert [(problem.where, problem.key) for problem in problems] == [("b.yml:1", "shop"), ("b.yml:2", "id")]
    assert "a.yml:1" in problems[0].why
    assert "a.yml:3" in problems[1].why


def test_every_error_is_named_at_once():
    problems = refused(
        "endpoints:\n  - {id: a, url: 'ftp://h', retries: x}\n  - {id: b, url: 'http://h', interval: 1ms, zzz: 1}\n", "pools: 3\n"
    )
    assert [(problem.where, problem.key) for problem in problems] == [
        ("b.yml:1", "pools"),
        ("a.yml:2", "url"),
        ("a.yml:2", "retries"),
        ("a.yml:3", "interval"),
        ("a.yml:3", "zzz"),
    ]


def test_syntax_errors_of_all_files_are_named():
    assert [problem.where for problem in refused("a: [", "a: 1\na: 2\n")] == ["a.yml:2:1", "b.yml:2"]


def test_a_parent_that_was_refused_itself_is_no_second_error():
    problems = refused("endpoints:\n  - {id: a, url: 'ftp://h'}\n  - {id: b, url: 'http://h', depends_on: [a]}\n")
    assert [problem.key for problem in problems] == ["url"]


def test_many_errors_are_counted():
    problems = refused("endpoints:\n" + "  - {url: 'ftp://h'}\n" * 80)
    assert len(problems) == PROBLEMS_SHOWN_MAX + 1
    assert problems[-1].why == "and 30 more errors"


SETTINGS = sorted({*ENDPOINT_FIELDS, *(option for kind in kinds().values() for option in kind.options), "id", "pool", "owner", "url"})
LONG = "Ж" * 100_000


LONGS = {"text": LONG, "one": [LONG], "two": [LONG, LONG], "map": {LONG: LONG}, "hints": "; " * 50_000, "open": "(" * 999}


@pytest.mark.parametrize("value", LONGS.values(), ids=LONGS)
@pytest.mark.parametrize("key", SETTINGS)
def test_an_error_repeats_the_beginning_of_what_was_written_and_no_more(key: str, value: object) -> None:
    for scheme in ("http", "tcp"):
        entry: dict[str, object] = {"id": "web", "url": f"{scheme}://h:1/", key: value}
        with contextlib.suppress(ConfigError):
            read_manifest([entry_node(entry, entry.keys())])
            continue
        with pytest.raises(ConfigError) as caught:
            read_manifest([entry_node(entry, entry.keys())])
        assert all(len(str(problem)) < 1_000 for problem in caught.value.problems)


@pytest.mark.parametrize("value", ["999", "[999]", "[200, 999]", "[" + "200," * 100 + "999]"])
def test_an_error_in_a_list_tells_the_item(value: str) -> None:
    (problem,) = refused(entry(f"expect_status: {value}"))
    assert str(problem) == "a.yml:4: expect_status: '999' is not a status; write for example 2xx, 200-299 or 200,204"


def test_a_url_that_is_too_long_is_told_by_its_beginning() -> None:
    (problem,) = refused(entry("", "http://user:secret@h/" + "x" * 3_000))
    assert "longer than" in problem.why
    assert "user:secret" not in problem.seen
    assert len(problem.seen) < 100


def test_of_several_parents_and_labels_the_wrong_one_is_named():
    (problem,) = refused(entry("depends_on: [db, 'a b']"))
    assert problem.why == "'a b': a name has no white space, control characters or braces"
    (problem,) = refused(entry('labels: {a: b, c: "d\\ne"}'))
    assert problem.why.startswith("the label 'c' is no printable text")
