"""The few facts of a served certificate that people ask for, read from its DER.

The standard library tells them only of a verified certificate; a probe with verification off must know them too.
Structure: RFC 5280, section 4.1.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from monitor.core.outcome import Certificate
from monitor.core.said import clean

CACHE_MAX = 4_096
NAMES_MAX = 100

_SEQUENCE, _UTC_TIME, _VERSION, _EXTENSIONS = 0x30, 0x17, 0xA0, 0xA3
_COMMON_NAME = bytes.fromhex("550403")
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87

_cache: dict[bytes, Certificate | None] = {}


def served_certificate(connection: ssl.SSLObject) -> Certificate | None:
    """Return the peer's certificate with the earliest expiry of the chain that was served.

    None when the peer sent none, or one that cannot be read.
    """
    ders = _served(connection)
    if not ders:
        return None
    key = hashlib.sha256(b"".join(ders)).digest()
    try:
        return _cache[key]
    except KeyError:
        if len(_cache) >= CACHE_MAX:
            del _cache[next(iter(_cache))]
        certificate = _cache[key] = read_chain(ders)
        return certificate


def _served(connection: ssl.SSLObject) -> list[bytes]:
    # Public since 3.13, where it returns DER; before, the C object under it has the same method.
    inner = connection if hasattr(connection, "get_unverified_chain") else getattr(connection, "_sslobj", None)
    chain = inner.get_unverified_chain() if inner is not None and hasattr(inner, "get_unverified_chain") else None
    if chain:
        return [item if isinstance(item, bytes) else item.public_bytes(2) for item in chain]  # 2 is ssl's ENCODING_DER
    der = connection.getpeercert(binary_form=True)
    return [der] if der else []


def read_chain(ders: Sequence[bytes]) -> Certificate | None:
    """Return the first certificate's facts with the earliest expiry of all; None when one of them is no certificate."""
    try:
        subject, issuer, not_after_ms, names = _read(ders[0])
        expiries = [not_after_ms, *(_read(der)[2] for der in ders[1:])]
    except (ValueError, IndexError):
        return None
    return Certificate(subject=clean(subject), issuer=clean(issuer), not_after_ms=min(expiries), names=tuple(map(clean, names)))


def _read(der: bytes) -> tuple[str, str, int, tuple[str, ...]]:
    (_, certificate), *_ = _items(der)
    (_, body), *_ = _items(certificate)
    fields = list(_items(body))
    if fields[0][0] == _VERSION:
        del fields[0]
    _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *rest = fields
    _not_before, (tag, not_after) = _items(validity)
    extensions = next((content for tag_, content in rest if tag_ == _EXTENSIONS), b"")
    return _common_name(subject), _common_name(issuer), _time_ms(tag, not_after), tuple(_names(extensions))[:NAMES_MAX]


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content) of each DER element in `data`. Raises ValueError where one is cut short."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            width = length & 0x7F
            length, at = int.from_bytes(data[at : at + width]), at + width
        if at + length > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + length]
        at += length


def _common_name(name: bytes) -> str:
    """Return the common name, or the last attribute of a name that has none."""
    value = b""
    for _, attributes in _items(name):
        for _, attribute in _items(attributes):
            (_, kind), (_, value) = _items(attribute)
            if kind == _COMMON_NAME:
                return value.decode("utf-8", "replace")
    return value.decode("utf-8", "replace")


def _time_ms(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of a year: 50 to 99 are 19xx (RFC 5280, 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1000


def _names(extensions: bytes) -> Iterator[str]:
    for _, listed in _items(extensions):
        for _, extension in _items(listed):
            parts = list(_items(extension))
            if parts[0][1] != _ALTERNATIVE_NAMES:
                continue
            for _, names in _items(parts[-1][1]):
                for tag, value in _items(names):
                    if tag == _DNS_NAME:
                        yield value.decode("ascii", "replace")
                    elif tag == _IP_ADDRESS:
                        yield str(ipaddress.ip_address(value))
