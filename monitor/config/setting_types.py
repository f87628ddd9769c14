"""What the values of settings may be: each type with its reader, whose refusal says what to write."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from monitor.core.endpoint import PORT_MAX
from monitor.core.texts import shorten
from monitor.probes.policy import GROUPS
from monitor.store.redis_url import RedisUrl


def listed(value: object) -> object:
    """Variables hold lists as comma-separated text or as JSON; files may hold one text instead of a list."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return tuple(msgspec.json.decode(value, type=list[str]))
        except msgspec.DecodeError:
            raise ValueError("write a JSON list of texts, or texts apart by commas") from None
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= PORT_MAX


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not colon or not _is_port(port) or (":" in bare) != (host == f"[{bare}]") or not value.isprintable():
        raise ValueError("write HOST:PORT, for example 127.0.0.1:8780 or [::1]:8780")
    return value


def _redis_url(value: str | None) -> str | None:
    """Refuse here what each part would fail on."""
    return RedisUrl(value).text if value else None


def _network(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value if value in GROUPS else str(_one_network(value)) for value in values)


def _one_network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        names = ", ".join(GROUPS)
        raise ValueError(f"{shorten(value)} is no network; write an address, a network such as 10.0.0.0/8, or one of {names}") from None


def _resolvers(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        has_port = value.count(":") == 1 or value.startswith("[")
        host, _, port = value.rpartition(":") if has_port else (value, "", "53")
        if not _is_port(port):
            raise ValueError("write ADDRESS or ADDRESS:PORT, for example 127.0.0.1:53 or [::1]:53")
        ipaddress.ip_address(host.strip("[]"))
    return values


def _given(value: object) -> object:
    """A variable that is empty is none."""
    return None if value == "" else value


def _path(value: Path | None) -> Path | None:
    if value is not None and ("\0" in str(value) or not _is_utf8(str(value))):
        raise ValueError("a file's name is UTF-8 text without NUL")
    return value


def _is_utf8(text: str) -> bool:
    """Whether it is text: the system passes bytes that are none on as lone surrogates, which no variable of a part can hold in JSON."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _paths(values: tuple[Path, ...]) -> tuple[Path, ...]:
    for value in values:
        _path(value)
    return values


def _folder(value: object) -> object:
    if value == "":
        raise ValueError("write the name of a folder, or leave it out")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("write a name of letters, digits and signs on one line")
    return value


OnePath = Annotated[Path | None, BeforeValidator(_given), AfterValidator(_path)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(listed), AfterValidator(_paths)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(_network)]
Resolvers = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(_resolvers)]
Url = Annotated[str | None, AfterValidator(_redis_url)]
Address = Annotated[str, AfterValidator(_address)]
Folder = Annotated[Path, BeforeValidator(_folder), AfterValidator(_path)]
Name = Annotated[str, AfterValidator(_printable)]
