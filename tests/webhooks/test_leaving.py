"""A connection that is disconnected leaves no webhook behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import col, select

from portal.credentials.models import RetiredToken
from portal.credentials.revocation import due_revocations, revoke_one
from portal.db import utc_now
from portal.disconnection.disconnect import disconnect
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.models import HookStatus, Mode
from tests.support.paired import pair
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of
from tests.webhooks.hooked import Hooked, hooked, without_tests


@pytest.fixture
def found(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Hooked:
    """A connection with a token pair and three hooks."""
    paired = pair(runtime, sandbox, cast.owner.organization_id, scopes=("api", "read_user"))
    found = hooked(runtime, sandbox, cast, 3, connection_id=paired.connection_id)
    without_tests(sandbox)
    found.run()
    return found


def end(found: Hooked) -> None:
    """Disconnect."""
    name = "Gitlab"
    disconnect(found.runtime, principal_of(found.runtime, found.cast.owner), "gitlab", "keep", name)


def revoke(found: Hooked) -> None:
    """Try to revoke, as the job does once it is due."""
    found.change(RetiredToken, next_try_at=utc_now())
    for row_id in due_revocations(found.runtime):
        revoke_one(found.runtime, row_id)


def retired(found: Hooked) -> RetiredToken:
    with found.runtime.database.reading() as session:
        return session.exec(select(RetiredToken).order_by(col(RetiredToken.id))).one()


def test_hooks_go_before_the_token_does_also_if_gitlab_was_down(found: Hooked) -> None:
    owners = [row.subject_id for row in found.rows()]
    end(found)
    found.sandbox.faults.add("/api/v4/projects/*", status=503)
    revoke(found)
    down = (len(found.rows()), retired(found).revoked_at)
    found.sandbox.faults.clear()
    revoke(found)

    assert down == (3, None)
    assert found.rows() == []
    assert [found.sandbox.world.hooks.of_project(owner) for owner in owners] == [[], [], []]
    assert retired(found).revoked_at
    assert found.actions().count("hook.removed") == 3


def test_expired_access_token_is_renewed_once_to_remove_the_hooks(found: Hooked) -> None:
    token = found.sandbox.world.oauth.tokens()[-1]
    end(found)
    token.created_at = utc_now() - timedelta(hours=3)
    revoke(found)

    assert found.rows() == []
    assert retired(found).revoked_at
    assert all(token.is_revoked for token in found.sandbox.world.oauth.tokens())


def test_what_may_not_be_removed_is_kept_for_a_person_and_holds_nothing_up(found: Hooked) -> None:
    first, second, third = found.rows()
    found.sandbox.faults.add(
        f"/api/v4/projects/{first.subject_id}/hooks/*", status=403, body={"message": "403 Forbidden"}
    )
    with found.runtime.database.transaction() as session:
        session.get_one(type(second), second.id).mode = Mode.BY_HAND
    end(found)
    revoke(found)

    assert [(row.id, row.status, (row.card or {}).get("code")) for row in found.rows()] == [
        (first.id, HookStatus.RETIRING, "hook_left_over"),
        (second.id, HookStatus.RETIRING, "hook_left_over"),
    ]
    assert found.of(third) == []
    assert retired(found).revoked_at


def test_hook_of_a_hidden_project_is_kept_with_its_address_and_tried_again(found: Hooked, owner: Visitor) -> None:
    first, second, third = found.rows()
    gone = {"message": "404 Project Not Found"}
    found.sandbox.faults.add(f"/api/v4/projects/{first.subject_id}/*", status=404, body=gone)
    found.sandbox.faults.add(f"/api/v4/projects/{second.subject_id}/*", status=503)
    found.sandbox.world.hooks.remove(third.subject_id, found.of(third)[0].id)
    end(found)
    revoke(found)
    kept = found.rows()
    revoked = retired(found).revoked_at
    overview = owner.get("/connections/gitlab").text
    page = owner.get(f"/connections/gitlab/webhooks/{first.id}").text
    found.sandbox.faults.clear()
    revoke(found)

    assert (kept[0].status, (kept[0].card or {})["code"]) == (HookStatus.RETIRING, "hook_left_hidden")
    assert revoked is None
    assert "1 webhook is still in GitLab" in overview
    assert "/-/hooks" in page
    assert "Open its webhooks in GitLab" in page
    assert "Try again" not in page
    assert found.rows() == []
    assert found.of(first) == []
    assert retired(found).revoked_at
