"""apprise, imported when first needed: it and its plugins take half a second."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from workers.receivers import wire
from workers.receivers.heard import listen

_importing = threading.Lock()


def apprise() -> Any:
    """apprise with all its plugins, a listener on its log and guards on what it sends. Any thread may ask; the first one loads it."""
    with _importing:
        return _apprise_once()


@cache
def _apprise_once() -> Any:
    import apprise  # noqa: PLC0415

    from workers.receivers import answers  # noqa: PLC0415 - it imports requests

    listen()
    wire.guard()
    answers.guard()
    apprise.Apprise.instantiate("json://localhost")  # It loads its plugins with the first URL, and is not made to do so in two threads.
    return apprise
