"""Messages through apprise's own plugins to real services on this machine: accepting, refusing, failing, silent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError, Stale
from tests.conftest import free_port
from tests.receiving import HOUSE, Mailbox, Service, note, refused, sent, to
from tests.waiting import until, wait_for
from workers.receivers import address, plugins
from workers.receivers import send as sending
from workers.receivers.address import services, shown_url
from workers.receivers.send import SENDS_PER_SERVICE_MAX

BUSY_S = 8.0
"""Less than a service that does not answer is waited for."""


@pytest.mark.parametrize(
    ("url", "path", "title", "body"),
    [
        ("json://127.0.0.1:{port}/hook", "/hook", ("title",), ("message",)),
        ("ntfy://127.0.0.1:{port}/alerts", "/", ("title",), ("message",)),
        ("mmost://127.0.0.1:{port}/abcdefghijklmnopqrstuvwx", "/hooks/abcdefghijklmnopqrstuvwx", ("text",), ("text",)),
    ],
)
def test_services_take_messages(service: Service, url: str, path: str, title: tuple[str], body: tuple[str]) -> None:
    answer = sent(to(url.format(port=service.port)), "Two are down", "shop-1\nshop-2 & more", "failure")
    assert "HTTP 200" in answer
    ((seen, data),) = service.requests
    assert seen == path
    payload = json.loads(data)
    assert "Two are down" in payload[title[0]]
    assert "shop-1\nshop-2 & more" in payload[body[0]]


@pytest.mark.parametrize(
    ("status", "headers", "permanent", "retry_after_ms"),
    [
        (500, {}, False, None),
        (503, {"Retry-After": "7"}, False, 7_000),
        (429, {"Retry-After": "2"}, False, 2_000),
        (429, {"Retry-After": "Wed, 21 Oct 2065 07:28:00 GMT"}, False, 60_000),
        (429, {"Retry-After": "soon"}, False, None),
        (401, {}, True, None),
        (404, {}, True, None),
    ],
)
def test_a_refusal_says_whether_trying_again_can_help(
    service: Service, status: int, headers: dict[str, str], permanent: bool, retry_after_ms: int | None
) -> None:
    service.status, service.headers, service.answer = status, headers, b"not today"
    error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert (error.permanent, error.retry_after_ms) == (permanent, retry_after_ms)
    assert f"HTTP {status}" in str(error)
    assert "not today" in str(error)


def test_a_service_that_hangs_is_given_up_and_may_be_tried_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "READ_TIMEOUT_S", 0.2)
    service.silent.set()
    error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert not error.permanent
    assert error.unheard  # It may have taken the message.


def test_a_service_that_is_not_there_may_be_tried_again() -> None:
    error = refused(to(f"json://127.0.0.1:{free_port()}/"))
    assert not error.permanent
    assert not error.unheard
    assert "refused" in str(error)


class RootLog(logging.Handler):
    """What a process that logs everything would write."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.name}: {record.getMessage()}\n"


def test_secrets_never_come_back(service: Service) -> None:
    root, log = logging.getLogger(), RootLog()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(log)
    try:
        service.status, service.answer = 403, b"bad credentials sup3rs3cret"
        integration = to(f"json://admin:sup3rs3cret@127.0.0.1:{service.port}/")
        error = refused(integration)
        hook = to(f"mmost://127.0.0.1:{service.port}/t0kenthatnobodymustsee24")
        denied = refused(hook)
    finally:
        root.removeHandler(log)
        root.setLevel(level)
    assert "bad credentials ****" in str(error)
    assert "sup3rs3cret" not in str(error) + log.text + shown_url(integration)
    assert "t0kenthat" not in str(denied) + log.text + shown_url(hook)


