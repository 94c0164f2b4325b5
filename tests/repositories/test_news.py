"""E-mails about requests: to those who can answer, to those who asked, and before an enablement ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from portal.db import utc_now
from portal.jobs.models import JobSchedule
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import run_pending
from portal.mail import MailFailed
from portal.repositories.models import Enablement, Repository, RequestNews
from portal.runtime import Runtime
from tests.health.mailbox import Mailbox, running_mailbox
from tests.repositories.test_requests import REQUESTS, ask, repositories, stored
from tests.support.people import Cast
from tests.support.visitor import Visitor

__all__ = ["repositories"]


@pytest.fixture
def mailbox(runtime: Runtime) -> Iterator[Mailbox]:
    """A mail server that stores what it gets, and that this portal uses."""
    with running_mailbox() as box:
        settings = {"smtp_host": "127.0.0.1", "smtp_port": box.port, "smtp_security": "none"}
        object.__setattr__(runtime, "settings", runtime.settings.model_copy(update=settings))
        yield box


def mail(runtime: Runtime) -> None:
    """Do what is due, as if an hour had passed since the last message."""
    with runtime.database.transaction() as session:
        for row in session.exec(select(RequestNews)):
            row.mailed_at = None
    run(runtime)


def run(runtime: Runtime) -> None:
    """Do what is due, as if it had not been done for an hour."""
    with runtime.database.transaction() as session:
        for row in session.exec(select(JobSchedule)):
            row.enqueued_at = utc_now() - timedelta(hours=1)
    enqueue_due(runtime)
    run_pending(runtime)


def test_everyone_is_told_once_what_concerns_them(
    runtime: Runtime, mailbox: Mailbox, cast: Cast, auditor: Visitor, lead: Visitor, repositories: list[Repository]
) -> None:
    wanted, second, elsewhere = repositories
    mail(runtime)
    assert mailbox.messages == []

    ask(auditor, wanted)
    ask(auditor, elsewhere)
    mail(runtime)
    mail(runtime)
    by_person = {message["To"].addresses[0].addr_spec: message for message in mailbox.messages}
    assert sorted(by_person) == sorted([cast.owner.email, cast.administrator.email, cast.lead.email])
    to_lead, to_owner = by_person[cast.lead.email], by_person[cast.owner.email]
    assert to_lead["Subject"] == "Repositories: 1 new request"
    assert wanted.path_with_namespace in to_lead.get_content()
    assert elsewhere.path_with_namespace not in to_lead.get_content()
    assert to_owner["Subject"] == "Repositories: 2 new requests"
    assert f"{runtime.settings.base_url}{REQUESTS}" in to_owner.get_content()

    mailbox.raw.clear()
    soon = utc_now().date() + timedelta(days=30)
    lead.post(f"{REQUESTS}/{stored(runtime)[0].id}", {"do": "approve", "ends_on": str(soon)})
    mail(runtime)
    (answer,) = mailbox.messages
    assert answer["To"].addresses[0].addr_spec == cast.auditor.email
    assert f"{wanted.path_with_namespace}: enabled until {soon.day} {soon:%b %Y}" in answer.get_content()

    mailbox.raw.clear()
    end_in(runtime, utc_now() + timedelta(days=6, hours=23))
    told_before(runtime, timedelta(days=1))
    mail(runtime)
    mail(runtime)
    assert len(mailbox.messages) == 4
    assert all("Their time ends soon" in message.get_content() for message in mailbox.messages)
    assert second.path_with_namespace not in "".join(message.get_content() for message in mailbox.messages)


def end_in(runtime: Runtime, at: datetime) -> None:
    with runtime.database.transaction() as session:
        session.exec(select(Enablement)).one().ends_at = at


def told_before(runtime: Runtime, since: timedelta) -> None:
    with runtime.database.transaction() as session:
        for row in session.exec(select(RequestNews)):
            row.told_until = utc_now() - since


def test_messages_are_bundled_and_what_the_server_refused_is_sent_later(
    runtime: Runtime, mailbox: Mailbox, cast: Cast, auditor: Visitor, repositories: list[Repository]
) -> None:
    ask(auditor, repositories[0])
    mailbox.unknown = {cast.owner.email}
    with pytest.raises(MailFailed):
        run(runtime)
    assert {message["To"].addresses[0].addr_spec for message in mailbox.messages} == {
        cast.administrator.email,
        cast.lead.email,
    }
    mailbox.unknown = set()
    mailbox.raw.clear()
    ask(auditor, repositories[1])
    run(runtime)

    (late,) = mailbox.messages
    assert late["To"].addresses[0].addr_spec == cast.owner.email
    assert late["Subject"] == "Repositories: 2 new requests"
