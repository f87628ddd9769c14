"""What a URL's scheme says of an endpoint: its kind of prober, the options it takes, and the id it has when nobody gives one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from functools import cache
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from monitor.core.endpoint import ID_LENGTH_MAX, URL_LENGTH_MAX
from monitor.probes.base import Option
from monitor.probes.catalog import PROBERS

DEFAULT_PORTS = {"http": 80, "https": 443}

Deny = Callable[[str], str | None]
"""Takes a literal address; returns why it must not be probed, or None."""


class Kind(msgspec.Struct, frozen=True):
    name: str
    options: Mapping[str, Option]


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its name, in alphabetical order."""
    return {name: Kind(name, {option.name: option for option in PROBERS[name].OPTIONS}) for name in sorted(PROBERS)}


@cache
def by_scheme() -> Mapping[str, Kind]:
    return {scheme: kinds()[name] for name in sorted(PROBERS) for scheme in PROBERS[name].SCHEMES}


@cache
def option_kinds(option: str) -> tuple[Kind, ...]:
    """The kinds that know an option of this name."""
    return tuple(kind for kind in kinds().values() if option in kind.options)


def parse_url(value: object, deny: Deny | None = None) -> tuple[str, Kind, str]:
    """Return the URL, its kind, and the id of an endpoint that is given none.

    Raises ValueError ("why; what to write instead") for a scheme that no prober serves, a missing host, a port that is none or missing
    where the scheme has no usual one, control characters, a user name or password (the URL is published to everyone who
    balances load), and a literal address that `deny` refuses.
    """
    if not isinstance(value, str):
        raise ValueError("the url is no text; write for example http://10.0.0.7:8080/health")  # noqa: TRY004 - one kind of refusal
    if len(value) > URL_LENGTH_MAX:
        raise ValueError(f"the url is longer than {URL_LENGTH_MAX} characters; shorten it")
    if not value.isprintable() or " " in value:
        raise ValueError("the url has white space or control characters; escape them as %20 and so on")
    scheme, colon, _ = value.partition("://")
    kind = by_scheme().get(scheme.lower())
    if not colon or kind is None:
        known = ", ".join(f"{name}://" for name in by_scheme())
        raise ValueError(f"the url has no scheme that Watchkeeper probes; begin with one of {known}")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"this is no url: {error}; write for example http://10.0.0.7:8080/health") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a url with a user name or password would be published with it; give it as a header or option that refers to env:NAME"
        )
    _check_host(host, port, parts, deny)
    return value, kind, _id_of(parts, host or "", port)


def _check_host(host: str | None, port: int | None, parts: SplitResult, deny: Deny | None) -> None:
    if not host:
        raise ValueError("the url has no host; write one after the ://")
    if port == 0 or (port is None and parts.scheme not in DEFAULT_PORTS):
        raise ValueError(f"the url has no port; write for example {parts.scheme}://{host}:5432")
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        return
    if deny is not None and (why := deny(address)):
        raise ValueError(f"{why}; name it in the setting target_allow if it must be probed")


def _id_of(parts: SplitResult, host: str, port: int | None) -> str:
    """Host, port where it is not the scheme's usual one, and path: `10.0.0.7:8080/health`."""
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != DEFAULT_PORTS.get(parts.scheme):
        place += f":{port}"
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return (place + path)[:ID_LENGTH_MAX]
