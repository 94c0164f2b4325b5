"""Rotation of an access token: once for each token, whatever happens to the answer (S34)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.credentials.access_tokens import choose_rotation, rotate_now, why_not_rotated
from portal.credentials.models import CredentialState
from portal.db import utc_now
from portal.errors import Conflict
from portal.sandbox.personal_tokens import PersonalToken
from tests.disconnection.world import World
from tests.support.linked import link, new_token
from tests.support.walkthrough import principal_of

ROTATE = "/api/v4/personal_access_tokens/self/rotate"
LOST, GIVEN_UP = "credential.lost", "credential.rotation_given_up"


def rotations(world: World) -> list[int]:
    """Return the status of every rotation that GitLab was asked for."""
    return [seen.status for seen in world.sandbox.requests.all(ROTATE)]


def alarms(world: World) -> list[str]:
    with world.runtime.database.reading() as session:
        return [row.action for row in session.exec(select(AuditEvent)) if row.action in {LOST, GIVEN_UP}]


def tokens(world: World) -> list[PersonalToken]:
    return world.sandbox.world.personal_access_tokens.all()


def test_rotation_happens_before_the_end_if_someone_chose_that_and_keeps_the_lifetime(world: World) -> None:
    paired, principal = world.paired, principal_of(world.runtime, world.cast.owner)
    link(paired, world.cast.owner, new_token(world.sandbox, days=90))
    assert paired.credential.refresh_at is None

    choose_rotation(world.runtime, principal, "gitlab", is_wanted=True)
    assert paired.credential.refresh_at == paired.credential.expires_at - timedelta(days=14)
    paired.make_due()
    served = paired.demand()

    successor = tokens(world)[-1]
    assert (served, successor.is_revoked, tokens(world)[-2].is_revoked) == (successor.token, False, True)
    assert (successor.expires_at - utc_now().date()).days in {89, 90}
    assert paired.credential.expires_at.date() == successor.expires_at
    assert paired.credential.refresh_at > utc_now() + timedelta(days=70)
    assert (rotations(world), alarms(world)) == ([200], [])
    choose_rotation(world.runtime, principal, "gitlab", is_wanted=False)
    assert paired.credential.refresh_at is None
    assert {"credential.rotation_chosen", "connection.token_linked", "credential.refreshed"} <= set(world.actions())


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        ({"drop": "after"}, CredentialState.LOST, "access_token_lost"),
        ({"status": 502, "html": True, "processed": True}, CredentialState.LOST, "access_token_lost"),
        ({"drop_members": ("token",)}, CredentialState.LOST, "access_token_lost"),
        ({"drop": "before"}, CredentialState.ALIVE, "rotation_unknown"),
        ({"status": 503, "html": True}, CredentialState.ALIVE, "rotation_unknown"),
        ({"status": 403, "body": {"message": "403 Forbidden"}}, CredentialState.ALIVE, "rotation_refused"),
    ],
)
def test_token_is_rotated_once_and_every_other_outcome_is_one_alarm(
    world: World, fault: dict[str, Any], state: CredentialState, code: str
) -> None:
    paired, principal, token = world.paired, principal_of(world.runtime, world.cast.owner), new_token(world.sandbox)
    link(paired, world.cast.owner, token)
    world.sandbox.faults.add(ROTATE, **fault)

    assert not rotate_now(world.runtime, principal, "gitlab")
    for _ in range(3):
        paired.let_rest_pass()
        if state == CredentialState.ALIVE:
            assert paired.demand() == token
        else:
            assert paired.refusal().card.code == code

    assert len(rotations(world)) == 1
    assert alarms(world) == [LOST if state == CredentialState.LOST else GIVEN_UP]
    assert (paired.credential.state, paired.connection.attention["code"]) == (state, code)
    assert "credential.rotation_started" in world.actions()
    if code == "rotation_unknown":
        assert why_not_rotated(paired.connection, paired.credential)
        with pytest.raises(Conflict):
            rotate_now(world.runtime, principal, "gitlab")

    world.sandbox.faults.clear()
    link(paired, world.cast.owner, new_token(world.sandbox))
    assert paired.connection.attention is None
    assert rotate_now(world.runtime, principal, "gitlab")


def test_token_that_someone_else_rotated_is_not_rotated_again(world: World) -> None:
    """That would end its successor as well."""
    paired, principal = world.paired, principal_of(world.runtime, world.cast.owner)
    link(paired, world.cast.owner, new_token(world.sandbox))
    tokens(world)[-1].revoked_at = world.sandbox.world.now()

    assert not rotate_now(world.runtime, principal, "gitlab")

    assert rotations(world) == []
    assert paired.connection.attention["code"] == "access_token_revoked"