def test_mail_is_delivered(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    answer = sent(to(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=ops@example.org"), "Down", "one\ntwo", "failure")
    assert "Sent" in answer
    (mail,) = box.mails
    assert (mail.mail_from, mail.rcpt_tos) == ("wk@example.org", ["ops@example.org"])
    assert b"Subject: Down" in mail.content


@pytest.mark.parametrize(("answer", "permanent"), [("554 no such thing here", True), ("451 come back later", False)])
def test_mail_that_is_refused(mailbox: tuple[Mailbox, int], answer: str, permanent: bool) -> None:
    box, port = mailbox
    box.refuse = answer
    error = refused(to(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=ops@example.org"))
    assert error.permanent is permanent
    assert answer[4:] in str(error)


def test_a_wrong_mail_password_is_permanent(mailbox: tuple[Mailbox, int]) -> None:
    _, port = mailbox
    error = refused(to(f"mailto://ops:wrong-word@127.0.0.1:{port}?from=wk@example.org&to=ops@example.org"))
    assert error.permanent
    assert "wrong-word" not in str(error)


def test_references_are_read_when_a_message_is_sent(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"json://127.0.0.1:{service.port}/"
    monkeypatch.setenv("ALERT_URL", url)
    (tmp_path / "url").write_text(url + "\n")
    for integration in (to("env:ALERT_URL"), to(f"file:{tmp_path}/url"), to("", url_file=f"{tmp_path}/url")):
        assert "HTTP 200" in sent(integration, "t", "b", "info")


def test_a_file_may_hold_many_urls_with_tags(service: Service, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(f"ops=json://127.0.0.1:{service.port}/ops\ndev=json://127.0.0.1:{service.port}/dev\n")
    sent(to("", url_file=f"{tmp_path}/urls", tag="dev"), "t", "b", "info")
    assert [path for path, _ in service.requests] == ["/dev"]


def services_of(integration: Integration) -> tuple[Integration, ...]:
    return asyncio.run(services(integration))


def test_each_service_of_a_file_is_sent_to_alone(service: Service, tmp_path: Path) -> None:
    address = tmp_path / "urls"
    address.write_text("".join(f"json://me:pass@127.0.0.1:{service.port}/{name}\n" for name in ("a", "b", "a", "c")))
    first, second, third = services_of(to("", url_file=str(address)))
    assert len({first.service, second.service, third.service}) == 3
    for one in (second, third):
        sent(one)
    assert [path for path, _ in service.requests] == ["/b", "/c"]
    address.write_text(f"json://me:pass@127.0.0.1:{service.port}/a\n")
    error = refused(second)
    assert error.permanent
    assert str(error) == f"the address holds the service {second.service} no more"
    assert [(one.service, one.log_key) for one in services_of(to("", url_file=str(address)))] == [(first.service, "r/apprise/0")]


def test_a_services_name_is_that_of_its_whole_address(service: Service) -> None:
    urls = [f"mailto://127.0.0.1:{service.port}?from=wk@example.org&to={name}@example.org" for name in ("ops", "dev")]
    (first,), (second,) = [services_of(to(url)) for url in urls]
    assert first.service != second.service
    assert all(len(one.service) == 8 and one.alone and not one.whole for one in (first, second))


def test_an_address_that_has_grown_is_not_sent_to_whole(service: Service, tmp_path: Path) -> None:
    missing = to("", url_file=f"{tmp_path}/urls")
    (unknown,) = services_of(missing)
    assert (unknown.service, unknown.log_key) == ("", "r/apprise/0")
    (tmp_path / "urls").write_text("".join(f"json://127.0.0.1:{service.port}/{name}\n" for name in "abc"))
    error = refused(unknown)
    assert error.permanent
    assert str(error) == "the address holds 3 services now; the next notification tells each of them"
    assert service.requests == []


def test_plugins_are_loaded_once_however_many_threads_begin(service: Service) -> None:
    """In a process of its own, since this one has loaded them."""
    code = """
import sys, threading
from alert_rules.routes.route import Integration
from workers.receivers import address
barrier, names, schemes = threading.Barrier(32), [], ["json", "ntfy", "form", "xml"]
def begin(number):
    barrier.wait()
    url = f"{schemes[number % 4]}://127.0.0.1/{number}"
    names.append(address.service_of(Integration(key="k", receiver="r", url=url), url).service_name)
threads = [threading.Thread(target=begin, args=(number,)) for number in range(32)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(names), sorted(set(map(str, names))))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("32 ['Form', 'JSON', 'XML', 'ntfy']\n", "")


def test_apprise_can_be_imported_beforehand() -> None:
    sending.warm_up()
    assert plugins.apprise().__name__ == "apprise"


@pytest.mark.parametrize("url", ["env:WK_NOT_SET_ANYWHERE", "file:/nowhere/at/all", "nosuchservice://x"])
def test_what_cannot_be_read_is_permanent(url: str) -> None:
    assert refused(to(url)).permanent


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "is a pipe"),
    "without end": (lambda path: path.symlink_to("/dev/zero"), "larger than"),
    "no text": (lambda path: path.write_bytes(b"json://caf\xe9/"), "cannot be read"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_whatever_stands_in_the_place_of_an_addresss_file_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    make, why = NO_FILES[name]
    make(tmp_path / "url")
    integration = to("", url_file=f"{tmp_path}/url")
    assert services_of(integration) == (integration,)
    error = refused(integration)
    assert why in str(error)
    assert error.permanent


@pytest.mark.parametrize(
    ("integration", "shown"),
    [
        (to("console:"), "console:"),
        (to("env:ALERT_URL"), "env:ALERT_URL"),
        (to("", url_file="/run/url"), "file:/run/url"),
        (to("json://me:password@127.0.0.1:8080/hook?+Token=password"), "json://me:****@127.0.0.1:8080/hook"),
        (to("nosuch://password"), "nosuch://<secret> (apprise does not understand the URL; see https://appriseit.com/services/)"),
    ],
)
def test_an_address_can_always_be_shown(integration: Integration, shown: str) -> None:
    assert shown_url(integration) == shown


def test_the_console_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert sent(to("console:"), "Down", "shop-1", "failure") == "printed"
    assert capsys.readouterr().out == "Down\nshop-1\n\n"


async def all_of(sends: list[Coroutine[Any, Any, str]]) -> list[str | BaseException]:
    return await asyncio.gather(*sends, return_exceptions=True)


def test_many_sends_at_once_do_not_hear_each_other(service: Service) -> None:
    other = Service()
    try:
        other.status, other.answer = 404, b"nobody"
        sends = [HOUSE.send(to(f"json://127.0.0.1:{(service if i % 2 else other).port}/{i}"), note()) for i in range(20)]
        answers = asyncio.run(all_of(sends))
    finally:
        other.stop()
    for i, answer in enumerate(answers):
        assert ("HTTP 200" if i % 2 else "HTTP 404") in str(answer)


def test_a_slow_service_delays_no_other(service: Service) -> None:
    """Thirty messages to a service that does not answer hold it, and nobody else."""
    slow = Service()
    slow.silent.set()

    async def story() -> None:
        hanging, other = to(f"json://127.0.0.1:{slow.port}/", key="slow"), to(f"json://127.0.0.1:{service.port}/", key="fast")
        held = [asyncio.ensure_future(HOUSE.send(hanging, note())) for _ in range(30)]
        answers = await asyncio.wait_for(all_of([HOUSE.send(other, note()) for _ in range(30)]), BUSY_S)
        assert all("HTTP 200" in str(answer) for answer in answers)
        assert not any(one.done() for one in held)
        assert len(slow.requests) <= SENDS_PER_SERVICE_MAX
        slow.silent.clear()
        slow.released.set()
        await asyncio.gather(*held, return_exceptions=True)

    try:
        asyncio.run(story())
    finally:
        slow.stop()


def test_nothing_is_sent_after_it_was_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no turn yet is neither given up nor sent; a turn ends when its thread does, and not when its message is given up."""
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 2.0)
    monkeypatch.setattr(address, "READ_TIMEOUT_S", 3.0)
    service.silent.set()
    sends = [HOUSE.send(to(f"json://127.0.0.1:{service.port}/{number}", key="gives up"), note()) for number in range(10)]
    in_time: list[bool] = []

    async def one(number: int) -> None:
        with pytest.raises(DeliveryError, match="no end within 2 s") as caught:
            await sends[number]
        assert caught.value.unheard
        in_time.append(f"/{number}" in [path for path, _ in service.requests])

    async def story() -> None:
        await asyncio.gather(*(one(number) for number in range(len(sends))))

    asyncio.run(asyncio.wait_for(story(), 30))
    assert in_time == [True] * len(sends)


def test_a_message_of_several_requests_that_was_given_up_begins_no_further_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(address, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr("apprise.NotifyBase.request_rate_per_sec", 0)
    service.silent.set()
    with pytest.raises(DeliveryError) as caught:
        sent(to(f"ntfy://127.0.0.1:{service.port}/one?overflow=split", key="several"), "t", "x" * 20_000)
    assert caught.value.unheard
    wait_for(lambda: not HOUSE._turns.taken("several"))
    assert len(service.requests) == 1


def test_what_has_waited_for_its_turn_is_asked_about_and_what_has_not_is_sent_at_once(service: Service) -> None:
    service.silent.set()
    asked: list[int] = []

    async def one(number: int) -> str:
        async def afresh() -> None:
            asked.append(number)
            raise Stale

        return await HOUSE.send(to(f"json://127.0.0.1:{service.port}/{number}", key="waits"), note(), afresh)

    async def story() -> list[str | BaseException]:
        sends = [asyncio.ensure_future(one(number)) for number in range(SENDS_PER_SERVICE_MAX + 2)]
        await until(lambda: len(service.requests) == SENDS_PER_SERVICE_MAX)
        service.silent.clear()
        service.released.set()
        return await asyncio.gather(*sends, return_exceptions=True)

    answers = asyncio.run(asyncio.wait_for(story(), 30))
    assert len(service.requests) == SENDS_PER_SERVICE_MAX
    assert asked == [SENDS_PER_SERVICE_MAX, SENDS_PER_SERVICE_MAX + 1]
    assert [type(answer) for answer in answers[-2:]] == [Stale, Stale]


def test_emojis_are_still_written_out_where_the_address_says_so(service: Service) -> None:
    sent(to(f"json://127.0.0.1:{service.port}/?emojis=yes"), "t", ":fire: shop-1")
    ((_, data),) = service.requests
    assert json.loads(data)["message"] == "\N{FIRE} shop-1"
