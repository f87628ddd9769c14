"""Messages leave the house here: the only module that knows apprise.

apprise answers yes or no, and tells its reasons to its log and to nobody else. So a send listens to both that log and the HTTP answers,
turns them into one line of text, and decides from them whether trying again can help. Secrets never leave: what a URL
holds beyond its privacy form is blanked in every text.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from alert_rules.routes.route import Integration
from alert_rules.rules.template import cut
from monitor.core.errors import DeliveryError
from monitor.core.secret import SECRET, is_reference
from workers.turns import Turns

SEND_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
SENDS_MAX = 64
"""Messages that one process sends at once, each in a thread of its own."""
SENDS_PER_SERVICE_MAX = 8
REFERENCE_BYTES_MAX = 65_536
ANSWER_LENGTH_MAX = 300
SECRET_LENGTH_MIN = 4
SERVICE_KEY = b"watchkeeper.service"
"""Keys the digest that names a service: the name tells nothing of the address, and is the same in every process."""

_RETRIED = frozenset({408, 425, 429})
"""Statuses below 500 after which trying again can help."""
_SMTP_REFUSED = re.compile(r"\((5\d\d), b['\"]")
_UNHEARD = re.compile(r"Read timed out|Remote end closed|Connection reset|Connection aborted")
"""Ends of an exchange after which the service may have accepted the message."""
_importing = threading.Lock()
_turns = Turns(each_max=SENDS_PER_SERVICE_MAX, all_max=SENDS_MAX)
_executor = ThreadPoolExecutor(SENDS_MAX, thread_name_prefix="receiver")
"""Has a thread for every turn, so that nothing waits in it."""
_readers = ThreadPoolExecutor(1, thread_name_prefix="addresses")
"""Apart, so that services that hang delay no group."""


@dataclass(slots=True)
class _Heard:
    """What one send has heard: log lines, and the last HTTP answer."""

    lines: list[str] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    body: str = ""
    retry_after: str = ""
    given_up: bool = False
    """Nobody waits for it any more: it must begin no further request."""


_heard: ContextVar[_Heard | None] = ContextVar("heard", default=None)


def warm_up() -> None:
    """Import apprise and its services beside what the process does, so that the first message does not wait for that."""
    _executor.submit(lambda: _apprise().Apprise.instantiate("json://localhost"))


async def services(integration: Integration) -> tuple[str, ...]:
    """The services behind the integration's address, in its order, as Integration.service names them.

    One empty name where they cannot be known, because the address cannot be read: sending then says why.
    """
    if integration.url == "console:":
        return ("",)
    return await asyncio.get_running_loop().run_in_executor(_readers, _service_names, integration)


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
        heard = _Heard()
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


def _send(integration: Integration, title: str, body: str, notify_type: str, heard: _Heard) -> str:
    """To the service itself: apprise's front sends in a few threads that all services share, and tries again by itself."""
    apprise = _apprise()
    text = _read(integration)
    service = _service(integration, text)
    _heard.set(heard)
    if service.interpret_emojis:
        title, body = apprise.emojis.apply_emojis(title), apprise.emojis.apply_emojis(body)
    try:
        accepted = service.notify(body=body, title=title, notify_type=notify_type, body_format=apprise.NotifyFormat.TEXT)
    except Exception as error:  # A plugin can fail in any way; the message is not lost for it.
        heard.lines.append(f"{type(error).__name__}: {error}")
        accepted = False
    answer = f"{service.service_name}: {_blank(_answer(heard), _secrets(text, service.url(privacy=True)))}"
    if not accepted:
        raise DeliveryError(answer, permanent=_permanent(heard), retry_after_ms=_retry_after_ms(heard.retry_after), unheard=_unheard(heard))
    return answer


def _service(integration: Integration, text: str) -> Any:
    """The service that the integration names, of those that its address holds now."""
    found = _services(text, integration.tag)
    if integration.alone and len(found) == 1:
        return found[0]
    for service in found:
        if integration.service and _name(service) == integration.service:
            return service
    if integration.service:
        raise DeliveryError(f"the address holds the service {integration.service} no more", permanent=True)
    raise DeliveryError(f"the address holds {len(found)} services now; the next notification tells each of them", permanent=True)


