"""Settings files, variables and `.env` as anybody may have left them: a value, or a refusal that names its place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.settings import RUNNING_FILE, Settings, as_environment, find_redis_url, load_settings, settings_table
from monitor.core.errors import ConfigError
from monitor.store.redis_url import OPTIONS, RedisUrl, read_redis_url
from tests.fuzz.play import cases
from tests.fuzz.spoiling import ODD, mangled, rubbish
from workers.app import configuration
from workers.local.embedded import IDENTITY_FILE, EmbeddedServer

T = TypeVar("T")
CANARY = "canary-91fd"
FILE = f"""\
redis_url: redis://:{CANARY}@127.0.0.1:6379/0?socket_timeout=5
data_dir: data
listen: 127.0.0.1:0
rules: [a.yml, b]
workers: 2
log_level: INFO
target_deny: [10.0.0.0/8, loopback]
nameservers: ["127.0.0.1:53", "::1"]
location: here
""".encode()
WORDS = st.one_of(
    st.sampled_from(
        ["", " ", "0", "-1", "1e3", "9" * 5_000, "²", "٣", "[", '["a"', "{}", "null", "true", "nan", "a,b", ",", "~", "~x/y", "\x1b[31m"]
    ),
    st.sampled_from(["127.0.0.1:0", "[::1]:1", "h:99999", "::1", "10.0.0.0/33", "1.1.1.1:0x1", "INFO", "/", "..", "\udcff", "x" * 10_000]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=[]), max_size=12),
)
SIGNS = st.text(st.sampled_from("redis:/@?&=#%[]. \t\n\\;ab1é\x1b"), max_size=24)


@st.composite
def urls(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["redis", "rediss", "unix", "redis", "REDIS", "http", ""]))
    login = draw(st.sampled_from(["", f":{CANARY}@", f"u:{CANARY}@", "me@", f":{CANARY}/@", f":{CANARY}#@", f":1?{CANARY}@"]))
    place = draw(st.sampled_from(["h", "h:1", "[::1]:2/3", "h:x", "h:0", "[::1", "/run/r.sock", "", "h/1/2", "h" * 70]) | SIGNS)
    names = st.sampled_from([*OPTIONS["rediss"], "foo", "decode_responses", "ssl", ""]) | SIGNS
    values = st.sampled_from(["", "1", "0", "-1", "yes", "no", "x", "none", "nan", "1e999", "9" * 400, "771", "/nowhere"]) | SIGNS
    options = draw(st.lists(st.tuples(names, values), max_size=3))
    return f"{scheme}://{login}{place}" + ("?" if options else "") + "&".join(f"{name}={value}" for name, value in options)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("WATCHKEEPER_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context():
        yield


def answer(ask: Callable[[], T]) -> T | ConfigError:
    """What is answered, or the refusal."""
    try:
        return ask()
    except ConfigError as refusal:
        return refusal


def taken_or_refused(place: str, **how: Any) -> Settings | None:
    """The settings, which another process reads as they are, or None for a refusal of this place in words."""
    settings = answer(lambda: load_settings(**how))
    if isinstance(settings, ConfigError):
        assert CANARY not in str(settings)
        assert all(place in problem.where for problem in settings.problems), str(settings)
        assert all(problem.why and str(problem).isprintable() for problem in settings.problems), str(settings)
        return None
    assert CANARY not in "".join(row.value for row in settings_table(settings))
    variables = as_environment(settings)
    assert not any("\0" in value for value in variables.values())
    return settings


@given(content=st.one_of(mangled(FILE), mangled(FILE), rubbish(dict.fromkeys(Settings.model_fields)), st.binary(max_size=60)))
@cases(150)
def test_a_settings_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wk.yml"
    path.write_bytes(content)
    taken_or_refused("wk.yml", config=path, env_file=None)


@given(name=st.sampled_from(list(Settings.model_fields)), value=ODD)
@cases(150)
def test_a_value_in_it(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "wk.yml"
    path.write_bytes(msgspec.json.encode({name: None}).replace(b"null", json.dumps(value).encode()))
    taken_or_refused("wk.yml", config=path, env_file=None)


@given(name=st.sampled_from(list(Settings.model_fields)), value=WORDS)
@cases(150)
def test_a_variable(name: str, value: str) -> None:
    variable = f"WATCHKEEPER_{name.upper()}"
    try:
        os.environ[variable] = value
    except UnicodeEncodeError:
        return  # No system passes it on.
    try:
        taken_or_refused(variable, env_file=None)
    finally:
        del os.environ[variable]


@given(content=mangled(b"WATCHKEEPER_WORKERS=2\nREDIS_URL='redis://:" + CANARY.encode() + b"@h'\nWATCHKEEPER_RULES=a,b\nX=${X}\n"))
@cases(100)
def test_a_dotenv(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    taken_or_refused(".env")


@given(url=urls())
@cases(250)
def test_a_redis_url(url: str) -> None:
    settings = taken_or_refused("--redis-url", options={"redis_url": url}, env_file=None)
    if settings is None or not settings.redis_url:
        return
    again = RedisUrl(RedisUrl(url).for_others)
    known = RedisUrl(url)
    assert (again.password, again.database, again.host, again.path) == (known.password, known.database, known.host, known.path)
    connecting = answer(lambda: read_redis_url(url))
    if isinstance(connecting, ConfigError):
        assert CANARY not in str(connecting)
        return
    configuration(url)


@given(running=rubbish({"pid": os.getpid(), "redis_url": "redis://h", "listen": "x"}), identity=rubbish({"port": 1, "password": "x" * 32}))
@cases(100)
def test_files_of_the_data_folder(running: bytes, identity: bytes, tmp_path: Path) -> None:
    (tmp_path / RUNNING_FILE).write_bytes(running)
    found_url = answer(lambda: find_redis_url(load_settings({"data_dir": tmp_path}, env_file=None)))
    assert isinstance(found_url, str) or "nothing runs on" in str(found_url)
    server = EmbeddedServer(tmp_path)
    (server.folder / IDENTITY_FILE).write_bytes(identity)
    found = server._identity()
    assert 0 < found.port < 65_536
    assert found.password.isascii()
    assert found.password.replace("-", "").replace("_", "").isalnum()
