"""Matchers and whole files as people write them: amtool and we take the same ones, read the same in them, and refuse in the same words.

Debian's amtool knows the classic grammar of matchers only. Of regular expressions two things are left out: `(?<name>...)`, which
Go reads since 1.22 and Debian's does not, and `\\C`, which RE2 for C++ reads and Go never does.
"""

from __future__ import annotations

import random  # noqa: TID251 - texts come from a seeded generator, so that a failure can be had again.
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_rules.files.routing_file import parse_routing
from alert_rules.routes.matcher import MatcherError, matchers_text
from alert_rules.routes.matcher_text import parse_classic
from monitor.core.errors import ConfigError
from tests.acceptance.peers.peer import installed

TABLE = [
    "foo=bar", 'foo="bar"', "foo!=bar", "foo=~bar", "foo!~bar", "foo=", 'foo=""', "foo", "=", "=foo", "foo==bar", "foo=~~bar", "foo=!bar",
    "{foo=bar}", '{foo="bar",}', "{foo=bar", "foo=bar}", "{{foo=bar}}", "foo=bar,", ",foo=bar", "foo=bar,,bar=foo", ",", "{,}",
    " foo = bar ", "foo=bar, bar!=foo", 'foo="a,b", bar=c', "foo=a\\,b", 'foo="a\\"b"', 'foo="a', 'foo=a"', 'foo=a"b', 'foo="a"b"',
    'foo="a\\nb"', "foo=a\\nb", 'foo="a\\tb"', 'foo="a\\\\b"', 'foo="a\\', "foo=a\\", 'foo="\\"', "föö=bar", 'foo="bär"', '"foo"="bar"',
    "foo:bar=baz", ":foo=bar", "1foo=bar", "foo-bar=baz", "foo bar=baz", "foo=bar baz", "foo='bar'", "foo=`bar`", "foo=[", "foo=~[",
    'foo=~"[a"', 'foo=~"a(?=b)"', 'foo=~"a{1001}"', 'foo=~"(a"', 'foo=~"a)"', 'foo=~"*a"', 'foo=~"a**"', 'foo=~"\\\\1"',
    'foo=~"(?P<n>a)"', 'foo=~"\\\\pN"', 'foo=~"\\\\p{Foo}"', 'foo=~"[[:alpha:]]"', 'foo=~"[z-a]"', 'foo=~"\\\\"', 'foo=~"\\\\Q[a\\\\E"',
    'foo=~"a{2,1}"', 'foo=~"(?i:a)b"', 'foo=~"(?x)a"', 'foo=~"a++"', 'foo=~"x{2}{3}"', 'foo=~"(?P<n>a)(?P<n>b)"', 'foo=~"[[:word:]]"',
    'foo=~"[[:nope:]]"', 'foo=~"\\\\z"', 'foo=~"\\\\Z"', 'foo=~"\\\\8"', "tricky=~~~", 'trickier==\\\\=\\=\\"', "foo=a\nb", 'foo="a\nb"',
    "foo\n=\nbar", "\tfoo=bar\t", "foo=}", "foo={", "foo=\u00a0bar", "foo\u00a0=bar",
]  # fmt: skip
PIECES = [
    "foo",
    "b",
    "=",
    "=~",
    "!=",
    "!~",
    '"',
    "\\",
    "\\n",
    "\\\\",
    '\\"',
    ",",
    " ",
    "{",
    "}",
    "ä",
    "1",
    "-",
    ":",
    "[",
    "(",
    ")",
    "*",
    "\n",
    "|",
    ".",
]
FUZZED = 600


def route(**fields: Any) -> dict[str, Any]:
    """A file with one receiver, and a child of the root with these fields."""
    return {"route": {"receiver": "r", "routes": [fields]}, "receivers": [{"name": "r"}]}


def root(**fields: Any) -> dict[str, Any]:
    return {"route": {"receiver": "r", **fields}, "receivers": [{"name": "r"}]}