def _service_names(integration: Integration) -> tuple[str, ...]:
    try:
        return _names_in(_read(integration), integration.tag)
    except DeliveryError:
        return ("",)


@lru_cache(maxsize=256)
def _names_in(text: str, tag: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(service) for service in _services(text, tag)))


def _name(service: Any) -> str:
    """Eight hexadecimal digits from the whole address. (apprise's own `url_id` leaves recipients and options out.)"""
    return hashlib.blake2b(service.url(privacy=False).encode(), digest_size=4, key=SERVICE_KEY).hexdigest()


def _read(integration: Integration) -> str:
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
        with Path(reference[5:]).open(encoding="utf-8") as file:
            return file.read(REFERENCE_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DeliveryError(f"{reference[5:]} cannot be read: {why}", permanent=True) from None


def _services(text: str, tag: str) -> list[Any]:
    """The services behind a URL, or behind a file of URLs in apprise's own format, filtered by a tag."""
    apprise = _apprise()
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


# What was heard -----------------------------------------------------------------------------------------------------


def _apprise() -> Any:
    """apprise, imported when first needed (it takes a quarter of a second), with our ears on it."""
    with _importing:
        return _apprise_once()


@cache
def _apprise_once() -> Any:
    import apprise  # noqa: PLC0415
    import requests  # noqa: PLC0415

    logger = logging.getLogger("apprise")
    logger.addHandler(_Ear())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Its debug lines hold whole URLs, and those of urllib3 their paths.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    original = requests.Session.request

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        heard = _heard.get()
        if heard is not None and heard.given_up:
            raise requests.RequestException("given up before it was sent")
        response = original(self, *args, **kwargs)
        if heard is not None:
            heard.status, heard.reason = response.status_code, response.reason or ""
            heard.body = response.text[: 2 * ANSWER_LENGTH_MAX]
            heard.retry_after = response.headers.get("Retry-After", "")
        return response

    requests.Session.request = request  # type: ignore[method-assign]
    return apprise


class _Ear(logging.Handler):
    """Gives a log line to the send that caused it."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _heard.get()
        if heard is not None:
            line = record.getMessage()
            if record.levelno >= logging.INFO:
                heard.lines.append(line)
            elif "Exception: " in line:
                heard.lines.append(_cause(line))


def _answer(heard: _Heard) -> str:
    if heard.status:
        return " ".join(f"HTTP {heard.status} {heard.reason} {heard.body}".split())
    return " ".join("; ".join(heard.lines[-2:]).split()) or "no answer"


def _cause(line: str) -> str:
    """The innermost cause of what requests reports: `[Errno 111] Connection refused`."""
    return line.rpartition(": ")[2].rstrip("\"')") if "Caused by " in line else line.partition("Exception: ")[2]


def _permanent(heard: _Heard) -> bool:
    if heard.status:
        return 400 <= heard.status < 500 and heard.status not in _RETRIED
    return any(_SMTP_REFUSED.search(line) for line in heard.lines)


def _unheard(heard: _Heard) -> bool:
    return not heard.status and any(_UNHEARD.search(line) for line in heard.lines)


def _retry_after_ms(text: str) -> int | None:
    """Seconds, or a date of which only its being there counts: the clock that it compares to is not ours."""
    if text.isdecimal() and text.isascii():
        return int(text[:9]) * 1_000
    try:
        parsedate_to_datetime(text)
    except ValueError:
        return None
    return 60_000


def _secrets(text: str, shown: str) -> list[str]:
    """The parts of an address that its privacy form does not show."""
    parts = {part for part in re.split(r"[/:@?&=,\s]+", text) if len(part) >= SECRET_LENGTH_MIN and part not in shown}
    return sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True)


def _blank(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "****")
    return cut(text, ANSWER_LENGTH_MAX)
