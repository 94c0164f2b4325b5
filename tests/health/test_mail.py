from __future__ import annotations

from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from portal.mail import MailFailed, Message, compose, send
from portal.settings import Settings
from tests.health.mailbox import Mailbox

HEADERS = sorted(
    [
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted"),
        *(b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"),
    ]
)
SETTINGS = Settings(base_url="https://gatehouse.example.com", smtp_host="mail.example.com")


def message(**changes: str) -> Message:
    fields = {
        "to_name": "Olga Owner",
        "to_address": "olga@example.com",
        "subject": "Broken: GitLab",
        "text": "It is broken.\n",
        "reference": "incident-1-opened-1",
    }
    return Message(**{**fields, **changes})


def to(mailbox: Mailbox, **changes: object) -> Settings:
    update = {"smtp_host": "127.0.0.1", "smtp_port": mailbox.port, "smtp_security": "none", **changes}
    return SETTINGS.model_copy(update=update)


def test_names_of_every_language_arrive_as_they_are(mailbox: Mailbox) -> None:
    send(to(mailbox), message(to_name="Jörg Müßig-Łukasz, Dr.", subject="Kaputt: Übungs-GitLab “Süd”", text="Grüße\n"))

    received = mailbox.messages[0]
    assert received["To"].addresses[0].display_name == "Jörg Müßig-Łukasz, Dr."
    assert received["Subject"] == "Kaputt: Übungs-GitLab “Süd”"
    assert (received.get_content_type(), received.get_content()) == ("text/plain", "Grüße\r\n")
    assert received["From"] == "Gatehouse <gatehouse@gatehouse.example.com>"
    assert received["Auto-Submitted"] == "auto-generated"
    assert mailbox.raw[0].isascii()


texts = st.text(max_size=80) | st.sampled_from(
    ["a\r\nBcc: thief@example.com", "a\nSubject: b", "\x00", "=?utf-8?q?=0ABcc:_x?=", '"; <a@b.c>', "\u2028Bcc: x", ""]
)


@given(name=texts, subject=texts)
def test_nobody_can_add_a_header_or_a_recipient(name: str, subject: str) -> None:
    mail = compose(SETTINGS, message(to_name=name, subject=subject))

    head = mail.as_bytes().partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert sorted(names) == HEADERS
    assert [address.addr_spec for address in _addresses(mail)] == ["olga@example.com"]


def _addresses(mail: EmailMessage) -> tuple:
    return mail["To"].addresses


@pytest.mark.parametrize("address", ["", "nobody", "a@b.c\r\nBcc: thief@example.com", "a@b.c, thief@example.com"])
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(MailFailed):
        compose(SETTINGS, message(to_address=address))


@pytest.mark.parametrize("offers", [("AUTH PLAIN LOGIN",), ("STARTTLS", "AUTH PLAIN LOGIN"), ()])
def test_password_is_not_sent_in_clear_to_a_server_without_tls(mailbox: Mailbox, offers: tuple[str, ...]) -> None:
    """The server would accept it: it offers that, and either no TLS, or TLS that it then refuses."""
    mailbox.offers = offers
    password = SecretStr("quiet lantern over marsh")
    settings = to(mailbox, smtp_security="starttls", smtp_username="portal", smtp_password=password)

    with pytest.raises(MailFailed) as caught:
        send(settings, message())

    assert mailbox.raw == []
    assert {line.split(b" ")[0] for line in mailbox.heard} <= {b"ehlo", b"STARTTLS", b"QUIT", b"quit"}
    assert "lantern" not in str(caught.value.card)


def test_password_goes_to_a_server_on_this_machine_that_takes_it(mailbox: Mailbox) -> None:
    """The counterpart of the previous test: without the guard, this is what one would see there."""
    mailbox.offers = ("AUTH PLAIN",)
    password = SecretStr("quiet lantern over marsh")

    send(to(mailbox, smtp_username="portal", smtp_password=password), message())

    assert any(line.startswith(b"AUTH PLAIN") for line in mailbox.heard)
    assert len(mailbox.raw) == 1


def test_server_that_is_not_there_is_a_card_without_its_words() -> None:
    settings = SETTINGS.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": 1, "smtp_security": "none"})

    with pytest.raises(MailFailed) as caught:
        send(settings, message())

    assert caught.value.card.code == "mail_failed"
    assert "ConnectionRefusedError" in caught.value.card.sentence
