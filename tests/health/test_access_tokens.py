"""What the checks say about an access token, and the warnings before it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.connections.checks import note_text
from portal.connections.models import Method
from portal.db import utc_now
from portal.health.alarms import enqueue_due_mails
from portal.health.models import IncidentPhase
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.health.mailbox import Mailbox
from tests.support.linked import link, new_token
from tests.support.paired import Paired
from tests.support.people import Cast
from tests.support.visitor import Visitor


@pytest.fixture
def watched(runtime: Runtime, paired: Paired) -> Watched:
    return Watched(runtime, paired.connection_id, utc_now())


def check(watched: Watched, paired: Paired, days: float | None = None) -> list[str]:
    """Move the token's end, run the checks and the mails; return what is wrong."""
    if days is not None:
        paired.change(expires_at=utc_now() + timedelta(days=days))
    watched.look(2)
    enqueue_due_mails(watched.runtime, watched.now)
    run_pending(watched.runtime)
    return [incident.cause for incident in watched.incidents if incident.phase == IncidentPhase.OPEN]


def test_people_are_mailed_at_30_14_7_and_1_days_once_each(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, cast: Cast, mailing: Mailbox, owner: Visitor
) -> None:
    link(paired, cast.owner, new_token(sandbox))
    assert check(watched, paired, 31) == []
    counts = []
    # The portal is off from the 13th day before the end to the last one, GitLab on the 13th.
    for days in (29.5, 29, 15, 13.5, 13, 0.9, 0.8):
        sandbox.faults.clear()
        if days == 13:
            sandbox.faults.add("*", status=503, html=True)
        assert "access_token_expires" in check(watched, paired, days)
        counts.append(sum(subject.startswith("Soon: ") for subject in mailing.subjects))
        sandbox.faults.clear()
    # Two people each time.
    assert counts == [2, 2, 2, 4, 4, 6, 6]
    soon = [subject for subject in mailing.subjects if subject.startswith("Soon: ")]
    assert [subject.rpartition(", in ")[2] for subject in soon[::2]] == ["30 days.", "14 days.", "less than a day."]
    assert "authoriz" not in mailing.messages[0].get_content().casefold()
    assert "The access token expires on" in owner.get("/members").text

    link(paired, cast.owner, new_token(sandbox))
    assert "access_token_expires" not in check(watched, paired)
    watched.look(minutes=40)
    enqueue_due_mails(watched.runtime, watched.now)
    run_pending(watched.runtime)
    over = [message for message in mailing.messages if str(message["Subject"]).strip().startswith("Over: ")]
    assert sum("another one has been in use since" in message.get_content() for message in over) == 2


def test_token_that_was_replaced_before_the_mail_left_warns_no_one(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, cast: Cast, mailing: Mailbox
) -> None:
    link(paired, cast.owner, new_token(sandbox, days=10))
    watched.look()
    assert watched.alarms == ["access_token_expires"]

    link(paired, cast.owner, new_token(sandbox))
    run_pending(watched.runtime)
    assert (check(watched, paired), mailing.subjects) == ([], [])


def test_end_of_a_token_that_is_rotated_before_or_that_is_unknown_warns_no_one(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, cast: Cast
) -> None:
    link(paired, cast.owner, new_token(sandbox, days=10))
    paired.change(is_rotated=True, refresh_at=utc_now() + timedelta(days=2))
    assert check(watched, paired) == []
    assert watched.checks()["credential"].note == "rotates"

    paired.change(expires_at=None, refresh_at=None, token_details={"is_expiry_known": False, "are_scopes_known": False})
    assert check(watched, paired) == []
    found = watched.checks()
    assert "GitLab does not say when it ends" in note_text(found["credential"].note, found["credential"].params)
    assert (found["credential"].state, found["scopes"].note) == ("pass", "scopes_unknown")


@pytest.mark.parametrize("ended", ["revoked", "expired", "by_time"])
def test_token_that_ended_is_one_incident_that_asks_for_another_token(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, cast: Cast, ended: str, owner: Visitor
) -> None:
    token = new_token(sandbox)
    link(paired, cast.owner, token)
    row = sandbox.world.personal_access_tokens.find(token)
    if ended == "revoked":
        row.revoked_at = sandbox.world.now()
    else:
        row.expires_at = sandbox.world.now().date()
    if ended == "by_time":
        paired.change(expires_at=utc_now() - timedelta(hours=1))

    assert len(check(watched, paired)) == 1
    assert watched.alarms == ["access_token_expired" if ended == "by_time" else "access_token_revoked"]
    assert watched.states()["credential"] == "fail"
    page = owner.get("/connections/gitlab").text
    assert "Make a token in GitLab and replace this one" in page
    assert paired.connection.method == Method.ACCESS_TOKEN

    link(paired, cast.owner, new_token(sandbox))
    assert check(watched, paired) == []
