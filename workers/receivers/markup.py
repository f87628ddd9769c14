"""What others say, in the language of the service that it is sent to: no mention, link, image or mark-up of theirs is live there.

The text of a template is the operator's own and is left as it is; this is for what is put into its places. apprise makes HTML and Markdown
of a plain text where a service's format asks for that, so this adds what it leaves out: mentions, what a service reads in a text that it
takes as plain, and titles that are sent apart from the text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from alert_rules.notify.message import Escaping
from alert_rules.rules.template import plain

NOTHING = "\u200b"
"""A space without width, which chat services themselves recommend: it is not seen, and no mention or link holds one."""

_DATA = frozenset(
    {"NotifyAMQP", "NotifyForm", "NotifyJSON", "NotifyMQTT", "NotifyRSyslog", "NotifySyslog", "NotifyXML"}
    | {"NotifyBrevo", "NotifyEmail", "NotifyGroundmail", "NotifyMailerSend", "NotifyMailgun", "NotifyOffice365", "NotifyPostmark"}
    | {"NotifyResend", "NotifySES", "NotifySMTP2Go", "NotifySendGrid", "NotifySendPulse", "NotifySparkPost"}
)
"""Services for machines, whose encoding keeps data apart, and mail, which apprise sends as escaped HTML."""
_MARKDOWN = frozenset(
    {"NotifyDiscord", "NotifyFluxer", "NotifyGuilded", "NotifyHomeAssistant", "NotifyHumHub", "NotifyMattermost", "NotifyMisskey"}
    | {"NotifyNextcloudTalk", "NotifyNotifiarr", "NotifyRevolt", "NotifyRingCentral", "NotifyRyver", "NotifyZulip"}
)
"""Services that read Markdown in whatever they are sent."""

_LIVE = re.compile(r"[@<]|!(?=\[|$)|\](?=[(\[:]|$)")
_BEGINS = re.compile(r"(?=[(\[:])")
_ENTITY = re.compile(r"&(?=#?\w{1,32};)")
_BEGINS_LINE = re.compile(r"(?=[\s>#=+-]|\d{1,9}[.)])")
_MARK = re.compile(r"[\\`*~|\[\]<$]|(?<![^\W_])_|_(?![^\W_])|(?<!\S)#")
"""An underscore within a word is none, so that names stay readable."""


def unlinked(text: str) -> str:
    """The text without live mentions, tags, links and images, in whatever language it is read; it looks as before."""
    text = _LIVE.sub(rf"\g<0>{NOTHING}", plain(text))
    return NOTHING + text if _BEGINS.match(text) else text


def unmarked(text: str) -> str:
    """As `unlinked`, for readers of Markdown: what would be a mark is shown."""
    begins = _BEGINS_LINE.match(plain(text))
    text = _MARK.sub(r"\\\g<0>", _ENTITY.sub(rf"&{NOTHING}", unlinked(text)))
    return NOTHING + text if begins else text


def tagged(text: str) -> str:
    """As `unlinked`, for readers of HTML."""
    return html.escape(unlinked(text))


def language_of(service: Any, *, written: bool) -> str:
    """What a message's text is written in: what the address says (`format=markdown`), where the operator wrote it; else it is plain."""
    chosen = service._format_override is not None or "notify_format" in vars(service)
    return str(service.resolve_format("text").value) if written and chosen else "text"


def escaping_of(service: Any, language: str = "text") -> Escaping:
    """How data is to be written for a service. What is not in the tables gets no live mention and no live link, and looks as before."""
    kind = type(service)
    if language != "text":
        body = unmarked if language == "markdown" else tagged
        return Escaping(_read_by(service) if service.title_maxlen > 0 else body, body)
    if kind.__name__ in _DATA:
        return Escaping()
    if service.resolve_format("text") == "text":
        escape = unmarked if kind.__name__ in _MARKDOWN else unlinked
        return Escaping(escape, escape)
    return Escaping(_read_by(service) if service.title_maxlen > 0 else unlinked, unlinked)


def _read_by(service: Any) -> Callable[[str], str]:
    """For a title of its own, which no `format` changes."""
    kind = type(service)
    if kind.__name__ in _DATA:
        return plain
    return unmarked if kind.__name__ in _MARKDOWN or kind.notify_format == "markdown" else unlinked