FILES: dict[str, dict[str, Any]] = {
    "nothing wrong": route(matchers=["a=b"], group_wait="0s", group_interval="1m30s", repeat_interval="1d"),
    "no route": {"receivers": [{"name": "r"}]},
    "an empty route": {"route": None, "receivers": [{"name": "r"}]},
    "no receiver at the root": {"route": {"group_by": ["a"]}, "receivers": [{"name": "r"}]},
    "a receiver twice": {**root(), "receivers": [{"name": "r"}, {"name": "r"}]},
    "a receiver that is not there": root(receiver="other"),
    "a receiver that is not there, deep": route(routes=[{"receiver": "other"}]),
    "a receiver without a name": {**root(), "receivers": [{"name": "r"}, {"name": ""}]},
    "a label twice": root(group_by=["a", "b", "a"]),
    "all labels, and one": root(group_by=["a", "..."]),
    "all labels, twice": root(group_by=["...", "..."]),
    "a label's name": root(group_by=["-a-"]),
    "match at the root": root(match={"a": "b"}),
    "match_re at the root": root(match_re={"a": "b"}),
    "matchers at the root": root(matchers=["a=b"]),
    "continue at the root": root(**{"continue": True}),
    "no group_interval": root(group_interval="0s"),
    "no group_interval below": route(group_interval="0s"),
    "no repeat_interval": root(repeat_interval="0s"),
    "no group_wait": root(group_wait="0s"),
    "a bad duration": root(group_wait="5"),
    "a bad duration's unit": root(group_wait="5 minutes"),
    "a fraction of a duration": root(group_wait="1.5s"),
    "units in the wrong order": root(group_wait="1m1h"),
    "a negative duration": root(group_wait="-1s"),
    "a key of nobody": root(recever="r"),
    "a key of nobody at the top": {**root(), "routes": []},
    "a key of nobody in a receiver": {**root(), "receivers": [{"name": "r", "nam": 1}]},
    "a bad name in match": route(match={"a-b": "c"}),
    "a bad name in match_re": route(match_re={"a-b": "c"}),
    "a bad pattern": route(match_re={"a": "["}),
    "a number in match": route(match={"a": 1}),
    "a truth in match": route(match={"a": True}),
    "a list in match": route(match={"a": ["b"]}),
    "a text for matchers": route(matchers="a=b"),
    "continue as a word": route(**{"continue": "perhaps"}),
    "a text for group_by": root(group_by="a"),
    "nothing for routes": root(routes=None),
    "nothing for group_by": root(group_by=None),
    "nothing for matchers": route(matchers=None),
    "an empty matcher": route(matchers=[""]),
    "an empty receiver below": route(receiver=""),
}
ONLY_WE_REFUSE = {"all labels, twice": "a label twice is a slip, whichever it is"}
ONLY_THEY_REFUSE = {"a label's name": "newer Alertmanagers take any UTF-8 text for a label's name, as we do"}
DURATIONS = {"a bad duration", "a bad duration's unit", "a fraction of a duration", "units in the wrong order", "a negative duration"}
TYPES = {"a list in match", "a text for matchers", "continue as a word", "a text for group_by"}
KEYS = {"a key of nobody", "a key of nobody at the top", "a key of nobody in a receiver"}
"""Ours name no type of a program's source, and the durations' say what to write instead."""


def written(folder: Path, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = []
    for number, config in enumerate(configs):
        path = folder / f"{number}.yml"
        path.write_text(yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False))
        paths.append(str(path))
    return paths


def checked(folder: Path, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Amtool's word on each file: its error, empty where there is none."""
    done = subprocess.run(
        [installed("amtool"), "check-config", *written(folder, configs)], capture_output=True, text=True, timeout=60, check=False
    )
    words = [part.partition("'  ")[2] for part in done.stdout.split("Checking '")[1:]]
    assert len(words) == len(configs), done.stderr
    return [word.removeprefix("FAILED: ").removesuffix("\n").removesuffix("\n") if word.startswith("FAILED: ") else "" for word in words]


def shown(folder: Path, texts: Sequence[str]) -> list[str]:
    """What amtool reads in each text, written as `{name="value"}`."""
    path = written(folder, [{"route": {"receiver": "r", "routes": [{"matchers": [text]} for text in texts]}, "receivers": [{"name": "r"}]}])
    done = subprocess.run(
        [installed("amtool"), "config", "routes", "show", f"--config.file={path[0]}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = [line.partition("── ")[2].rpartition("  receiver: ")[0] for line in done.stdout.splitlines() if "── " in line][1:]
    assert len(lines) == len(texts)
    return ["{}" if line == "default-route" else line for line in lines]


def with_matcher(text: str) -> dict[str, Any]:
    return {"route": {"receiver": "r", "routes": [{"matchers": [text]}]}, "receivers": [{"name": "r"}]}


def our_word(text: str) -> str:
    try:
        parse_classic(text)
    except MatcherError as error:
        return str(error)
    return ""


def compare(folder: Path, texts: Sequence[str]) -> None:
    ours, theirs = [our_word(text) for text in texts], checked(folder, [with_matcher(text) for text in texts])
    assert [(text, own, other) for text, own, other in zip(texts, ours, theirs, strict=True) if own != other] == []
    good = [text for text, own in zip(texts, ours, strict=True) if not own]
    assert good
    read = [matchers_text(parse_classic(text)) for text in good]
    assert [(text, own, other) for text, own, other in zip(good, read, shown(folder, good), strict=True) if own != other] == []


def test_matchers_of_a_table(tmp_path: Path) -> None:
    compare(tmp_path, TABLE)


@pytest.mark.parametrize("seed", [1, 2])
def test_matchers_made_at_random(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    texts = []
    for _ in range(FUZZED):
        tail = "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 8)))
        texts.append(rng.choice(["", "foo=", "foo=~", 'foo="', '{foo!="a",b=']) + tail)
    compare(tmp_path, texts)


def refused(config: Mapping[str, Any]) -> list[str]:
    """What we find wrong with a file."""
    try:
        parse_routing(yaml.safe_dump(dict(config)))
    except ConfigError as error:
        return [problem.why for problem in error.problems]
    return []


def test_files_are_taken_and_refused_alike_and_in_the_same_words(tmp_path: Path) -> None:
    words = checked(tmp_path, list(FILES.values()))
    for (name, config), word in zip(FILES.items(), words, strict=True):
        ours = refused(config)
        if name in ONLY_WE_REFUSE:
            assert ours, name
            assert not word, f"{name}: {word}"
        elif name in ONLY_THEY_REFUSE:
            assert not ours, name
            assert word, name
        elif name in DURATIONS | TYPES:
            assert ours, name
            assert word, name
        else:
            said = [why.partition(" not found in type")[0] for why in ours] if name in KEYS else ours
            assert len(said) == bool(word), f"{name}: {said}, {word}"
            assert all(why in word.replace("other other", "other") for why in said), f"{name}: {said}, {word}"
