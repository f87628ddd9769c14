"""What a URL's scheme says of an endpoint: its kind of prober, the options it takes, and the id it has when nobody gives one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from monitor.core.endpoint import DEFAULT_PORTS, ID_LENGTH_MAX, URL_LENGTH_MAX
from monitor.core.secret import SECRET, is_reference, is_sensitive
from monitor.probes.base import Option, Prober
from monitor.probes.catalog import PROBERS
from monitor.probes.host import canonical
from monitor.probes.resolver import literal

Deny = Callable[[str], str | None]
"""Takes a literal address; returns why it must not be probed, or None."""


SECRET_OPTIONS = frozenset({"headers", "body", "send"})
"""Options whose values may carry secrets: hidden in listings and refusals."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of probe as manifests know it: its name, who probes, and the options that it takes."""

    name: str
    prober: Prober
    options: Mapping[str, Option]


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its name, which is the scheme of its URLs."""
    return {name: Kind(name, prober, {option.name: option for option in prober.options}) for name, prober in PROBERS.items()}


@cache
def option_kinds(option: str) -> tuple[Kind, ...]:
    """The kinds that know an option of this name."""
    return tuple(kind for kind in kinds().values() if option in kind.options)


def check_secrets(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a header that usually carries a secret and does not refer to one.

    Options are stored, exported and read by every worker; a reference is resolved only where it is used.
    """
    for header, value in options.get("headers", {}).items():
        if value == SECRET:
            raise ValueError(
                f"headers: {header} has the text that listings show in a secret's place; write {header}: env:NAME or file:PATH"
            )
        if is_sensitive(header) and not is_reference(value):
            raise ValueError(f"headers: {header} carries a secret that would be stored and exported; write {header}: env:NAME or file:PATH")


def parse_url(value: object, deny: Deny | None = None) -> tuple[str, Kind, str]:
    """Return the URL, its kind, and the id of an endpoint that is given none.

    Raises ValueError ("why; what to write instead") for a scheme that no prober serves, a missing host or one that is neither a name
    nor an address, a port that is none, white space and control characters, a user name or password (the URL is published to everyone
    who balances load), and an address that `deny` refuses. What else a kind wants of its URLs its prober says.
    """
    if not isinstance(value, str):
        raise ValueError("the url is no text; write for example http://10.0.0.7:8080/health")  # noqa: TRY004 - one kind of refusal
    if len(value) > URL_LENGTH_MAX:
        raise ValueError(f"the url is longer than {URL_LENGTH_MAX} characters; shorten it")
    if not value.isprintable() or " " in value:
        raise ValueError("the url has white space or control characters; escape them as %20 and so on")
    scheme, colon, _ = value.partition("://")
    kind = kinds().get(scheme.lower())
    if not colon or kind is None:
        known = ", ".join(f"{name}://" for name in kinds())
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
    if "[" in parts.netloc and ":" not in (host or ""):
        raise ValueError("the brackets hold no IPv6 address; write for example http://[2001:db8::7]:8080/health")
    _check_host(host, port, deny)
    return value, kind, _id_of(parts, host or "", port)


def _check_host(host: str | None, port: int | None, deny: Deny | None) -> None:
    if not host:
        raise ValueError("the url has no host; write one after the ://")
    if port == 0:
        raise ValueError("no service listens on port 0; write the service's port")
    addresses = literal(canonical(host))
    refusals = [deny(address) for address in addresses] if deny is not None else []
    if refusals and all(refusals):
        raise ValueError(f"{refusals[0]}; name it in the setting target_allow if it must be probed")


def _id_of(parts: SplitResult, host: str, port: int | None) -> str:
    """Host, port where it is not the scheme's usual one, and path: `10.0.0.7:8080/health`."""
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != DEFAULT_PORTS.get(parts.scheme):
        place += f":{port}"
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return (place + path)[:ID_LENGTH_MAX]
