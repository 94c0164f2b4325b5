from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from sqlmodel import select

from portal.credentials.models import Credential
from portal.health.models import IncidentPhase
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.health.mailbox import Mailbox
from tests.net.certificates import DAY, NOW, Issued, issue
from tests.support.connected import connect, let_through
from tests.support.people import Cast


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Company authority", is_authority=True)


@pytest.fixture
def context(authority: Issued) -> ssl.SSLContext:
    """The server's context; the next handshake shows what was last loaded into it."""
    return issue("localhost", "localhost", by=authority).server_context()


@pytest.fixture
def watched(runtime: Runtime, cast: Cast, authority: Issued, context: ssl.SSLContext) -> Iterator[Watched]:
    with RunningSandbox(tls=context, with_service_user=True) as sandbox:
        let_through(runtime, sandbox)
        watched = Watched(runtime, connect(runtime, sandbox, cast.owner))
        watched.change(lambda connection: setattr(connection, "ca_certificate", authority.pem))
        yield watched


def show(context: ssl.SSLContext, certificate: Issued) -> None:
    certificate.server_context(base=context)


def test_certificate_that_ends_within_two_weeks_is_a_warning_until_it_is_renewed(
    watched: Watched, authority: Issued, context: ssl.SSLContext, mailing: Mailbox
) -> None:
    watched.look()
    assert watched.states()["certificate"] == "pass"

    show(context, issue("localhost", "localhost", by=authority, not_after=NOW + 10 * DAY))
    watched.look(3)
    run_pending(watched.runtime)
    assert [(item.cause, item.level) for item in watched.incidents] == [("certificate_expires", "Warning")]
    assert mailing.subjects[0].startswith("Soon: Gitlab: GitLab's certificate expires on ")
    assert watched.connection.attention is None

    show(context, issue("localhost", "localhost", by=authority))
    watched.look()
    assert watched.incidents[0].phase == IncidentPhase.CLOSED


@pytest.mark.parametrize(
    ("case", "cause"), [("expired", "tls_expired"), ("name", "tls_wrong_name"), ("authority", "tls_other_authority")]
)
def test_certificate_swapped_live_is_told_at_once_and_the_credential_is_not_touched(
    watched: Watched, authority: Issued, context: ssl.SSLContext, case: str, cause: str
) -> None:
    watched.look()
    with watched.runtime.database.reading() as session:
        before = session.exec(select(Credential)).one()
    swapped = {
        "expired": lambda: issue("localhost", "localhost", by=authority, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "name": lambda: issue("other.test", "other.test", by=authority),
        "authority": lambda: issue("localhost", "localhost", by=issue("Another authority", is_authority=True)),
    }
    show(context, swapped[case]())
    watched.look(3)

    assert watched.alarms == [cause]
    if case == "authority":
        assert watched.incidents[0].card["params"]["expected"] == authority.sha256
        assert watched.incidents[0].card["params"]["seen"] not in {"", authority.sha256}
    states = watched.states()
    assert (states["port"], states["certificate"], states["gitlab"], states["credential"]) == (
        *("pass", "fail", "skipped", "pass"),
    )
    with watched.runtime.database.reading() as session:
        after = session.exec(select(Credential)).one()
    assert (after.state, after.access_token_sealed) == (before.state, before.access_token_sealed)

    show(context, issue("localhost", "localhost", by=authority))
    watched.look()
    assert watched.incidents[0].phase == IncidentPhase.CLOSED
    assert watched.connection.attention is None


def test_outage_says_nothing_about_an_expired_certificate(
    watched: Watched, authority: Issued, context: ssl.SSLContext
) -> None:
    show(context, issue("localhost", "localhost", by=authority, not_before=NOW - 9 * DAY, not_after=NOW - DAY))
    watched.look()
    watched.change(lambda connection: setattr(connection, "api_url", "https://localhost:1"))
    watched.look(2)

    assert watched.incidents[0].cause == "tls_expired"
    assert watched.incidents[0].phase == IncidentPhase.OPEN
