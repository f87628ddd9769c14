"""Arguments that people and scripts may pass: each command answers or refuses with words and an exit code, and never with a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.main import cli, main
from tests.conftest import RedisServer
from tests.fuzz.play import cases
from tests.integration.commands import make_data_set

CANARY = "canary-7f3a"
LASTING = {"up", "worker", "alert-worker", "beat", "web"}
"""These go on until they are stopped."""
EVERYWHERE = {"data_dir", "redis_url", "config", "output", "watch", "follow", "help"}


def _leaves(
    command: click.Command, path: tuple[str, ...], context: click.Context
) -> Iterator[tuple[tuple[str, ...], list[click.Parameter]]]:
    if not isinstance(command, click.Group):
        yield path, [param for param in command.params if param.name not in EVERYWHERE]
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None and name not in LASTING:
            yield from _leaves(below, (*path, name), click.Context(below, info_name=name, parent=context))


COMMANDS = list(_leaves(cli, (), click.Context(cli)))

WORDS = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "-",
                "--",
                "a",
                "shop",
                "web-1",
                "web-2",
                "10s",
                "0",
                "-1",
                "1e9",
                "9" * 30,
                "true",
                "nan",
                "a=b",
                "=",
                "a=",
                "X: y",
            ),
            *(
                "X: y",
                "{",
                "}",
                "[1",
                "{a: [",
                "&a [*a]",
                "team=shop",
                'team=~"("',
                "2xx",
                "999",
                "200-100",
                "GET",
                "1h",
                "1y",
                "99999999y",
            ),
            *("2026-01-31", "0x10", "http://127.0.0.1:1/", f"http://u:{CANARY}@127.0.0.1:1/", "http://127.0.0.1:99999/", "tcp://[::1]:1"),
            *("https://①/", "http://", "ftp://h/", "http://h:0/", "http://[fe80::1%25lo]/", "tcp://x", "http://" + "a" * 3_000),
            *("file:/nowhere", "env:NOTHING", "Europe/Berlin", "..", "/", "/dev/null", "nowhere.yml", "\x1b[31m", "\x9b31m", "\u202e"),
            *("ß", "日本", "x" * 5_000, "\udc80"),
        ]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)
FILES = WORDS.filter(lambda word: CANARY not in word)
"""The name of a file is shown as it is."""


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    path, params = draw(st.sampled_from(COMMANDS))
    args = list(path)
    for param in params:
        words = FILES if param.name in {"paths", "alerting"} else WORDS
        if isinstance(param, click.Argument):
            count = draw(st.integers(0, 3)) if param.nargs == -1 else draw(st.integers(0, 6)) > 0
            args += [draw(words) for _ in range(count)]
        elif not param.required and draw(st.integers(0, max(3, len(params) // 2))):
            continue
        elif isinstance(param, click.Option) and param.is_flag:
            args.append(param.opts[0])
        else:
            args += [param.opts[0], draw(words)]
    if "add" in path or "probe" in path:
        args += ["--timeout", "100ms", "--retries", "0"]
    return [*args, *draw(st.sampled_from([[], ["-o", "json"], ["-o", "yaml"], ["-o", "xml"], ["--help"], ["--nothing"]]))]


@pytest.fixture
def system(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_data_set(redis_url)
    for name in list(os.environ):
        if name.startswith(("WATCHKEEPER_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHKEEPER_REDIS_URL", redis_url)
    monkeypatch.setenv("WATCHKEEPER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WATCHKEEPER_TARGET_DENY", "0.0.0.0/0,::/0")
    monkeypatch.setenv("WATCHKEEPER_TARGET_ALLOW", "loopback")
    monkeypatch.setenv("WATCHKEEPER_NAMESERVERS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yml").write_text(
        "endpoints: [{id: web-1, url: 'tcp://127.0.0.1:1', pool: shop}, {id: web-2, url: 'tcp://127.0.0.1:2'}]"
    )
    assert run(["apply", "-f", "shop.yml"])[0] == 0, run(["apply", "-f", "shop.yml"])


def run(args: list[str]) -> tuple[int, str]:
    """The command's exit code and all that it wrote, in this process: what it does not catch is raised here."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(b"endpoints: ["), "utf-8")
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main(args)
    finally:
        sys.stdin = stdin
    written: Any = [stream.buffer.getvalue().decode() for stream in (out, err) if stream.flush() is None]
    return int(end.value.code or 0), "".join(written)


@pytest.mark.usefixtures("system")
@cases(400)
@given(args=arguments())
def test_every_command_answers_or_refuses(args: list[str]):
    code, written = run(args)
    assert code in {0, 1, 2, 3}, args
    assert "Traceback" not in written
    assert CANARY not in written, "a password was printed"
    assert not {char for char in written if not char.isprintable() and char != "\n"}, "a terminal would obey this"
    assert code == 0 or written.strip(), "it failed without a word"


def test_all_commands_but_those_that_last_are_played(valkey: RedisServer):
    assert len(COMMANDS) > 30
    assert ("endpoint", "add") in dict(COMMANDS)
