"""apprise, imported when first needed: it takes a quarter of a second."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from workers.receivers.heard import listen

_importing = threading.Lock()


def apprise() -> Any:
    """apprise, with our ears on it."""
    with _importing:
        return _apprise_once()


@cache
def _apprise_once() -> Any:
    import apprise  # noqa: PLC0415

    listen()
    return apprise
