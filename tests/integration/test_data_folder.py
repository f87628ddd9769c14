"""A data folder in which something else stands where `up` wants to write: refused with its place, and nothing is left running."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.config.settings import load_settings
from monitor.core.errors import ConfigError
from tests.waiting import alive
from workers.local.logfile import LogFile
from workers.local.up import run_up


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\x00rubbish")


def pipe(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def nowhere(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/nowhere/at/all")


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("", file), ("", nowhere), ("lock", folder), ("lock", pipe), ("logs", file), ("logs/server.log", folder), ("logs/beat.log", pipe),
        ("server", file), ("server", nowhere), ("server/server.lock", folder), ("server/server.lock", pipe), ("server/server.json", folder),
        ("server/valkey.conf", folder), ("running.json", folder), ("running.part", folder),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_named(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    make(data_dir / name)
    before = children()
    settings = load_settings({"data_dir": data_dir, "listen": "127.0.0.1:0", "workers": 1}, env_file=None)
    with pytest.raises(ConfigError, match=f"data_dir: {name + ' in it' if name else 'the folder'} cannot be used: "):
        run_up(settings, lambda _: None)
    assert not any(map(alive, children() - before))


def test_a_folder_that_nobody_can_make_is_named() -> None:
    with pytest.raises(ConfigError, match="data_dir: the folder cannot be used: "):
        run_up(load_settings({"data_dir": Path("/proc/self/data"), "listen": "127.0.0.1:0"}, env_file=None), lambda _: None)


def test_a_log_that_cannot_be_turned_stays_within_its_cap_and_goes_on_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "part.log.1").mkdir()
    log = LogFile(tmp_path / "part.log", bytes_max=100)
    for _ in range(100):
        log.write(b"a line of the part\n")
    assert log.path.stat().st_size <= 100
    (tmp_path / "part.log.1").rmdir()
    log.write(b"the last line\n")
    log.close()
    assert log.path.read_bytes() == b"the last line\n"
