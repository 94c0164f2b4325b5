"""An access token as the credential: linked, served, replaced, and exchanged for an application and back."""

from __future__ import annotations

import re

import pytest

from portal.connections.models import ConnectionState, Method
from portal.credentials import AccessSource, AccessUnavailable
from portal.credentials.access_tokens import OtherUser, why_not_rotated
from portal.credentials.history import KINDS
from portal.credentials.models import CredentialState
from portal.errors import Card, Conflict, Surface, Way
from portal.failures import FAILURES, failure_of
from portal.health.checks import check_connection
from portal.repositories.models import Enablement, Repository
from tests.access_tokens.drafts import fine_grained
from tests.disconnection.world import ADDRESS, ENABLED, PATHS, World
from tests.support.linked import link, new_token
from tests.support.paired import SCOPES, pair
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize

SELF = "/api/v4/personal_access_tokens/self"
OAUTH_WORDS = re.compile(r"[Aa]uthoriz\w+|Application ID|\bapplications?\b|[Tt]oken pair|\bpair\b|Secret\b")


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

    application, secret = world.sandbox.world.oauth.create_application(
        "Gatehouse", f"{world.runtime.settings.base_url}/oauth/callback/gitlab", SCOPES
    )
    assert "setup/application" in owner.get(f"{ADDRESS}/settings").text
    typed = {"application_id": application.uid, "secret": str(secret)}
    answer = owner.post(f"{ADDRESS}/setup/application", typed)
    assert answer.headers["Location"].endswith("/setup/service-user"), answer.text
    answer = owner.post(f"{ADDRESS}/setup/service-user", {"service_username": "gatehouse"})
    # The world has an attempt that is under way.
    assert "Start again" in owner.get(answer.headers["Location"]).text
    # Until someone does, the token is in use, and nothing asks for anything.
    assert (paired.demand(), paired.connection.attention) == (second, None)
    authorize(owner, world.sandbox, "gitlab")
    world.run()
    paired.application_id = application.id
    assert (paired.connection.method, paired.credential.token_details) == (Method.OAUTH, None)
    assert paired.holds_the_last_pair()
    assert not is_alive(world, second)
    assert [row.proof for row in world.retired()] == ["access_token_revoked"] * 3
    assert (world.count(Enablement), world.count(Repository)) >= (ENABLED, len(PATHS))


def test_token_that_another_connection_uses_as_well_is_not_revoked(world: World) -> None:
    other, token = (
        pair(world.runtime, world.sandbox, world.cast.owner.organization_id, slug="other"),
        new_token(world.sandbox),
    )
    for paired in (world.paired, other):
        link(paired, world.cast.owner, token)

    link(world.paired, world.cast.owner, new_token(world.sandbox))
    world.run()
    assert (is_alive(world, token), other.demand()) == (True, token)

    link(other, world.cast.owner, new_token(world.sandbox))
    world.run()
    assert not is_alive(world, token)


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


