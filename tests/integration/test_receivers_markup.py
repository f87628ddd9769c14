"""What others say in a message is live in no service: no mention, no link under other words, no image, no mark-up. The operator's is."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import sys
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from alert_rules.notify.dedup import Reason
from alert_rules.notify.message import render_message
from alert_rules.notify.stages import Notification
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert
from tests.echo_service import EchoService
from tests.receiving import HOUSE, mail_server
from workers.receivers import plugins

SAID = (
    "@everyone @here @channel @all <!here> <@U123> <@&42> <users/all> [click](http://evil.test) ![x](http://evil.test/p.png) "
    "<img src=http://evil.test> <a href='http://evil.test'>c</a> **bold** `code` ~~gone~~ \u202eover\x1b[2J"
)
LIVE = re.compile(r"@(?:everyone|here|channel|all)|<[!@&#a-z/]|\]\(|!\[|\u202e|\x1b", re.IGNORECASE)
MARKED = re.compile(r"(?<!\\)\*\*|(?<!\\)`|(?<!\\)~~|(?<!\\)\[")
TITLE = "{{ status }} {{ alerts[0].summary }}"
BODY = "{{ receiver_labels.mention }} **{{ status }}** [wiki](https://wiki.example)\n- {{ alerts[0].summary }}\n{{ alerts[0].labels.path }}"


@pytest.fixture
def service() -> Iterator[EchoService]:
    plugins.apprise()
    service = EchoService()
    yield service
    service.stop()


def told(url: str, body: str = BODY) -> None:
    integration = Integration(key="r/apprise/0", receiver="r", url=url, title=TITLE, body=body, receiver_labels={"mention": "@channel"})
    alert = Alert(labels={"alertname": "A", "path": SAID}, annotations={"summary": SAID}, starts_at_ms=1, fingerprint="f")
    notification = Notification(
        integration=integration.key,
        receiver="r",
        reason=Reason.FIRST,
        group_key="g",
        group_labels={},
        alerts=(alert,),
        firing={"f": 1},
        resolved={},
        tick_ms=1,
    )
    asyncio.run(HOUSE.send(integration, functools.partial(render_message, notification, integration)))


def payload(service: EchoService) -> Any:
    return json.loads(service.requests[-1].body)


def data_of(text: str) -> str:
    """The lines of a message that others have said, without the operator's own and without the tags of a title."""
    lines = re.sub("</?h1>", "", text.replace("<br/>", "\n")).splitlines()
    return "\n".join(line for line in lines if "wiki" not in line)


@pytest.mark.parametrize(
    ("url", "title", "body"),
    [
        ("mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4", "text", "text"),
        ("nctalk://u:password@127.0.0.1:{port}/room", "message", "message"),
        ("hassio://127.0.0.1:{port}/accesstokenoftwentyandmoreletters", "title", "message"),
        ("misskey://accesstoken@127.0.0.1:{port}", "text", "text"),
    ],
)
def test_where_a_text_is_read_as_markdown_marks_of_others_are_escaped_and_the_operators_are_not(
    service: EchoService, url: str, title: str, body: str
) -> None:
    told(url.format(port=service.port))
    said = payload(service)
    assert "@channel **firing** [wiki](https://wiki.example)" in said[body]
    for text in (data_of(said[body]), said[title].splitlines()[0]):
        assert not LIVE.search(text), text
        assert not MARKED.search(text), text
        assert "click" in text
        assert "evil.test" in text


@pytest.mark.parametrize(
    ("url", "title", "body"),
    [
        ("gotify://127.0.0.1:{port}/applicationtoken", "title", "message"),
        ("gotify://127.0.0.1:{port}/applicationtoken?format=markdown", "title", "message"),
        ("ntfy://127.0.0.1:{port}/topic", "title", "message"),
        ("ntfy://127.0.0.1:{port}/topic?format=markdown", "title", "message"),
        ("mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4?format=markdown", "text", "text"),
        ("matrix://hooktoken@127.0.0.1:{port}?mode=matrix", "text", "text"),
        ("matrix://hooktoken@127.0.0.1:{port}?mode=matrix&format=html", "text", "text"),
        ("mastodon://accesstoken@127.0.0.1:{port}", "status", "status"),
        ("bark://127.0.0.1:{port}/devicekey", "title", "body"),
        ("signal://127.0.0.1:{port}/+15551234567/+15551234568", "message", "message"),
    ],
)
def test_no_mention_link_or_image_of_others_is_live_elsewhere(service: EchoService, url: str, title: str, body: str) -> None:
    told(url.format(port=service.port))
    said = payload(service)
    for text in (data_of(said[body]), data_of(said[title])):
        assert not LIVE.search(text), text
        assert "click" in text


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("gotify://127.0.0.1:{port}/devicetoken?format=markdown", "message"),
        ("ntfy://127.0.0.1:{port}/topic?format=markdown", "message"),
        ("mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4?format=markdown", "text"),
        ("json://127.0.0.1:{port}/?format=markdown", "message"),
    ],
)
def test_a_template_is_in_markdown_where_the_address_says_so(service: EchoService, url: str, body: str) -> None:
    told(url.format(port=service.port))
    text = payload(service)[body]
    assert "**firing** [wiki](https://wiki.example)" in text
    assert "click" in data_of(text)
    assert not LIVE.search(data_of(text)), text
    assert not MARKED.search(data_of(text)), text


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("ntfy://127.0.0.1:{port}/topic?format=html", "message"),
        ("matrix://hooktoken@127.0.0.1:{port}?mode=matrix&format=html", "text"),
        ("json://127.0.0.1:{port}/?format=html", "message"),
    ],
)
def test_a_template_is_in_html_where_the_address_says_so(service: EchoService, url: str, body: str) -> None:
    told(url.format(port=service.port), body="<b>{{ status }}</b> <a href='https://wiki.example'>wiki</a>\n{{ alerts[0].labels.path }}")
    text = payload(service)[body]
    assert "<b>firing</b> <a href='https://wiki.example'>wiki</a>" in text
    assert "click" in data_of(text)
    assert not LIVE.search(data_of(text)), text


