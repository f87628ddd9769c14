"""One address, several recipients: each is told apart, so that one that is refused repeats nothing to the others."""

from __future__ import annotations

import asyncio
import email
import email.policy
import subprocess
import sys
from pathlib import Path

import pytest

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from tests.integration.commands import Run
from tests.receiving import HOUSE, Mailbox, Service, note, refused, sent, to
from workers.receivers.address import services
from workers.receivers.recipients import RECIPIENTS_MAX

NO = "550 no such person"


def each(url: str) -> tuple[Integration, ...]:
    return asyncio.run(services(to(url)))


def outcomes(integrations: tuple[Integration, ...]) -> list[str]:
    """What became of a message to each of them."""

    async def one(integration: Integration) -> str:
        try:
            return await HOUSE.send(integration, note("Down", "shop-1", "failure"))
        except DeliveryError as error:
            return f"{'for good' if error.permanent else 'again'}: {error}"

    async def story() -> list[str]:
        return [await one(integration) for integration in integrations]

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org,c@example.org", "abc"),
        ("mailto://127.0.0.1:{port}/a@example.org/b@example.org?from=wk@example.org", "ab"),
        ("mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org&cc=b@example.org,c@example.org&bcc=d@example.org", "abcd"),
        ("mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org&cc=a@example.org,c@example.org", "abc"),
        ("mailto://127.0.0.1:{port}?from=wk@example.org&cc=c@example.org", None),
    ],
)
def test_each_recipient_of_a_mail_gets_one_of_its_own(mailbox: tuple[Mailbox, int], form: str, told: str | None) -> None:
    box, port = mailbox
    integrations = each(form.format(port=port))
    names = [f"{name}@example.org" for name in told] if told else ["c@example.org", "wk@example.org"]
    assert len({one.log_key for one in integrations}) == len(names)
    assert len({one.whole for one in integrations}) == 1
    assert all(line.startswith("E-Mail to ") for line in outcomes(integrations))
    assert [mail.rcpt_tos for mail in sorted(box.mails, key=lambda mail: mail.rcpt_tos)] == [[name] for name in names]
    for mail in box.mails:
        head = email.message_from_bytes(mail.content, policy=email.policy.default)
        assert head["To"].addresses[0].addr_spec == mail.rcpt_tos[0]
        assert head["Cc"] is None


