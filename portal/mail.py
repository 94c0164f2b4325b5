"""Send one text message through the operator's mail server."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from portal.db import utc_now
from portal.errors import Card
from portal.foreign import clean
from portal.settings import Settings

TIMEOUT_SECONDS = 15.0
MAX_SUBJECT = 150
MAX_NAME = 100


class MailFailed(Exception):
    """The mail server did not accept a message; the card says why, without the server's words."""

    def __init__(self, sentence: str) -> None:
        self.card = Card("mail_failed", {"reason": sentence})
        super().__init__(sentence)


@dataclass(frozen=True)
class Message:
    """One message to one person.

    Attributes:
        reference: stable for the message, so that a second copy is recognised as one.
    """

    to_name: str
    to_address: str
    subject: str
    text: str
    reference: str


def is_configured(settings: Settings) -> bool:
    """Return whether the operator set a mail server."""
    return bool(settings.smtp_host)


def compose(settings: Settings, message: Message) -> EmailMessage:
    """Return the message as it is sent: text only, every header of one line.

    Raises:
        MailFailed: the address is not valid.
    """
    host = settings.host.partition(":")[0]
    mail = EmailMessage(policy=SMTP)
    try:
        mail["From"] = Address("Gatehouse", addr_spec=settings.smtp_sender or f"gatehouse@{host}")
        # Names come from people: one line, nothing hidden; the library quotes and encodes the rest.
        mail["To"] = Address(clean(message.to_name, MAX_NAME), addr_spec=message.to_address)
    except (ValueError, IndexError):
        raise MailFailed("An e-mail address cannot be written to.") from None
    mail["Subject"] = clean(message.subject, MAX_SUBJECT)
    mail["Date"] = format_datetime(utc_now())
    mail["Message-ID"] = f"<{message.reference}@{host}>"
    # No vacation answers, and no loops (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text, cte="quoted-printable")
    return mail


def send(settings: Settings, message: Message) -> None:
    """Pass a message to the mail server.

    Raises:
        MailFailed: it was not accepted.
    """
    mail = compose(settings, message)
    try:
        with _connect(settings) as server:
            if settings.smtp_username:
                server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
            server.send_message(mail)
    except smtplib.SMTPAuthenticationError:
        raise MailFailed("The mail server does not accept this portal's user name and password.") from None
    except smtplib.SMTPRecipientsRefused:
        raise MailFailed("The mail server does not accept messages to one of the recipients.") from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailFailed(f"The mail server could not be used ({type(error).__name__}).") from None


def _connect(settings: Settings) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_SECONDS)
    if settings.smtp_security == "starttls":
        try:
            # This raises if the server does not offer it: the password is never sent unencrypted.
            server.starttls(context=context)
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
    return server
