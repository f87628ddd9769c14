"""The recipients that one address names: each is told apart, so that one that is refused repeats nothing to the others.

A plugin holds its recipients in lists, and says by its length how many it tells one after the other. A copy of it with one recipient
tells that one alone. Where the lists do not add up to the length (several are told by one request, or none of them is a recipient), the
service is left whole.
"""

from __future__ import annotations

import copy
from typing import Any

RECIPIENTS_MAX = 100
"""An address that names more is left whole."""

_LISTS = (
    "targets",
    "topics",
    "channels",
    "rooms",
    "users",
    "groups",
    "devices",
    "phone",
    "events",
    "subreddits",
    "dm_users",
    "target_phones",
    "target_groups",
)
"""What plugins call their lists of recipients."""
_COPIES = ("cc", "bcc")


def recipients_of(service: Any) -> list[Any]:
    """The service once for each of its recipients; itself where it has one, or they cannot be told apart."""
    lists = _lists(service)
    found = [_with(service, lists, {name: [one]}) for name, value in lists.items() for one in value]
    if len(found) != len(service) // (service.retry + 1) or any(len(one) != service.retry + 1 for one in found):
        return [service]
    if service.schema in {"mailto", "mailtos"}:
        found = _with_copies(service, found)
    return found if 1 < len(found) <= RECIPIENTS_MAX else [service]


def shown_recipient(service: Any) -> str:
    """Whom a service with one recipient tells, as far as its privacy form shows it."""
    one = next((value[0] for value in _lists(service).values()), "")
    text = str(next((part for part in reversed(one) if part), "")) if isinstance(one, tuple) else str(one)
    return text if text and text in service.unquote(service.url(privacy=True)) else ""


def _lists(service: Any) -> dict[str, list[Any]]:
    return {name: value for name in _LISTS if isinstance(value := getattr(service, name, None), list) and value}


def _with_copies(service: Any, found: list[Any]) -> list[Any]:
    """A mail's server answers for each recipient: those of copies are recipients like others, with a mail of their own."""
    told = {one.targets[0][1]: _with(one, {}, {name: set() for name in _COPIES}) for one in found}
    for address in sorted(address for name in _COPIES for address in getattr(service, name)):
        if address not in told:
            own = {"targets": [(service.names.get(address, False), address)], **{name: set() for name in _COPIES}}
            told[address] = _with(service, {}, own)
    return list(told.values())


def _with(service: Any, emptied: dict[str, Any], own: dict[str, Any]) -> Any:
    one = copy.copy(service)
    vars(one).update({name: [] for name in emptied}, **own)
    return one
