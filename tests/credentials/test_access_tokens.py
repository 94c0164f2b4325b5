"""An access token as the credential: linked, served, replaced, and exchanged for an application and back."""

from __future__ import annotations

import pytest

from portal.connections.models import ConnectionState, Method
from portal.credentials import AccessSource, AccessUnavailable
from portal.credentials.access_tokens import OtherUser
from portal.credentials.models import CredentialState
from portal.errors import Conflict
from portal.repositories.models import Enablement, Repository
from tests.disconnection.world import ENABLED, PATHS, World
from tests.support.linked import link, new_token
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize


def is_alive(world: World, token: str) -> bool:
    found = world.sandbox.world.personal_access_tokens.find(token)
    return found is not None and not found.is_revoked


def test_from_an_application_to_a_token_and_back_loses_nothing_of_the_repositories(
    world: World, owner: Visitor
) -> None:
    """Each credential that is replaced is revoked at GitLab, and only then."""
    paired, first, second = world.paired, new_token(world.sandbox), new_token(world.sandbox)

    link(paired, world.cast.owner, first)
    assert paired.demand() == first
    assert (paired.connection.method, paired.credential.method) == (Method.ACCESS_TOKEN, Method.ACCESS_TOKEN)
    assert paired.connection.state == ConnectionState.CONNECTED
    assert (paired.credential.refresh_at, paired.credential.client_secret_sealed) == (None, None)
    assert paired.credential.expires_at.date() == world.sandbox.world.personal_access_tokens.find(first).expires_at
    world.run()
    assert world.is_revoked_at_gitlab

    link(paired, world.cast.owner, second)
    world.run()
    assert (paired.demand(), is_alive(world, first), is_alive(world, second)) == (second, False, True)
    link(paired, world.cast.owner, second)
    world.run()
    assert (paired.demand(), is_alive(world, second)) == (second, True)

    authorize(owner, world.sandbox, "gitlab")
    world.run()
    assert (paired.connection.method, paired.credential.token_details) == (Method.OAUTH, None)
    assert paired.holds_the_last_pair()
    assert not is_alive(world, second)
    assert [row.proof for row in world.retired()] == ["access_token_revoked"] * 3
    assert (world.count(Enablement), world.count(Repository)) >= (ENABLED, len(PATHS))


def test_token_of_someone_else_is_stored_only_if_a_person_agrees_to_that_user(world: World) -> None:
    paired, token = world.paired, new_token(world.sandbox, "root")
    for agreed in ("", "gatehouse"):
        with pytest.raises(OtherUser) as refusal:
            link(paired, world.cast.owner, token, agreed_username=agreed)
        assert (refusal.value.before, refusal.value.now) == ("gatehouse", "root")
    with pytest.raises(Conflict):
        link(paired, world.cast.owner, token, agreed_username="root", row_version=0)
    assert paired.holds_the_last_pair()

    link(paired, world.cast.owner, token, agreed_username="root")

    assert (paired.demand(), paired.connection.service_username) == (token, "root")


@pytest.mark.parametrize("ended", ["revoked", "expired"])
def test_token_that_gitlab_ends_is_a_verdict_at_the_first_refusal(world: World, ended: str) -> None:
    """It cannot be renewed, so every further call would only be one more refused attempt from this address."""
    paired, token = world.paired, new_token(world.sandbox)
    link(paired, world.cast.owner, token)
    source = AccessSource(world.runtime, paired.connection_id, "test")
    used = source.token()
    row = world.sandbox.world.personal_access_tokens.find(token)
    if ended == "revoked":
        row.revoked_at = world.sandbox.world.now()
    else:
        row.expires_at = world.sandbox.world.now().date()

    with pytest.raises(AccessUnavailable) as refusal:
        source.renew(used, is_certain=True)

    assert (refusal.value.card.code, refusal.value.is_passing) == ("access_token_revoked", False)
    assert paired.credential.state == CredentialState.REVOKED
    assert paired.connection.attention["code"] == "access_token_revoked"
    assert world.sandbox.requests.count("/oauth/token") == 0
