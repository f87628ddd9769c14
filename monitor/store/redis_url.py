"""The URL of a Redis: what may stand in it, refused by name before anything connects.

Store, client and broker read one URL with three libraries. What is accepted here means the same to all three; what redis-py would
pass on to its connections unseen ends there as a TypeError, or changes what every reply looks like.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.secret import SECRET, hide_password

URL_LENGTH_MAX = 16_384
"""Room for a certificate in `ssl_ca_data`."""
SHOWN_LENGTH_MAX = 200
"""Of a URL that was refused."""
SECONDS_MAX = 86_400
CONNECTIONS_MIN = 10
"""Fewer than a worker's broker may need at once."""
DATABASE_MAX = 2**31 - 1
_FORM = "write redis://[:PASSWORD@]HOST:PORT/DB (or rediss://, unix:///PATH), and in a password %2F for / and %40 for @"
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})
_FILES = ("ca_certs", "certfile", "keyfile")
_LOADED = {*_FILES, "ca_path", "ca_data", "ciphers"}
_LOGIN_SHOWN = re.compile(rf"[a-z]+://[^:/?#@\s]*:{SECRET}@")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _text(value: str) -> str:
    return value


def _word(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("it must be one word of plain letters, digits and signs")
    return value


def _database(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) <= DATABASE_MAX):
        raise ValueError(f"{_FORM}; the database must be a whole number")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"it must be a number of seconds above 0, {SECONDS_MAX} at most")
    return seconds


def _whole_seconds(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and int(value) <= SECONDS_MAX):
        raise ValueError(f"it must be a whole number of seconds, {SECONDS_MAX} at most")
    return int(value)


