"""Hosts of URLs: one form of each, however it is written."""

from __future__ import annotations

import ipaddress
import re
import socket

import httpx

HOST_LENGTH_MAX = 253
LABEL_LENGTH_MAX = 63

_LABEL = re.compile(r"[a-z0-9_-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def canonical(host: str) -> str:
    """Return the host as it is resolved and judged: ASCII in lower case, an IPv6 address in its shortest form and without brackets.

    A label that is ASCII is taken as it is, and so is what it stands for (`xn--53h`), as browsers do; any other must be a name by IDNA
    2008. Raises ValueError ("why; what to write instead") for what is neither a name nor an address, and for an address in a form
    that programs read differently, some as a name: `127.1`, `0x7f000001`, `2130706433`, `127.0.0.1.`.
    """
    if "%" in host and ":" in host:
        raise ValueError("a zone names an interface of one machine, and every worker may probe; write the address without %…")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("the host is no IPv6 address; write for example [2001:db8::7]") from None
    name = _ascii(host)
    labels = name.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is neither a name nor an address; write letters, digits and hyphens between its dots")
    if _NUMBER.fullmatch(labels[-1]):
        return _dotted(name)
    if len(".".join(labels)) > HOST_LENGTH_MAX or any(len(label) > LABEL_LENGTH_MAX for label in labels):
        raise ValueError(f"no name is that long; write at most {LABEL_LENGTH_MAX} characters between dots, and {HOST_LENGTH_MAX} in all")
    return name


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return httpx.URL(scheme="http", host=host).raw_host.decode("ascii")
    except httpx.InvalidURL:
        raise ValueError("the host is no international name (IDNA 2008); write its ASCII form, for example xn--53h.example") from None


def _dotted(name: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        pass
    try:
        hint = "write " + socket.inet_ntoa(socket.inet_aton(name.removesuffix(".")))
    except OSError:
        hint = "write four numbers from 0 to 255 with dots between them, or a name"
    raise ValueError(f"the host ends in a number, but is no address in the usual form; {hint}")
