"""YAML that remembers its lines: what is read, and what is refused with its place."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.located import NESTING_MAX, load_yaml
from monitor.core.errors import ConfigError, Problem


def refused(text: str, **options: int) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "shop.yml", **options)
    return caught.value.problems


def test_scalars_keep_the_text_that_was_written():
    text = "time: 17:00\nswitch: on\noctal: 0123\nyes: 1e3\ndate: 2024-01-01\nquoted: 'null'\n"
    node = load_yaml(text, "shop.yml")
    assert node.plain() == {"time": "17:00", "switch": "on", "octal": "0123", "yes": "1e3", "date": "2024-01-01", "quoted": "null"}


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL"])
def test_nothing_is_none(written: str):
    assert load_yaml(f"key: {written}", "shop.yml").plain() == {"key": None}


def test_an_empty_text_is_none_at_line_one():
    node = load_yaml("# nothing yet\n", "shop.yml")
    assert (node.value, node.where) == (None, "shop.yml:1")


def test_every_value_and_key_knows_its_line():
    node = load_yaml("pools:\n  shop:\n    open: 5s\nendpoints:\n  - id: a\n    url: b\n", "shop.yml")
    assert node.key_where("endpoints") == "shop.yml:4"
    assert node.value["endpoints"].value[0].where == "shop.yml:5"
    assert node.value["endpoints"].value[0].key_where("url") == "shop.yml:6"
    assert node.value["pools"].value["shop"].value["open"].where == "shop.yml:3"


def test_an_alias_is_the_anchors_value():
    node = load_yaml("a: &a {x: 1}\nb: *a\nc: &k name\n*k : 2\n", "shop.yml")
    assert node.plain() == {"a": {"x": "1"}, "b": {"x": "1"}, "c": "name", "name": "2"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &a {x: 1, y: 2}\nb:\n  y: 3\n  <<: *a\n  z: 4\n", {"x": "1", "y": "3", "z": "4"}),
        ("a: &a {x: 1}\nc: &c {x: 2, w: 5}\nb: {<<: [*a, *c], v: 6}\n", {"x": "1", "w": "5", "v": "6"}),
        ("a: &a {x: 1}\nc: &c {<<: *a, y: 2}\nb: {<<: *c, x: 3}\n", {"x": "3", "y": "2"}),
        ("b: {<<: {x: 1}, y: 2}\n", {"x": "1", "y": "2"}),
        ("b: {'<<': 1}\n", {"<<": "1"}),
        ("b: [<<]\n", ["<<"]),
        ("b: <<\n", "<<"),
        ("b: {<<: []}\n", {}),
    ],
)
def test_a_merge_key_brings_what_the_mapping_does_not_say_itself(text: str, value: object):
    assert load_yaml(text, "shop.yml").plain()["b"] == value


def test_what_is_merged_keeps_the_place_where_it_is_written():
    node = load_yaml("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n", "shop.yml").value["b"]
    assert (node.key_where("x"), node.value["x"].where) == ("shop.yml:2", "shop.yml:2")
    assert (node.key_where("y"), node.value["y"].where) == ("shop.yml:6", "shop.yml:6")
    assert node.key_where("<<") == node.where


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("a:\n  <<: 1\n", "shop.yml:2", "`<<` takes a mapping, or a list of mappings"),
        ("a:\n  <<:\n", "shop.yml:2", "`<<` takes a mapping, or a list of mappings"),
        ("a: &a [1]\nb:\n  <<: [{x: 1}, *a]\n", "shop.yml:3", "`<<` takes a mapping, or a list of mappings"),
        ("a: {<<: {x: 1},\n  <<: {y: 1}}\n", "shop.yml:2", "written twice, first at shop.yml:1"),
        ("a: &a\n  <<: *a\n", "shop.yml:2", "the alias contains itself"),
        ("a: {<<: *b}\n", "shop.yml:1", "no anchor of this name"),
        ("a: &a {x: 1}\nb: {<<: *a, y: 1,\n y: 2}\n", "shop.yml:3", "written twice, first at shop.yml:2"),
        ("a: 1\nb: [1, 2\nc: 3\n", "shop.yml:3:2", "this is not YAML"),
        ("a: 1\n  b: 2\n", "shop.yml:2:4", "this is not YAML"),
        ("a: 1\nb: \x01\n", "shop.yml:2", "this is not YAML"),
        ("a: \ud800\n", "shop.yml:1", "this is not YAML"),
        ("a: 1\nb: 2\na: 3\n", "shop.yml:3", "written twice, first at shop.yml:1"),
        ("a: 1\n---\nb: 2\n", "shop.yml:2", "second document"),
        ("? [a, b]\n: 1\n", "shop.yml:1", "key must be text"),
        ("x: 1\n? {a: b}\n: 1\n", "shop.yml:2", "key must be text"),
        ("~: 1\n", "shop.yml:1", "key must be text"),
        ("a: &a [1]\n*a : 1\n", "shop.yml:2", "key must be text"),
        ("a: !!python/object:os.system x\n", "shop.yml:1", "tags are not used"),
        ("a: !x {b: 1}\n", "shop.yml:1", "tags are not used"),
        ("a: &a\n  b: *a\n", "shop.yml:2", "contains itself"),
        ("a: *nowhere\n", "shop.yml:1", "no anchor"),
        ("[" * (NESTING_MAX + 1) + "]" * (NESTING_MAX + 1), "shop.yml:1", "nested deeper"),
        ("[" * 100_000, "shop.yml:1", "nested deeper"),
    ],
)
def test_refused_with_its_place(text: str, where: str, why: str):
    (problem,) = refused(text)
    assert problem.where == where
    assert why in problem.why


def test_all_duplicate_keys_are_named():
    assert [problem.where for problem in refused("a: 1\na: 2\nb: {c: 1, c: 2}\n")] == ["shop.yml:2", "shop.yml:3"]


def test_a_file_over_its_size_is_refused():
    (problem,) = refused("a: " + "x" * 100, bytes_max=100)
    assert problem.seen == "103 bytes"
    assert "split" in problem.hint


def test_aliases_that_multiply_are_refused():
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    (problem,) = refused("\n".join(levels))
    assert "multiply" in problem.why


def test_aliases_that_nest_are_refused():
    levels = ["l0: &l0 [x]"] + [f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 100)]
    (problem,) = refused("\n".join(levels))
    assert "nested deeper" in problem.why


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
documents = st.recursive(texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20)


@given(documents)
def test_what_pyyaml_quotes_is_read_back(document: object):
    assert load_yaml(yaml.safe_dump(document, default_style='"', allow_unicode=True), "x").plain() == document