def test_a_message_without_a_template_is_plain_whatever_the_address_says(service: EchoService) -> None:
    told(f"json://127.0.0.1:{service.port}/?format=html", body="")
    text = payload(service)["message"]
    assert "FIRING<br/>" in text
    assert "&lt;img" in text
    assert "<img" not in text


@pytest.mark.parametrize("markdown", [False, True])
def test_discord_pings_nobody_for_others(service: EchoService, monkeypatch: pytest.MonkeyPatch, markdown: bool) -> None:
    plugin = sys.modules["apprise.plugins.discord"].NotifyDiscord  # type: ignore[attr-defined]
    monkeypatch.setattr(plugin, "notify_url", f"http://127.0.0.1:{service.port}")
    told("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js" + ("?format=markdown" if markdown else ""))
    said = payload(service)
    if markdown:  # apprise looks for mentions in the text itself then, and finds the operator's alone.
        assert said["allow_mentions"] == {"parse": ["channel"], "users": [], "roles": []}
        assert "**firing** [wiki](https://wiki.example)" in said["embeds"][0]["description"]
        texts = [said["embeds"][0]["title"], data_of(said["embeds"][0]["description"])]
    else:
        assert "@channel **firing** [wiki](https://wiki.example)" in said["content"]
        texts = [data_of(said["content"])]
    for text in texts:
        assert not LIVE.search(text), text
        assert not MARKED.search(text), text


def test_slack_is_sent_no_mention_and_no_link(service: EchoService, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = sys.modules["apprise.plugins.slack"].NotifySlack  # type: ignore[attr-defined]
    monkeypatch.setattr(plugin, "webhook_url", f"http://127.0.0.1:{service.port}")
    service.answer = lambda _: b"ok"
    told("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general")
    (said,) = payload(service)["attachments"]
    for text in (said["title"], data_of(said["text"])):
        assert not LIVE.search(text), text
        assert "<" not in text


def test_telegram_is_sent_no_tag_of_others(service: EchoService, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = sys.modules["apprise.plugins.telegram"].NotifyTelegram  # type: ignore[attr-defined]
    monkeypatch.setattr(plugin, "notify_url", f"http://127.0.0.1:{service.port}/")
    told("tgram://123456789:abcdefg_hijklmnop/12315544")
    text = data_of(payload(service)["text"])
    assert "click" in text
    assert not LIVE.search(text.replace("<b>", "").replace("</b>", "")), text


def test_machines_are_sent_data_as_it_is(service: EchoService) -> None:
    plain = SAID.replace("\u202e", " ").replace("\x1b", " ")
    told(f"json://127.0.0.1:{service.port}/")
    assert plain in payload(service)["message"]
    assert payload(service)["title"].startswith(f"firing {plain[:150]}")
    told(f"form://127.0.0.1:{service.port}/")
    assert plain in parse_qs(service.requests[-1].body.decode())["message"][0]
    told(f"xml://127.0.0.1:{service.port}/")
    assert plain in "".join(ElementTree.fromstring(service.requests[-1].body).itertext())


def test_a_mail_shows_what_others_say_and_obeys_nothing_of_it() -> None:
    with mail_server() as (mailbox, port):
        told(f"mailto://me:sesame-open@127.0.0.1:{port}?to=ops@example.org&from=me@example.org&mode=insecure")
    mail = message_from_bytes(mailbox.mails[0].content, policy=policy.default)
    assert mail["Subject"].startswith("firing @everyone")
    page = mail.get_body(("html", "plain"))
    assert page is not None
    text = page.get_content()
    if page.get_content_subtype() == "html":
        assert not re.search(r"<(?:img|a|script|b)\b", text)
    assert "click" in text


def test_the_console_is_moved_by_nothing_that_others_say(capsys: pytest.CaptureFixture[str]) -> None:
    told("console:")
    printed = capsys.readouterr().out
    assert printed.count("\n") == 5
    assert all(line.isprintable() for line in printed.splitlines())


def test_the_tables_name_services_that_there_are() -> None:
    from workers.receivers import markup  # noqa: PLC0415

    apprise = plugins.apprise()
    manager = sys.modules["apprise.manager_plugins"].NotificationManager()  # type: ignore[attr-defined]
    kinds = {manager[schema].__name__ for schema in manager.schemas()}
    assert apprise
    assert kinds >= markup._DATA | markup._MARKDOWN
