"""One message to one service: its turn, its thread, its answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from workers.receivers import address, plugins
from workers.receivers.blank import blank, secrets_of
from workers.receivers.heard import HEARD, Heard
from workers.receivers.turns import Turns

SEND_TIMEOUT_S = 30.0
SENDS_MAX = 64
"""Messages that one process sends at once, each in a thread of its own."""
SENDS_PER_SERVICE_MAX = 8

_turns = Turns(each_max=SENDS_PER_SERVICE_MAX, all_max=SENDS_MAX)
_executor = ThreadPoolExecutor(SENDS_MAX, thread_name_prefix="receiver")
"""Has a thread for every turn, so that nothing waits in it."""


def warm_up() -> None:
    """Import apprise and its services beside what the process does, so that the first message does not wait for that."""
    _executor.submit(lambda: plugins.apprise().Apprise.instantiate("json://localhost"))


async def _unchanged() -> None:
    """What it says is so, however long it has waited."""


async def send(
    integration: Integration, title: str, body: str, notify_type: str, afresh: Callable[[], Awaitable[None]] = _unchanged
) -> str:
    """Send one message to the service that the integration names, and return what the service answered.

    Where it has to wait for its turn, because the service is slow, `afresh` is awaited when the turn has come: what it raises is raised
    here, and nothing is sent.

    Raises DeliveryError: permanent where the configuration or the service's answer shows that trying again cannot help.
    """
    if integration.url == "console:":
        sys.stdout.write(f"{title}\n{body}\n\n")
        sys.stdout.flush()
        return "printed"
    service = integration.service or integration.key
    turn = _turns.ask(service)
    try:
        if not turn.done():
            await asyncio.wrap_future(turn)
            await afresh()
        heard = Heard()
        work = _executor.submit(copy_context().run, _send, integration, title, body, notify_type, heard)
    except BaseException:
        _turns.end(service, turn)
        raise
    work.add_done_callback(lambda _: _turns.end(service, turn))
    try:
        return await asyncio.wait_for(asyncio.wrap_future(work), SEND_TIMEOUT_S)
    except TimeoutError:
        raise DeliveryError(f"no answer within {SEND_TIMEOUT_S:.0f} s", unheard=True) from None
    finally:
        heard.given_up = True


def _send(integration: Integration, title: str, body: str, notify_type: str, heard: Heard) -> str:
    """To the service itself: apprise's front sends in a few threads that all services share, and tries again by itself."""
    apprise = plugins.apprise()
    text = address.read(integration)
    service = address.service_of(integration, text)
    HEARD.set(heard)
    if service.interpret_emojis:
        title, body = apprise.emojis.apply_emojis(title), apprise.emojis.apply_emojis(body)
    try:
        accepted = service.notify(body=body, title=title, notify_type=notify_type, body_format=apprise.NotifyFormat.TEXT)
    except Exception as error:  # A plugin can fail in any way; the message is not lost for it.
        heard.lines.append(f"{type(error).__name__}: {error}")
        accepted = False
    answer = f"{service.service_name}: {blank(heard.answer, secrets_of(text, service.url(privacy=True)))}"
    if not accepted:
        raise DeliveryError(answer, permanent=heard.permanent, retry_after_ms=heard.retry_after_ms, unheard=heard.unheard)
    return answer