def test_nothing_that_a_token_connection_shows_asks_anyone_to_authorize(world: World, owner: Visitor) -> None:
    """Every failure that its pages can show, and the pages themselves, speak of the token."""
    paired = world.paired
    link(paired, world.cast.owner, new_token(world.sandbox, days=20))
    check_connection(world.runtime, paired.connection_id)
    places = {
        *(Surface.OVERVIEW, Surface.HEALTH, Surface.CREDENTIAL, Surface.REPOSITORIES, Surface.JOB_READ),
        *(Surface.JOB_WAITING, Surface.JOB_CHECK),
    }
    # A credential of an application is the only one that these are about.
    of_applications = {
        *("credential_revoked", "credential_lost", "application_gone", "application_changed", "client_secret_changed"),
        *("client_refused", "refresh_refused", "not_authorized", "credential_expires", "secret_unreadable"),
        *("secret_unreadable/both", "secret_unreadable/secret"),
    }
    told = {}
    for key, entry in FAILURES.items():
        code, _, case = key.partition("@")[0].partition("/")
        if key.partition("@")[0] in of_applications or code.startswith(("oauth_", "wrong_person_")):
            continue
        for place in sorted(entry.places & places):
            card = Card(code, {"case": case}).at(place, Method.ACCESS_TOKEN)
            found = failure_of(code, case, Method.ACCESS_TOKEN)
            told[key, place] = found.told_at(place).sentence + " " + found.told_at(place).remedy
            assert not {Way.AUTHORIZE, Way.SECRET} & set(card.ways), key
    assert len(told) > 200
    # The header, and an address that GitLab's discovery document names.
    plain = {key: re.sub("Authorization header|authorize page", "", text) for key, text in told.items()}
    odd = {key: text for key, text in plain.items() if OAUTH_WORDS.search(text) and key[0] != "gitlab_unproved"}
    assert odd == {}

    for path in ("", "/health", "/credential", "/settings", "/disconnect", "/activity", "/setup/services"):
        page = owner.get(f"{ADDRESS}{path}")
        text = re.sub(r"<[^>]+>", " ", page.text.partition("<main")[2])
        # What came before the token stays in the history.
        text = text.replace(KINDS["authorized"].sentence, "").replace(KINDS["authorized"].word, "")
        assert page.status_code == 200
        assert OAUTH_WORDS.findall(re.sub("Use an OAuth application instead|Authorization: Bearer", "", text)) == [], (
            path
        )


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_disconnecting_has_the_token_revoke_itself_and_another_one_connects_again(world: World, owner: Visitor) -> None:
    paired, token = world.paired, new_token(world.sandbox)
    link(paired, world.cast.owner, token)
    # Before 15.0: then a person has to do it.
    world.sandbox.faults.add(SELF, method="DELETE", status=404, body={"error": "404 Not Found"})
    world.disconnect(owner)
    world.run()
    page = owner.get(ADDRESS).text
    assert "This GitLab does not let a token revoke itself" in page
    assert "/-/user_settings/personal_access_tokens" in page
    assert "Authorized applications" not in page

    world.sandbox.faults.clear()
    world.let_pauses_pass()
    world.run()
    assert not is_alive(world, token)
    assert [row.proof for row in world.retired()] == ["access_token_revoked"] * 2
    page = owner.get(ADDRESS).text
    assert f'href="{ADDRESS}/setup/token"' in page

    link(paired, world.cast.owner, new_token(world.sandbox))
    assert (paired.connection.state, world.count(Enablement)) == (ConnectionState.CONNECTED, ENABLED)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_fine_grained_token_that_may_not_read_itself_is_alive_all_the_same(world: World) -> None:
    paired = world.paired
    world.sandbox.world.settings.version = "19.5.0"
    token = fine_grained(world.sandbox, ["read_project", "read_group", "read_repository"])
    link(paired, world.cast.owner, token)

    assert check_connection(world.runtime, paired.connection_id) == []
    assert (paired.demand(), paired.connection.attention) == (token, None)
    source = AccessSource(world.runtime, paired.connection_id, "test")
    assert source.renew(source.token(), is_certain=False) == source.token()
    assert why_not_rotated(paired.connection, paired.credential)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_token_is_replaced_on_its_page_which_says_what_stays(world: World, owner: Visitor) -> None:
    paired, token = world.paired, new_token(world.sandbox)
    link(paired, world.cast.owner, new_token(world.sandbox))
    assert "Repositories, rules, webhooks and history stay as they are." in owner.get(f"{ADDRESS}/setup/token").text

    answer = owner.post(f"{ADDRESS}/setup/token", {"access_token": token, "do": "link"}, follow_redirects=True)

    assert "The new token is in use." in answer.text
    assert (paired.demand(), world.count(Enablement)) == (token, ENABLED)
    other = new_token(world.sandbox, "root")
    assert "an administrator" in owner.post(f"{ADDRESS}/setup/token", {"access_token": other, "do": "link"}).text
    assert paired.demand() == token
