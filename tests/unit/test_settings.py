"""Settings: which source wins, where a value came from, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from monitor.config.settings import (
    RUNNING_FILE,
    Running,
    Settings,
    as_environment,
    find_redis_url,
    load_settings,
    settings_table,
)
from monitor.core.errors import ConfigError
from monitor.core.secret import hide_password
from monitor.store.keys import CLAIM_MAX
from monitor.store.redis_url import RedisUrl, read_redis_url


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WATCHKEEPER_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_options_win_over_variables_over_dotenv_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "wk.yml"
    config.write_text("workers: 1\nheartbeat_ms: 1000\nslots: 1\nbatch_size: 1\n")
    (tmp_path / ".env").write_text("WATCHKEEPER_WORKERS=2\nWATCHKEEPER_HEARTBEAT_MS=2000\nWATCHKEEPER_SLOTS=2\nUNRELATED=1\n")
    monkeypatch.setenv("WATCHKEEPER_WORKERS", "3")
    monkeypatch.setenv("WATCHKEEPER_HEARTBEAT_MS", "3000")
    settings = load_settings({"workers": 4, "slots": None}, config=config)
    assert (settings.workers, settings.heartbeat_ms, settings.slots, settings.batch_size) == (4, 3000, 2, 1)
    sources = [settings.source(name) for name in ("workers", "heartbeat_ms", "slots", "batch_size", "claim_limit")]
    assert sources == ["option --workers", "WATCHKEEPER_HEARTBEAT_MS", ".env", f"{config}:4", "default"]


def test_redis_url_is_read_from_the_plain_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://plain:1/0")
    assert load_settings().redis_url == "redis://plain:1/0"
    monkeypatch.setenv("WATCHKEEPER_REDIS_URL", "redis://own:1/0")
    settings = load_settings()
    assert (settings.redis_url, settings.source("redis_url")) == ("redis://own:1/0", "WATCHKEEPER_REDIS_URL")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379/2",
        "rediss://:pw@[::1]:1/",
        "unix:///run/redis.sock?db=1",
        "unix://:pw@/run/r",
        "redis://h/0?username=me&password=pw",
        "redis://h?db=2",
        "rediss://h?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_redis_urls(url: str) -> None:
    assert load_settings({"redis_url": url}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "h:6379",
        "http://h",
        "redis://",
        "redis://h:x/0",
        "redis://h:99999",
        "redis://h/x",
        "redis://[::1",
        "unix://",
        "redis://:sesame/sesame@h:1/0",
        "REDIS://h",
        "unix:/run/redis.sock",
        "redis://h?db=x",
        "redis://h/1/2",
        "unix://run/redis.sock",
        "redis://h/0#note",
        "redis://h\n",
        "redis://h h",
        "redis://" + "h" * 64,
        "redis://h?p@ss=1",
    ],
)
def test_redis_urls_that_no_part_could_use(url: str) -> None:
    with pytest.raises(ConfigError, match=r"option --redis-url: redis_url: write redis://") as refused:
        load_settings({"redis_url": url})
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("name", ["decode_responses", "ssl_cert_reqs", "nonsense", "encoding", "timeout", "host", "retry", "DB"])
def test_parameters_of_a_redis_url_that_not_every_part_understands(name: str) -> None:
    with pytest.raises(ConfigError, match=f"redis:// URL takes no parameter '{name}'; (leave it out|did you mean)"):
        load_settings({"redis_url": f"redis://h/0?{name}=1"})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("socket_timeout=x", "socket_timeout cannot be used: it must be a number of seconds above 0"),
        ("socket_timeout=nan", "socket_timeout cannot be used"),
        ("socket_timeout=0", "socket_timeout cannot be used"),
        ("socket_connect_timeout=-1", "socket_connect_timeout cannot be used"),
        ("socket_connect_timeout=1e300", "socket_connect_timeout cannot be used"),
        ("socket_keepalive=perhaps", "socket_keepalive cannot be used: it must be yes or no"),
        ("health_check_interval=1.5", "health_check_interval cannot be used: it must be a whole number of seconds"),
        ("health_check_interval=" + "9" * 5_000, "health_check_interval cannot be used"),
        ("max_connections=1", "max_connections cannot be used: it must be a whole number, 10 at least"),
        ("retry_on_timeout=yes", "retry_on_timeout cannot be used: it must be no"),
        ("protocol=3", "protocol cannot be used: it must be 2"),
        ("client_name=two%20words", "client_name cannot be used: it must be one word"),
        ("ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs cannot be used: it must be none, optional or required"),
        ("ssl_check_hostname=off", "ssl_check_hostname cannot be used: it must be yes or no"),
        ("ssl_min_version=TLSv1.2", r"ssl_min_version cannot be used: it must be 771 \(TLS 1.2\) or 772"),
        ("ssl_include_verify_flags=VERIFY_X509_STRICKT", "did you mean VERIFY_X509_STRICT"),
        ("socket_timeout=1&socket_timeout=2", "socket_timeout is given twice"),
        ("password=", "password has no value"),
        ("db=-1", "the database must be a whole number"),
        ("db=1/2", "the database must be a whole number"),
    ],
)
def test_values_in_a_redis_url_that_cannot_be_used(option: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_settings({"redis_url": f"rediss://h?{option}"})


@pytest.mark.parametrize(
    "url", ["redis://me:1?sesame@h:1/0", "redis://me:1#sesame@h:1/0", "redis://:" + "sesame" * 50 + "@h?x", "redis://h?ssl_password=sesame"]
)
def test_no_refusal_of_a_redis_url_tells_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings({"redis_url": url})
    assert "sesame" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        read_redis_url(url)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("redis://:pw@h:1/2", "redis://default:pw@h:1/2"),
        ("redis://me@h", "redis://me:@h/0"),
        ("redis://h?username=me&password=p%2Fw&db=3&socket_timeout=5", "redis://me:p%2Fw@h/3?socket_timeout=5"),
        ("unix://:pw@/run/my%20redis.sock?db=1", "unix://default:pw@/run/my%20redis.sock?db=1"),
        ("rediss://[::1]:6379/0", "rediss://[::1]:6379/0"),
    ],
)
def test_a_redis_url_as_other_clients_take_it(url: str, printed: str) -> None:
    assert RedisUrl(url).for_others == printed


def test_plain_redis_url_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=redis://dotenv:1/0\n")
    assert load_settings().redis_url == "redis://dotenv:1/0"


def test_the_file_may_be_named_by_a_variable_and_its_paths_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "wk.yml").write_text("rules: [mine.yml, more]\nalerting: routes.yml\ndata_dir: data\n")
    monkeypatch.setenv("WATCHKEEPER_CONFIG", str(folder / "wk.yml"))
    settings = load_settings()
    assert settings.rules == (folder / "mine.yml", folder / "more")
    assert (settings.alerting, settings.data_dir) == (folder / "routes.yml", folder / "data")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker: 2\n", "wk.yml:1: worker: there is no such setting; did you mean workers?"),
        ("workers: 2\n\nworkers: 3\n", "wk.yml:3: workers: the key is written twice, first at "),
        ("\nworkers: 0\n", "wk.yml:2: workers: Input should be greater than or equal to 1 (got 0); write a whole number from 1 to 64"),
        ("location: " + "x" * 5_000, "characters (got " + "x" * 79 + "…); write a text of at most 64 characters"),
        ("listen: here\n", "wk.yml:1: listen: write HOST:PORT"),
        ("target_deny: [10.0.0.0/33]\n", "wk.yml:1: target_deny:"),
        ("nameservers: [127.0.0.1:53, resolver]\n", "wk.yml:1: nameservers:"),
        ("redis_url: http://x\n", "wk.yml:1: redis_url: write redis://"),
        ("log_level: loud\n", "choose one of DEBUG, INFO, WARNING, ERROR"),
        ("- workers\n", "wk.yml:1: the file must hold `setting: value` lines"),
        ("workers: [1\n", "wk.yml:2:1: this is not YAML"),
        ("a: !!python/object/apply:os.system [id]\n", "wk.yml:1: tags are not used here"),
        ("workers: 1\n---\nworkers: 2\n", "wk.yml:2: a second document begins here"),
        ("hello\n", "wk.yml:1: the file must hold `setting: value` lines"),
        ("rules: " + "[" * 5_000, "wk.yml:1: lists and mappings are nested deeper than"),
        ("rules: &a [*a]\n", "wk.yml:1: the alias contains itself"),
        ("rules: [a, [b]]\n", "wk.yml:1: rules: write the name of a file or folder"),
        ("\nworkers: 2024-99-99\n", "wk.yml:2: workers: Input should be a valid integer"),
        ("workers: " + "9" * 5_000, "wk.yml:1: workers: "),
        ("workers: [1]\n", "wk.yml:1: workers: Input should be a valid integer"),
        ("data_dir: {a: 1}\n", "wk.yml:1: data_dir: "),
        ("data_dir: ~nobody-of-this-name/x\n", "wk.yml:1: data_dir: Could not determine home directory"),
        ('alerting: "a\\0b"\n', "wk.yml:1: alerting: a file's name is UTF-8 text without NUL"),
        ('location: "\\e[31m"\n', "wk.yml:1: location: write a name of letters, digits and signs"),
        ('"\\e[31m": 1\n', "wk.yml:1: \\x1b[31m: there is no such setting"),
        ("[a]: 1\n", "wk.yml:1: a key must be text"),
        ("listen: h:²\n", "wk.yml:1: listen: write HOST:PORT"),
        ("listen: '::1:80'\n", "wk.yml:1: listen: write HOST:PORT"),
        ("nameservers: 1.1.1.1:99999\n", "wk.yml:1: nameservers: write ADDRESS or ADDRESS:PORT"),
    ],
)
def test_what_the_file_may_not_say_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "wk.yml"
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(config=config)
    assert said in str(caught.value)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "cannot be read: No such file"),
    "a folder": (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    "a pipe": (os.mkfifo, "cannot be read: It is a pipe"),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere/at/all"), "cannot be read: No such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read: Too many levels"),
    "without end": (lambda path: path.symlink_to("/dev/zero"), "larger than 1000000 bytes"),
    "huge": (lambda path: path.write_text("#" * 1_000_001), "larger than 1000000 bytes"),
    "UTF-16": (lambda path: path.write_bytes("\nworkers: 2\n".encode("utf-16")), "1: the file is no UTF-8 text"),
    "Latin-1": (lambda path: path.write_bytes(b"workers: 2\nlocation: caf\xe9\n"), "2: the file is no UTF-8 text"),
    "binary": (lambda path: path.write_bytes(bytes(range(1, 128))), "this is not YAML"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_a_file_that_is_none_is_refused_with_its_name(name: str, tmp_path: Path) -> None:
    make, said = NO_FILES[name]
    make(tmp_path / "wk.yml")
    with pytest.raises(ConfigError, match=f"wk.yml.*{said}"):
        load_settings(config=tmp_path / "wk.yml")


@pytest.mark.parametrize("name", ["a pipe", "a link to nothing", "without end", "huge", "UTF-16", "Latin-1"])
def test_so_is_a_dotenv(name: str, tmp_path: Path) -> None:
    make, said = NO_FILES[name]
    make(tmp_path / ".env")
    with pytest.raises(ConfigError, match=rf"\.env.*{said}"):
        load_settings()


def test_a_folder_named_dotenv_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert load_settings().source("workers") == "default"


def test_an_empty_file_or_variable_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wk.yml").write_text("\ufeff# nothing\n")
    monkeypatch.setenv("WATCHKEEPER_ALERTING", "")
    monkeypatch.setenv("WATCHKEEPER_RULES", "")
    assert (load_settings(config=tmp_path / "wk.yml").alerting, load_settings().rules) == (None, ())
    monkeypatch.setenv("WATCHKEEPER_DATA_DIR", "")
    with pytest.raises(ConfigError, match="WATCHKEEPER_DATA_DIR: data_dir: write the name of a folder"):
        load_settings()


@pytest.mark.parametrize("name", ["RULES", "DATA_DIR", "ALERTING", "ALIVE_FILE", "LOCATION", "REDIS_URL"])
def test_a_value_that_is_no_text_is_refused_for_no_part_could_be_told_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"WATCHKEEPER_{name}", "redis://caf\udce9")
    with pytest.raises(ConfigError, match=f"WATCHKEEPER_{name}: "):
        load_settings()


@pytest.mark.parametrize("pid", [0, -1, 2**31, 10**30])
def test_the_file_of_a_running_system_with_an_impossible_process_does_not_count(pid: int, tmp_path: Path) -> None:
    (tmp_path / RUNNING_FILE).write_bytes(b'{"pid":%d,"redis_url":"redis://h","listen":"x"}' % pid)
    with pytest.raises(ConfigError, match="nothing runs on"):
        find_redis_url(load_settings({"data_dir": tmp_path}))


def test_a_pipe_in_the_data_folder_holds_no_command(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / RUNNING_FILE)
    with pytest.raises(ConfigError, match="nothing runs on"):
        find_redis_url(load_settings({"data_dir": tmp_path}))


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    config = tmp_path / "wk.yml"
    config.write_text("redis_url: ftp://:hunter2@h/0\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(config=config)
    assert "hunter2" not in str(caught.value)
    for text in ("redis:/:hunter2@h:1", "redis:hunter2@h", "hunter2@h:6379", ":hunter2@h:6379", "http://h/0?password=hunter2"):
        with pytest.raises(ConfigError) as caught:
            load_settings({"redis_url": text}, env_file=None)
        assert "hunter2" not in str(caught.value)


def test_the_table_shows_everything_and_no_password() -> None:
    rows = {row.name: row for row in settings_table(load_settings({"redis_url": "redis://me:hunter2@h:1/0"}))}
    assert rows["redis_url"].value == "redis://me:<secret>@h:1/0"
    assert rows["redis_url"].source == "option --redis-url"
    assert set(rows) == set(Settings.model_fields)
    assert all(row.description for row in rows.values())


def test_no_claim_may_be_larger_than_what_its_script_takes() -> None:
    assert load_settings({"claim_limit": CLAIM_MAX}, env_file=None).claim_limit == CLAIM_MAX
    with pytest.raises(ConfigError, match="claim_limit"):
        load_settings({"claim_limit": CLAIM_MAX + 1}, env_file=None)


def test_hidden_passwords() -> None:
    assert hide_password("redis://:p%40ss@127.0.0.1:6379/0") == "redis://:<secret>@127.0.0.1:6379/0"
    assert hide_password("unix:///run/redis.sock?db=1&password=p4ss&x=y") == "unix:///run/redis.sock?db=1&password=<secret>&x=y"
    assert hide_password("redis://127.0.0.1:6379/0") == "redis://127.0.0.1:6379/0"


def test_another_process_reads_the_same_settings_from_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        {"rules": (Path("with, comma.yml"), Path("b")), "redis_url": "redis://h:1/0", "target_deny": ("10.0.0.0/8",), "workers": 3}
    )
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings().model_dump() == settings.model_dump()


def test_lists_in_variables_are_apart_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHKEEPER_TARGET_ALLOW", "10.0.0.0/8, fd00::/8")
    assert load_settings().target_allow == ("10.0.0.0/8", "fd00::/8")


def test_the_redis_in_use_is_the_given_one_else_that_of_the_running_system(tmp_path: Path) -> None:
    assert find_redis_url(load_settings({"redis_url": "redis://h:1/0", "data_dir": tmp_path})) == "redis://h:1/0"
    with pytest.raises(ConfigError, match=r"nothing runs on .*start `watchkeeper up`, or give --redis-url or --data-dir"):
        find_redis_url(load_settings({"data_dir": tmp_path}))
    running = Running(pid=os.getpid(), redis_url="redis://:pw@127.0.0.1:7/0", listen="127.0.0.1:8")
    (tmp_path / RUNNING_FILE).write_bytes(msgspec.json.encode(running))
    assert find_redis_url(load_settings({"data_dir": tmp_path})) == "redis://:pw@127.0.0.1:7/0"


def test_the_file_of_a_killed_system_does_not_count(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / RUNNING_FILE).write_bytes(msgspec.json.encode(Running(pid=child, redis_url="redis://gone", listen="x")))
    with pytest.raises(ConfigError, match="nothing runs on"):
        find_redis_url(load_settings({"data_dir": tmp_path}))


def test_networks_may_be_named_by_their_group():
    settings = load_settings({"target_deny": "loopback, 10.0.0.1/8", "target_allow": "metadata"})
    assert settings.target_deny == ("loopback", "10.0.0.0/8")
    assert settings.target_allow == ("metadata",)
    with pytest.raises(ConfigError, match=r"'lo' is no network; write an address, a network such as 10\.0\.0\.0/8, or one of metadata, "):
        load_settings({"target_deny": "lo"})