def _yes_or_no(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ValueError("it must be yes or no")
    return value.lower() in _TRUE


def _never(value: str) -> bool:
    if _yes_or_no(value):
        raise ValueError("it must be no: what may be sent twice is sent again without it")
    return False


def _connections(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and int(value) >= CONNECTIONS_MIN):
        raise ValueError(f"it must be a whole number, {CONNECTIONS_MIN} at least")
    return int(value)


def _protocol(value: str) -> int:
    if value != "2":
        raise ValueError("it must be 2, which all parts speak")
    return 2


def _certificates(value: str) -> str:
    if value not in ("none", "optional", "required"):
        raise ValueError("it must be none, optional or required")
    return value


def _tls_version(value: str) -> int:
    if value not in ("771", "772"):
        raise ValueError("it must be 771 (TLS 1.2) or 772 (TLS 1.3)")
    return int(value)


def _verify_flags(value: str) -> object:
    import ssl  # noqa: PLC0415 - for those who give one

    flags = [flag.strip() for flag in value.replace("[", "").replace("]", "").split(",")]
    if wrong := [flag for flag in flags if flag not in ssl.VerifyFlags.__members__]:
        raise ValueError(did_you_mean(wrong[0][:64], ssl.VerifyFlags.__members__, "it must be names of ssl.VerifyFlags, apart by commas"))
    return [ssl.VerifyFlags[flag] for flag in flags]


Parser = Callable[[str], object]
_LOGIN: dict[str, Parser] = {"db": _database, "username": _text, "password": _text}
_EVERYWHERE: dict[str, Parser] = {
    **_LOGIN,
    "client_name": _word,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "health_check_interval": _whole_seconds,
    "max_connections": _connections,
    "retry_on_timeout": _never,
    "protocol": _protocol,
}
_TCP: dict[str, Parser] = {**_EVERYWHERE, "socket_keepalive": _yes_or_no}
_TLS: dict[str, Parser] = {
    **_TCP,
    "ssl_cert_reqs": _certificates,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_check_hostname": _yes_or_no,
    "ssl_min_version": _tls_version,
    "ssl_ciphers": _text,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_exclude_verify_flags": _verify_flags,
}
OPTIONS: Mapping[str, Mapping[str, Parser]] = MappingProxyType({"redis": _TCP, "rediss": _TLS, "unix": _EVERYWHERE})
"""Scheme -> what its URL may carry after a question mark, and how a value is read."""


class RedisUrl:
    """A URL that every part can use. `options` are typed, without those that name user, password and database."""

    def __init__(self, text: str) -> None:
        """Read it. Raises ValueError in words that quote no value: one may be a password."""
        self.text = text
        parts = _split(text)
        self.scheme = parts.scheme
        self.options = _options(parts)
        given = {name: str(self.options.pop(name, "")) for name in _LOGIN}
        self.path = unquote(parts.path) if parts.scheme == "unix" else ""
        self.host = "" if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
        self.username = unquote(parts.username or "") or given["username"]
        self.password = unquote(parts.password or "") or given["password"]
        in_path = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
        self.database = _database(given["db"] or in_path or "0")

    @property
    def tls(self) -> dict[str, object]:
        """The options that begin with `ssl_`; a certificate that does not hold is refused unless they say otherwise."""
        found = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        return {"ssl_cert_reqs": "required", **found} if self.scheme == "rediss" else {}

    @property
    def for_others(self) -> str:
        """The same server as `redis-cli -u` takes it: it reads the login before the host alone, and needs a user beside a password."""
        user = self.username or ("default" if self.password else "")
        login = f"{quote(user, safe='')}:{quote(self.password, safe='')}@" if user else ""
        options = {name: value for name, value in parse_qsl(urlsplit(self.text).query) if name not in _LOGIN}
        if self.scheme == "unix" and self.database:
            options["db"] = str(self.database)
        place = quote(self.path) if self.scheme == "unix" else f"{self.host}/{self.database}"
        return f"{self.scheme}://{login}{place}" + (f"?{urlencode(options)}" if options else "")


def read_redis_url(text: str) -> RedisUrl:
    """The URL for who connects, the files that it names looked at too. Raises ConfigError naming what no part could use."""
    try:
        found = RedisUrl(text)
        _load_certificates(found.options)
    except ValueError as error:
        raise ConfigError([Problem("", "redis_url", shown(text), str(error), "")]) from None
    return found


def shown(text: str) -> str:
    """A URL that was refused, for people: what stands before the host may be anything, where it is not a login as it should be."""
    seen = hide_password(text)
    login, at, rest = seen.rpartition("@")
    return (seen if not at or _LOGIN_SHOWN.fullmatch(login + at) else f"{SECRET}@{rest}")[:SHOWN_LENGTH_MAX]


def _split(text: str) -> SplitResult:
    """The parts of a URL that names a server. urllib's own words are left out: they may quote a password."""
    if len(text) > URL_LENGTH_MAX:
        raise ValueError(f"the URL is longer than {URL_LENGTH_MAX} characters")
    try:
        parts = urlsplit(text)
        unix = parts.scheme == "unix"
        place = parts.path if unix else parts.hostname and parts.port != 0
        known = text.startswith(tuple(f"{scheme}://" for scheme in OPTIONS))
        usable = known and place and text.isprintable() and " " not in text and not parts.fragment and "#" not in text
        if usable and unix:
            usable = not parts.netloc.rpartition("@")[2] and "\0" not in unquote(parts.path)
        elif usable and parts.hostname:
            unquote(parts.hostname).encode("idna")
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(_FORM)
    return parts


def _options(parts: SplitResult) -> dict[str, object]:
    known = OPTIONS[parts.scheme]
    found: dict[str, object] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not _NAME.fullmatch(name):
            raise ValueError(_FORM)
        if name not in known:
            raise ValueError(_unknown(parts.scheme, name))
        if name in found:
            raise ValueError(f"the parameter {name} is given twice; keep one of them")
        if not value:
            raise ValueError(f"the parameter {name} has no value; leave it out, or give it one")
        try:
            found[name] = known[name](value)
        except ValueError as error:
            raise ValueError(str(error) if name == "db" else f"the parameter {name} cannot be used: {error}") from None
    return found


def _unknown(scheme: str, name: str) -> str:
    if name in _TLS:
        hint = "leave it out, or write rediss:// for TLS" if name.startswith("ssl_") else "leave it out"
        return f"a {scheme}:// URL takes no parameter {name!r}; {hint}"
    hint = did_you_mean(name, OPTIONS[scheme], f"leave it out, or write one of {', '.join(OPTIONS[scheme])}")
    return f"a {scheme}:// URL takes no parameter {name!r}; {hint}"


def _load_certificates(options: Mapping[str, object]) -> None:
    """Build what every connection would build, so that a file that cannot be used is told here."""
    given = {name.removeprefix("ssl_"): value for name, value in options.items() if name.startswith("ssl_")}
    if not given:
        return
    from redis.asyncio.connection import RedisSSLContext  # noqa: PLC0415 - for those who use TLS

    if missing := [name for name in _FILES if name in given and not Path(str(given[name])).is_file()]:
        raise ValueError(f"what ssl_{missing[0]} names is not there, or is no file")
    if "ca_path" in given and not Path(str(given["ca_path"])).is_dir():
        raise ValueError("what ssl_ca_path names is not there, or is no folder")
    if "keyfile" in given and "certfile" not in given:
        raise ValueError("the parameter ssl_keyfile needs ssl_certfile beside it")
    # Without a password OpenSSL would ask for one on the terminal, in each part.
    named = {"cert_reqs": "required", "check_hostname": True, **given, "password": given.get("password", "")}
    try:
        RedisSSLContext(**named).get()  # type: ignore[arg-type]
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
        blamed = ", ".join(f"ssl_{name}" for name in given if name in _LOADED)
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"what {blamed} says cannot be used: {why}") from None
