"""Addresses of receivers: where they are read, which services they hold, and how those are named and shown."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from monitor.core.secret import SECRET, is_reference
from monitor.files import read_file
from workers.receivers import plugins
from workers.receivers.recipients import recipients_of

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
REFERENCE_BYTES_MAX = 65_536
SERVICE_KEY = b"watchkeeper.service"
"""Keys the digest that names a service: the name tells nothing of the address, and is the same in every process."""

_readers = ThreadPoolExecutor(1, thread_name_prefix="addresses")
"""Apart, so that services that hang delay no group."""


async def services(integration: Integration) -> tuple[Integration, ...]:
    """The integration once for each service behind its address, in its order, and for each recipient of a service.

    Once, with an empty name, where they cannot be known, because the address cannot be read: sending then says why.
    """
    if integration.url == "console:":
        return (integration,)
    names = await asyncio.get_running_loop().run_in_executor(_readers, _names, integration)
    return tuple(integration.of_service(name, alone=len(names) == 1, whole=whole) for name, whole in names.items())


def shown_url(integration: Integration) -> str:
    """The integration's address as it may be shown: a reference as it is, a URL in its service's privacy form without its options."""
    if integration.url_file:
        return f"file:{integration.url_file}"
    if integration.url == "console:" or is_reference(integration.url):
        return integration.url
    try:
        return ", ".join(service.url(privacy=True).partition("?")[0] for service in _services(integration.url, integration.tag))
    except DeliveryError as error:
        return f"{integration.url.partition('://')[0]}://{SECRET} ({error})"


def service_of(integration: Integration, text: str) -> Any:
    """The service, or the one recipient of it, that the integration names, of those that its address holds now."""
    held, name = _held_in(text, integration.tag), integration.service
    if name not in held.services and integration.alone and len(held.wholes) == 1:
        (name,) = held.wholes
    found = held.services.get(name)
    if found is None and name:
        raise DeliveryError(f"the address holds the service {name} no more", permanent=True)
    if found is None:
        raise DeliveryError(f"the address holds {len(held.wholes)} services now; the next notification tells each of them", permanent=True)
    if hasattr(type(found), "__del__"):  # It holds a connection, which a copy would share.
        return _parsed(text, integration.tag).services[name]
    return _own(found)


def _names(integration: Integration) -> Mapping[str, str]:
    """The name of each service, or of each of its recipients and then the service's too."""
    try:
        return _held_in(read(integration), integration.tag).wholes
    except DeliveryError:
        return {"": ""}


@dataclass(frozen=True, slots=True)
class _Held:
    """What an address holds: services and recipients by name, and of each that is told its service, where it is one of its recipients."""

    services: Mapping[str, Any]
    wholes: Mapping[str, str]


@lru_cache(maxsize=256)
def _held_in(text: str, tag: str) -> _Held:
    return _parsed(text, tag)


def _parsed(text: str, tag: str) -> _Held:
    services: dict[str, Any] = {}
    wholes: dict[str, str] = {}
    for service in _services(text, tag):
        whole = _name(service)
        services.setdefault(whole, service)
        for one in recipients_of(service):
            name = whole if one is service else _name(one)
            services.setdefault(name, one)
            wholes.setdefault(name, "" if one is service else whole)
    return _Held(services, wholes)


def _own(service: Any) -> Any:
    """A copy that shares nothing that a plugin changes: many threads send at once."""
    own = copy.copy(service)
    vars(own).update({name: copy.copy(value) for name, value in vars(service).items() if isinstance(value, list | dict | set)})
    return own


def _name(service: Any) -> str:
    """Eight hexadecimal digits from the whole address. (apprise's own `url_id` leaves recipients and options out.)"""
    ordered = copy.copy(service)  # A set has another order in each process.
    vars(ordered).update({name: sorted(value) for name, value in vars(service).items() if isinstance(value, set)})
    return hashlib.blake2b(ordered.url(privacy=False).encode(), digest_size=4, key=SERVICE_KEY).hexdigest()


def read(integration: Integration) -> str:
    """The URL, or the apprise configuration, that the integration's reference stands for at this moment."""
    reference = f"file:{integration.url_file}" if integration.url_file else integration.url
    if reference.startswith("env:"):
        value = os.environ.get(reference[4:], "")
        if not value:
            raise DeliveryError(f"the variable {reference[4:]} is not set", permanent=True)
        return value.strip()
    if not reference.startswith("file:"):
        return reference
    try:
        return read_file(Path(reference[5:]), REFERENCE_BYTES_MAX).decode().strip()
    except (OSError, ValueError) as error:  # The latter for bytes that are no text, and for a name with NUL.
        why = error.strerror if isinstance(error, OSError) else error
        raise DeliveryError(f"{reference[5:]} cannot be read: {why}", permanent=True) from None


def _services(text: str, tag: str) -> list[Any]:
    """The services behind a URL, or behind a file of URLs in apprise's own format, filtered by a tag."""
    apprise = plugins.apprise()
    asset = apprise.AppriseAsset(app_id="Watchkeeper", app_desc="Watchkeeper", app_url="", async_mode=False, secure_logging=True)
    one = apprise.Apprise.instantiate(text, asset=asset, suppress_exceptions=True) if "\n" not in text else None
    if one is None:
        config = apprise.AppriseConfig(asset=asset)
        config.add_config(text, asset=asset)
        many = apprise.Apprise(asset=asset)
        many.add(config)
        services = list(many.find(tag or apprise.common.MATCH_ALL_TAG))
    else:
        services = [one]
    if not services:
        raise DeliveryError("apprise does not understand the URL; see https://appriseit.com/services/", permanent=True)
    for service in services:
        service.socket_connect_timeout = CONNECT_TIMEOUT_S
        service.socket_read_timeout = READ_TIMEOUT_S
        if "overflow=" not in text:
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
    return services
