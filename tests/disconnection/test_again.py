"""What may coincide with a disconnection: connecting again, authorizing in place, running refreshes and popups."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from sqlmodel import select

from portal.authorization.attempts import AttemptState, AuthorizationAttempt, claim_attempt
from portal.authorization.exchange import take_code
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_client_credentials, open_host_session, redirect_uri_of
from portal.credentials import demand_access
from portal.credentials.refresh import take_claim
from portal.credentials.revocation import revoker_of
from portal.credentials.store import Spooled, Stored, store_pair
from portal.db import utc_now
from portal.disconnection.erase import ERASE
from portal.gitlab import oauth
from portal.jobs.testing import run_pending
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.disconnection.world import ADDRESS, World
from tests.support.children import DIED, run_child
from tests.support.paired import QUICK
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, pass_gitlab, prepare, principal_of, start

PAGE = "/connections/gitlab"


def connected(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor) -> Prepared:
    """Walk through, authorize, read the catalogue and enable one repository."""
    prepared = prepare(runtime, sandbox, cast.owner)
    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)
    with runtime.database.reading() as session:
        repository = session.exec(select(Repository).where(Repository.unavailable_reason == "")).first()
    owner.post("/repositories/enable", {"repository_id": str(repository.id)})
    return prepared


def liveness(sandbox: RunningSandbox, prepared: Prepared) -> list[bool]:
    """Return for every pair that GitLab issued whether it is alive, oldest first."""
    return [not token.is_revoked for token in sandbox.world.oauth.tokens(application_id=prepared.application.id)]


def test_connecting_again_keeps_address_application_and_enabled_repositories(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = connected(runtime, sandbox, cast, owner)
    owner.post(f"{PAGE}/disconnect", {"choice": "keep", "confirmation": "GitLab"})
    run_pending(runtime)
    page = owner.get(f"{PAGE}/setup/authorize").text
    assert "Authorize as @gatehouse" in page
    assert ">Continue<" not in page

    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)

    with runtime.database.reading() as session:
        connection = session.exec(select(Connection)).one()
        assert (connection.slug, connection.state) == ("gitlab", ConnectionState.CONNECTED)
        assert len(session.exec(select(Enablement)).all()) == 1
    assert liveness(sandbox, prepared) == [False, True]
    assert "panel-disconnection" not in owner.get(PAGE).text
    assert demand_access(runtime, connection.id, reason="test").token


def test_authorizing_again_in_place_ends_the_old_pair_and_nothing_else(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = connected(runtime, sandbox, cast, owner)
    assert f"{PAGE}/setup/authorize" in owner.get(f"{PAGE}/reauthorize").text

    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)

    assert liveness(sandbox, prepared) == [False, True]
    with runtime.database.reading() as session:
        assert len(session.exec(select(Enablement)).all()) == 1


def test_left_over_token_is_shown_while_the_connection_is_in_use(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = connected(runtime, sandbox, cast, owner)
    sandbox.faults.add("/oauth/revoke", status=503)
    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)

    assert "An earlier token is not revoked yet" in owner.get(PAGE).text
    sandbox.faults.clear()
    owner.post(f"{PAGE}/disconnection/revocation")
    run_pending(runtime)

    assert "An earlier token is not revoked yet" not in owner.get(PAGE).text
    assert liveness(sandbox, prepared) == [False, True]


def test_popup_that_comes_back_after_the_disconnection_stores_nothing(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = connected(runtime, sandbox, cast, owner)
    query = parse_qs(urlsplit(pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")).query)
    principal = principal_of(runtime, cast.owner)
    browser = next(cookie for cookie in owner.http._cookies.values() if "oauth-" in cookie.key).value
    attempt = claim_attempt(runtime, principal, prepared.slug, query["state"][0], browser, None)
    owner.post(f"{PAGE}/disconnect", {"choice": "keep", "confirmation": "GitLab"})

    take_code(runtime, principal, attempt, query["code"][0])
    run_pending(runtime)

    with runtime.database.reading() as session:
        assert session.exec(select(Connection)).one().state == ConnectionState.DISCONNECTED
        ended = session.get_one(AuthorizationAttempt, attempt.id)
    assert (ended.outcome, ended.card["code"]) == (AttemptState.FAILED, "connection_changed")
    assert liveness(sandbox, prepared) == [False, False]


def test_answer_of_a_refresh_under_way_is_revoked_too_before_anything_is_erased(world: World, owner: Visitor) -> None:
    runtime, paired = world.runtime, world.paired
    paired.make_due()
    claim = take_claim(runtime, world.connection_id, "test", QUICK)
    with open_host_session(runtime, paired.connection) as http:
        application = open_client_credentials(runtime, paired.connection)
        tokens = oauth.refresh(http, application, claim.refresh_token, redirect_uri_of(runtime, paired.connection))
    revoker = revoker_of(runtime, paired.connection, paired.application, paired.credential)

    world.disconnect(owner, choice="erase")
    world.run()
    assert world.connection() is not None
    assert world.jobs(ERASE)[0].failure["code"] == "revocation_pending"

    entry = Spooled(claim.credential_id, claim.generation, claim.intent_id, "", tokens, utc_now(), revoker)
    assert store_pair(runtime, entry, world.connection_id, "test", QUICK) == Stored.SUPERSEDED
    paired.let_rest_pass()
    world.let_pauses_pass()
    world.run()
    world.let_pauses_pass()
    world.run()

    assert len(paired.issued) == 2
    assert world.is_revoked_at_gitlab
    assert world.connection() is None


def test_pair_that_a_crashed_refresh_left_in_the_spool_is_the_one_that_is_revoked(world: World, owner: Visitor) -> None:
    paired = world.paired
    paired.make_due()
    given = {"connection_id": world.connection_id}
    crash_at = "refresh:answer_spooled:1"
    assert run_child(world.runtime, world.sandbox, "tests.crash.demand", given, crash_at) == DIED
    assert [token.is_revoked for token in paired.issued] == [True, False]

    assert world.disconnect(owner).status_code == 303
    world.run()

    assert world.is_revoked_at_gitlab
    assert "Revoked" in owner.get(ADDRESS).text