def test_the_name_of_a_recipient_stands_in_its_mail(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    outcomes(each(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=Ada<a@example.org>,Bob<b@example.org>"))
    heads = [email.message_from_bytes(mail.content, policy=email.policy.default)["To"] for mail in box.mails]
    assert sorted(head.addresses[0].display_name for head in heads) == ["Ada", "Bob"]


def test_a_refused_recipient_is_told_apart_from_those_that_accept(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    box.refused = {"b@example.org": NO, "d@example.org": "450 its box is full"}
    url = f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org&cc=c@example.org&bcc=d@example.org"
    a, b, c, d = outcomes(each(url))
    assert a == "E-Mail to a@example.org: Sent Email to a@example.org"
    assert b.startswith("for good: E-Mail to b@example.org: ")
    assert "no such person" in b
    assert c.startswith("E-Mail to c@example.org: Sent")
    assert d.startswith("again: E-Mail to d@example.org: ")
    assert box.recipients() == ["a@example.org", "c@example.org"]


def test_a_recipient_keeps_its_place_when_others_come_and_go(mailbox: tuple[Mailbox, int]) -> None:
    _, port = mailbox
    form = "mailto://127.0.0.1:{port}?from=wk@example.org&to={names}"
    three = {one.service for one in each(form.format(port=port, names="a@example.org,b@example.org,c@example.org"))}
    two = {one.service for one in each(form.format(port=port, names="c@example.org,a@example.org"))}
    (one,) = each(form.format(port=port, names="a@example.org"))
    assert two < three
    assert one.service in two
    assert (one.alone, one.whole, one.log_key) == (True, "", "r/apprise/0")


def test_a_recipient_that_was_taken_out_is_given_up(mailbox: tuple[Mailbox, int], tmp_path: Path) -> None:
    box, port = mailbox
    file = tmp_path / "url"
    file.write_text(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org")
    before = asyncio.run(services(to("", url_file=str(file))))
    file.write_text(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,c@example.org")
    first, second = outcomes(before)
    assert first.startswith("E-Mail to a@example.org: Sent")
    assert second == f"for good: the address holds the service {before[1].service} no more"
    assert box.recipients() == ["a@example.org"]


def test_what_was_decided_before_recipients_were_told_apart_is_sent_to_all_of_them(mailbox: tuple[Mailbox, int]) -> None:
    """An outbox that an earlier release has written."""
    box, port = mailbox
    url = f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org"
    earlier = to(url).of_service(each(url)[0].whole, alone=True)
    sent(earlier)
    assert box.recipients() == ["a@example.org", "b@example.org"]
    box.refused = {"b@example.org": NO}
    assert "(1 of its 2 recipients accepted it)" in sent(earlier)


def test_what_is_alone_and_has_grown_is_sent_to_the_one_that_it_was_decided_for(mailbox: tuple[Mailbox, int], tmp_path: Path) -> None:
    box, port = mailbox
    file = tmp_path / "url"
    file.write_text(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org")
    (one,) = asyncio.run(services(to("", url_file=str(file))))
    file.write_text(f"mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org")
    sent(one)
    assert box.recipients() == ["a@example.org"]


def test_more_recipients_than_are_told_apart_are_left_whole_and_those_that_accept_hear_once(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    names = [f"p{number}@example.org" for number in range(RECIPIENTS_MAX + 1)]
    (one,) = each(f"mailto://127.0.0.1:{port}?from=wk@example.org&to={','.join(names)}")
    box.refused = {"p7@example.org": NO}
    assert sent(one).endswith(f"({RECIPIENTS_MAX} of its {RECIPIENTS_MAX + 1} recipients accepted it)")
    assert len(box.recipients()) == RECIPIENTS_MAX


def test_a_mail_that_nobody_accepts_is_a_failure(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    names = [f"p{number}@example.org" for number in range(RECIPIENTS_MAX + 1)]
    (one,) = each(f"mailto://127.0.0.1:{port}?from=wk@example.org&to={','.join(names)}")
    box.refused = dict.fromkeys(names, NO)
    assert refused(one).permanent


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("ntfy://127.0.0.1/one/two/three", 3),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/98765432", 2),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general/#ops/@me", 3),
        ("mmost://example.org/abcdefghijklmnopqrstuvwx?channels=a,b", 2),
        ("matrix://u:pw@example.org/#one/#two/!id:example.org", 3),
        ("twilio://AC123456789012345678901234567890ab:abcdef0123456789abcdef0123456789@15551230000/15551231111/15551232222", 2),
        ("rocket://user:pass@example.org/#a/#b/@c", 3),
        ("signal://localhost:8080/15551230000/15551231111/15551232222", 2),
        ("sns://AHIAJGNT76XIMXDBIJYA/bu1dHSdO22pfaaVy/wmNsdjJQ343A/us-east-1/12223334444/15551231111/TopicA", 3),
        ("opsgenie://a1b2c3d4-a1b2-a1b2-a1b2-a1b2c3d4e5f6/#team/@user", 2),
        ("mailgun://user@example.org/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbb-cccccccc/a@example.org/b@example.org", 2),
        # One request tells them all, or there is one.
        ("signal://localhost:8080/15551230000/15551231111/15551232222?batch=yes", 1),
        ("onesignal://appid123@apikey123/playerid/email@example.org", 1),
        ("pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/dev1/dev2", 1),
        ("json://example.org/a", 1),
        ("ntfy://127.0.0.1/one", 1),
        ("ntfy://127.0.0.1/one/two?retry=3", 2),
    ],
)
def test_recipients_of_other_services_are_told_apart_where_they_can_be(url: str, count: int) -> None:
    found = each(url)
    assert len({one.log_key for one in found}) == len(found) == count


def test_each_topic_of_ntfy_is_sent_to_alone(service: Service) -> None:
    answers = outcomes(each(f"ntfy://127.0.0.1:{service.port}/one/two"))
    assert [answer.partition(":")[0] for answer in answers] == ["ntfy to one", "ntfy to two"]
    assert len(service.requests) == 2


def test_names_are_the_same_in_every_process() -> None:
    url = "mailgun://user@example.org/" + "a" * 32 + "-bbbbbbbb-cccccccc/a@example.org?cc=c@example.org,d@example.org,e@example.org"
    code = (
        "import asyncio, sys; from alert_rules.routes.route import Integration; from workers.receivers.address import services;"
        "print(asyncio.run(services(Integration(key='k', receiver='r', url=sys.argv[1])))[0].service)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, url]
    names = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(4)}
    assert len(names) == 1


def test_the_test_of_a_receiver_tells_each_recipient(mailbox: tuple[Mailbox, int], run: Run, tmp_path: Path) -> None:
    box, port = mailbox
    box.refused = {"b@example.org": NO}
    (tmp_path / "alerting.yml").write_text(
        "route: {receiver: ops}\n"
        "receivers: [{name: ops, apprise_configs: [{url: "
        f"'mailto://127.0.0.1:{port}?from=wk@example.org&to=a@example.org,b@example.org'}}]}}]\n"
    )
    done = run("receivers", "test", "ops", "--alerting", "alerting.yml", code=1)
    first, second = done.stdout.splitlines()
    assert ": accepted: E-Mail to a@example.org: " in first
    assert ": failed for good: E-Mail to b@example.org: " in second
    assert box.recipients() == ["a@example.org"]
