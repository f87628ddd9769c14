"""One message to one service: its turn, its thread, its deadline, its answer."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from monitor.probes.policy import TargetPolicy
from workers.receivers import address, plugins
from workers.receivers.blank import secrets_of
from workers.receivers.heard import HEARD, Heard
from workers.receivers.markup import escaping_of, language_of
from workers.receivers.recipients import shown_recipient
from workers.receivers.turns import Turns
from workers.receivers.wire import WIRE, Wire

log = logging.getLogger(__name__)

T = TypeVar("T")

SEND_TIMEOUT_S = 30.0
"""From its turn to its end, whatever the service does meanwhile."""
CUT_AGAIN_S = 5.0
SENDS_MAX = 512
"""Messages that one process sends at once, each in a thread of its own."""
SENDS_PER_SERVICE_MAX = 8
WAIT_TOLD_S = 5.0
"""After that the log tells that a message waits."""
PATIENCE_S = 300.0
"""How long a message waits for its turn where nothing else is said."""


def warm_up() -> None:
    """Import apprise and its services beside what the process does, so that the first message does not wait for that."""
    _begin(plugins.apprise)


async def _unchanged() -> None:
    """What it says is so, however long it has waited."""


class Receivers:
    """Sends to every service at once, and to each a few messages at a time, at addresses that the policy allows. One per process."""

    def __init__(self, policy: TargetPolicy) -> None:
        self._policy = policy
        self._turns = Turns(each_max=SENDS_PER_SERVICE_MAX, all_max=SENDS_MAX)

    async def send(
        self,
        integration: Integration,
        compose: Compose,
        afresh: Callable[[], Awaitable[None]] = _unchanged,
        patience_s: float = PATIENCE_S,
    ) -> str:
        """Send one message to the service that the integration names, and return what the service answered.

        Where it has to wait for its turn, because the service is slow, `afresh` is awaited when the turn has come: what it raises is
        raised here, and nothing is sent.

        Raises DeliveryError: permanent where the configuration or the service's answer shows that trying again cannot help, and not
        `asked` where no turn has come within `patience_s`.
        """
        if integration.url == "console:":
            message = compose(Escaping())
            sys.stdout.write(f"{message.title}\n{message.body}\n\n")
            sys.stdout.flush()
            return "printed"
        service = integration.whole or integration.service or integration.key
        turn = self._turns.ask(service)
        wire = Wire(self._policy, Heard())
        try:
            if not turn.done():
                await self._turn(turn, service, patience_s)
                await afresh()
            work = _begin(_send, integration, compose, wire)
        except BaseException:
            self._turns.end(service, turn)
            raise
        work.add_done_callback(lambda _: self._turns.end(service, turn))
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(work), SEND_TIMEOUT_S)
        except TimeoutError:
            self._turns.judge(service, slow=True)
            asyncio.get_running_loop().call_later(CUT_AGAIN_S, wire.cut)  # What was just about to connect.
            if told := len(wire.heard.told):  # A mail server that has taken the mail, and does not say goodbye.
                return f"accepted ({told}), with no end within {SEND_TIMEOUT_S:.0f} s"
            raise DeliveryError(f"no end within {SEND_TIMEOUT_S:.0f} s", unheard=wire.reached) from None
        except DeliveryError:
            self._turns.judge(service, slow=wire.heard.silent)
            raise
        else:
            self._turns.judge(service, slow=False)
            return answer
        finally:
            wire.cut()

    async def _turn(self, turn: Future[None], service: str, patience_s: float) -> None:
        waiting = asyncio.wrap_future(turn)
        told_s = min(WAIT_TOLD_S, patience_s)
        try:
            done, _ = await asyncio.wait({waiting}, timeout=told_s)
            if not done:
                log.warning("a message waits for its turn: %d are in flight to its service %s", self._turns.taken(service), service)
                await asyncio.wait_for(waiting, patience_s - told_s)
        except TimeoutError:
            taken = self._turns.taken(service)
            raise DeliveryError(
                f"it waited {patience_s:.0f} s for its turn behind others ({taken} in flight to the same service), and was not sent",
                asked=False,
            ) from None


def _begin(work: Callable[..., T], *args: Any) -> Future[T]:
    """Begin work in a thread of its own. It is a daemon: what a plugin waits for without a connection keeps no process from ending."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # Whoever stops waiting does not stop it.
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work, *args))
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="receiver", daemon=True).start()
    except RuntimeError as error:
        raise DeliveryError(f"the machine has no room for it now ({error}), and it was not sent", asked=False) from None
    return future


def _send(integration: Integration, compose: Compose, wire: Wire) -> str:
    plugins.apprise()
    HEARD.set(wire.heard)
    WIRE.set(wire)
    text = address.read(integration)
    try:
        return _told(integration, text, compose, wire)
    except DeliveryError:
        raise
    except Exception as error:  # Its text may hold the address.
        raise DeliveryError(f"{type(error).__name__}: {secrets_of(text).blank(str(error))}") from None
    finally:
        wire.close()


def _told(integration: Integration, text: str, compose: Compose, wire: Wire) -> str:
    """To the service itself: apprise's front sends in a few threads that all services share, and tries again by itself."""
    apprise = plugins.apprise()
    service = address.service_of(integration, text)
    several = len(service) > service.retry + 1
    told = wire.heard.told
    service.mark_delivered = lambda recipient, *_, **__: told.append(recipient)
    language = language_of(service, written=bool(integration.body))
    message = compose(escaping_of(service, language))
    title, body = message.title, message.body
    if service.interpret_emojis:
        title, body = apprise.emojis.apply_emojis(title), apprise.emojis.apply_emojis(body)
    accepted = _notify(service, wire, body=body, title=title, notify_type=message.kind.value, body_format=language)
    heard = wire.heard
    said = heard.answer if accepted else wire.refusal or heard.answer
    whom = shown_recipient(service) if integration.whole else ""
    name = f"{service.service_name} to {whom}" if whom else service.service_name
    answer = f"{name}: {secrets_of(text, service).blank(said)}"
    if several and told and not accepted:  # They cannot be told apart: to send it again would be to tell those twice.
        return f"{answer} ({len(told)} of its {len(service) // (service.retry + 1)} recipients accepted it)"
    if not accepted:
        permanent = wire.permanent if wire.refusal else heard.permanent
        raise DeliveryError(answer, permanent=permanent, retry_after_ms=heard.retry_after_ms, unheard=heard.unheard)
    return answer


def _notify(service: Any, wire: Wire, **message: Any) -> bool:
    try:
        return bool(service.notify(**message))
    except Exception as error:  # A plugin can fail in any way; the message is not lost for it.
        wire.heard.lines.append(f"{type(error).__name__}: {error}")
        return False
