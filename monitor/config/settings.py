"""Settings of one installation: options, then variables, then `.env`, then the configuration file, then defaults.

`load_settings` is the one way in; `Settings(...)` alone reads nothing but its arguments, which is what tests want.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from annotated_types import Ge, Le, MaxLen
from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    SettingsConfigDict,
)

from monitor.config.located import load_yaml
from monitor.config.setting_types import Address, Folder, Name, Networks, OnePath, Paths, Resolvers, Url, listed
from monitor.config.text_files import text_of
from monitor.core.endpoint import SLOTS_MAX
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem, did_you_mean
from monitor.core.said import clean
from monitor.core.secret import hide_password
from monitor.core.texts import SEEN_LENGTH_MAX, cut
from monitor.files import read_file
from monitor.store.redis_url import shown

PREFIX = "WATCHKEEPER_"
CONFIG_BYTES_MAX = 1_000_000
RUNNING_BYTES_MAX = 100_000
PID_MAX = 2**31 - 1
_PATHS = frozenset({"data_dir", "alerting", "alive_file"})
RUNNING_FILE = "running.json"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""How every process of ours logs."""


def default_data_dir() -> Path:
    """The user's own folder for state: XDG's on Linux, Application Support on macOS."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "watchkeeper"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "watchkeeper"


def available_cores() -> int:
    """The cores that this process may use, at most 4: more than that is a decision for a person."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 4)


class Settings(BaseSettings):
    """Every value is checked and has a description, which `watchkeeper settings` and the docs show."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=False)

    redis_url: Url = Field(None, description="Redis or Valkey to use; without it `up` runs an embedded server. REDIS_URL is read too.")
    data_dir: Folder = Field(default_factory=default_data_dir, description="Folder of the embedded server's data, the logs and the lock.")
    listen: Address = Field("127.0.0.1:8780", description="HOST:PORT of the web listener (health, metrics); port 0 takes a free one.")
    rules: Paths = Field((), description="Files or folders of alert rules, beside the shipped packs.")
    alerting: OnePath = Field(None, description="Routing file (routes and receivers); without it alerts are printed.")
    workers: int = Field(default_factory=available_cores, ge=1, le=64, description="Probe worker processes that `up` runs; one per core.")
    slots: int | None = Field(
        None,
        ge=1,
        le=SLOTS_MAX,
        description="Parts of the data set, fixed when `init` or `up` makes it (1 unless set); without it the data set's own number holds.",
    )
    location: Name = Field("", max_length=64, description="Name of the place that this process probes from.")
    log_level: LogLevel = Field("INFO", description="Least severe level that is logged.")
    target_allow: Networks = Field((), description="Networks that may be reached although a rule or `target_deny` forbids them.")
    target_deny: Networks = Field((), description="Networks that no probe and no message may reach, at any redirect.")
    nameservers: Resolvers = Field((), description="Resolvers to ask, ADDRESS or ADDRESS:PORT; without any the machine's own.")
    dns_stale_ms: int = Field(
        300_000,
        ge=0,
        le=86_400_000,
        description="How long after its expiry the last answer for a name serves while resolvers give no other.",
    )
    claim_tick_ms: int = Field(150, ge=10, le=1_000, description="How often beat looks for what is due.")
    claim_limit: int = Field(1_000, ge=1, le=2_000, description="Endpoints claimed per tick and slot; paces the catch-up after an outage.")
    batch_size: int = Field(250, ge=1, le=1_000, description="Endpoints in one Celery message.")
    alive_file: OnePath = Field(None, description="File touched with each heartbeat, for the health checks of containers.")
    heartbeat_ms: int = Field(2_000, ge=200, le=30_000, description="How often each process writes its heartbeat.")

    store_wait_ms: int = Field(
        60_000, ge=0, le=3_600_000, description="How long a part waits at its start for a Redis that does not answer, before it ends."
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(cls, settings_cls: object, init_settings: Any, *_: Any, **__: Any) -> tuple[Any, ...]:
        """Take what `load_settings` has merged, and nothing from sources of pydantic's own."""
        del settings_cls
        return (init_settings,)

    def source(self, name: str) -> str:
        """Where the value came from: "option", a variable, ".env", a file's place, or "default"."""
        return self._sources.get(name, "default")


class SettingRow(msgspec.Struct, frozen=True):
    """A setting for people: its value without passwords, where that came from, and what it is for."""

    name: str
    value: str
    source: str
    description: str


def load_settings(
    options: Mapping[str, object] | None = None, *, config: Path | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """Read every source and return the settings.

    `options` are those that the person gave on the command line; None values count as not given. Paths in the
    configuration file are relative to that file. Raises ConfigError naming the source of each value that does not fit.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for layer, source in (_file_layer(_config_path(config, env_file)), _dotenv_layer(env_file), _variables_layer(), _option_layer(options)):
        values.update(layer)
        sources.update({name: source(name) for name in layer})
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError([_problem(dict(fault), sources) for fault in error.errors()]) from None
    settings._sources = sources
    return settings


def as_environment(settings: Settings) -> dict[str, str]:
    """Variables from which another process reads exactly these settings, wherever they came from."""
    variables = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            variables[PREFIX + name.upper()] = msgspec.json.encode([*map(str, value)]).decode() if isinstance(value, tuple) else str(value)
    return variables


def settings_table(settings: Settings) -> list[SettingRow]:
    """Each value, where it came from and what it is for; secrets hidden."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
        rows.append(SettingRow(name, hide_password(text) if name == "redis_url" else text, settings.source(name), field.description or ""))
    return rows


class Running(msgspec.Struct, frozen=True):
    """What `up` writes into its data folder, for the commands that want to find it."""

    pid: int
    redis_url: str
    listen: str


def read_running(data_dir: Path) -> Running | None:
    """The `up` at work on this data folder, or None. The file of one that was killed does not count."""
    try:
        running = msgspec.json.decode(read_file(data_dir / RUNNING_FILE, RUNNING_BYTES_MAX), type=Running)
        if not 0 < running.pid <= PID_MAX:
            return None
        os.kill(running.pid, 0)
    except PermissionError:
        return running
    except (OSError, *DECODE_ERRORS):
        return None
    return running


def find_redis_url(settings: Settings) -> str:
    """The URL given in the settings, else that of the `up` running on the data folder; ConfigError when there is neither."""
    if settings.redis_url:
        return settings.redis_url
    running = read_running(settings.data_dir)
    if running is None:
        why = f"no Redis URL is set and nothing runs on {settings.data_dir}"
        raise ConfigError([Problem("", "redis_url", "", why, "start `watchkeeper up`, or give --redis-url or --data-dir")])
    return running.redis_url


Layer = tuple[dict[str, object], Callable[[str], str]]


def _option_layer(options: Mapping[str, object] | None) -> Layer:
    given = {name: value for name, value in (options or {}).items() if value is not None and value != ()}
    return given, lambda name: "option --" + name.replace("_", "-")


def _variables_layer() -> Layer:
    found: dict[str, object] = dict(EnvSettingsSource(Settings)())
    if "redis_url" not in found and os.environ.get("REDIS_URL"):
        return {**found, "redis_url": os.environ["REDIS_URL"]}, lambda name: "REDIS_URL" if name == "redis_url" else PREFIX + name.upper()
    return found, lambda name: PREFIX + name.upper()


def _dotenv(env_file: Path | None) -> DotEnvSettingsSource | None:
    """The variables in the file; None where there is no such file. A folder of that name is somebody else's."""
    if env_file is None or env_file.is_dir() or not os.path.lexists(env_file):
        return None
    _text_of(env_file, "the file")  # pydantic reads whatever it is, however long that takes.
    return DotEnvSettingsSource(Settings, env_file=env_file)


def _dotenv_layer(env_file: Path | None) -> Layer:
    source = _dotenv(env_file)
    if source is None:
        return {}, lambda _: ".env"
    found = {name: value for name, value in source().items() if name in Settings.model_fields}
    plain = source.env_vars.get("redis_url")
    if plain and "redis_url" not in found:
        found["redis_url"] = plain
    return found, lambda _: str(env_file)


def _config_path(config: Path | None, env_file: Path | None) -> Path | None:
    if config is not None:
        return config
    named = os.environ.get(PREFIX + "CONFIG")
    if not named and (source := _dotenv(env_file)) is not None:
        named = source.env_vars.get(f"{PREFIX}CONFIG".lower())
    return Path(named) if named else None


def _file_layer(path: Path | None) -> Layer:
    if path is None:
        return {}, lambda _: "default"
    root = load_yaml(_text_of(path, "the configuration file"), str(path))
    if root.value is None:
        return {}, lambda _: "default"
    if not isinstance(root.value, dict):
        raise ConfigError([Problem(f"{path}:1", "", "", "the file must hold `setting: value` lines", "")])
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for key, node in root.value.items():
        try:
            if key not in Settings.model_fields:
                hint = did_you_mean(key[:100], Settings.model_fields, "`watchkeeper settings` lists the settings")
                problems.append(Problem(root.key_where(key), clean(key), "", "there is no such setting", hint))
            values[key] = _relative_to(path.parent, key, node.plain())
        except (ValueError, RuntimeError) as error:  # The latter for a home of nobody.
            problems.append(Problem(root.key_where(key), key, node.seen, str(error), ""))
    if problems:
        raise ConfigError(problems)
    return values, root.key_where


def _text_of(path: Path, what: str) -> str:
    """The file's text. ConfigError where it is none, never ends, or is larger than a person would write."""
    try:
        return text_of(str(path), read_file(path, CONFIG_BYTES_MAX), CONFIG_BYTES_MAX)
    except OSError as error:
        why = f"{error.strerror}" if error.errno == errno.EFBIG else f"{what} cannot be read: {error.strerror}"
        raise ConfigError([Problem(str(path), "", "", why, "")]) from None


def _relative_to(folder: Path, key: str, value: object) -> object:
    if key in _PATHS and isinstance(value, str) and value:
        return folder / Path(value).expanduser()
    if key == "rules" and isinstance(many := listed(value), list | tuple):
        if not all(isinstance(part, str) for part in many):
            raise ValueError("write the name of a file or folder, or a list of such names")
        return tuple(folder / Path(part).expanduser() for part in many)
    return value


def _problem(fault: Mapping[str, Any], sources: Mapping[str, str]) -> Problem:
    name = str(fault["loc"][0]) if fault["loc"] else ""
    seen = str(fault.get("input", "")) if name in Settings.model_fields else ""
    seen = clean(shown(seen) if name == "redis_url" else hide_password(seen))
    seen = cut(seen, SEEN_LENGTH_MAX)
    why = str(fault["msg"]).removeprefix("Value error, ")
    return Problem(sources.get(name, ""), name, seen, why, _hint(name))


def _hint(name: str) -> str:
    """What to write where pydantic says only what is wrong; readers of our own say it themselves."""
    if name == "log_level":
        return f"choose one of {', '.join(get_args(LogLevel))}"
    limits = {type(limit): limit for limit in Settings.model_fields[name].metadata} if name in Settings.model_fields else {}
    if Ge in limits and Le in limits:
        return f"write a whole number from {limits[Ge].ge} to {limits[Le].le}"
    return f"write a text of at most {limits[MaxLen].max_length} characters" if MaxLen in limits else ""
