"""A refresh while someone else acts at the worst moment: a Secret entered, an address moved, an answer left behind."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from portal.connections.models import Application, Connection
from portal.connections.store import open_client_credentials, open_host_session, redirect_uri_of
from portal.credentials import RefreshTimes
from portal.credentials.machine import RefusedClient
from portal.credentials.methods import CLIENT_REFUSED
from portal.credentials.models import CredentialState, RetiredToken
from portal.credentials.refresh import refresh_once, settle, stamp_of, take_claim
from portal.credentials.revocation import revoker_of
from portal.credentials.store import Spool, Spooled, digest, recover, sweep_spool
from portal.db import utc_now
from portal.gitlab import oauth
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.vault import SecretUnreadable
from tests.support.paired import QUICK, SCOPES, Paired, seal

TOKEN = "/oauth/token"
USER = "/api/v4/user"
INFO = "/oauth/token/info"


def enter_secret(paired: Paired, secret: str, client_id: str = "") -> None:
    with paired.runtime.database.transaction() as session:
        application = session.exec(select(Application)).one()
        application.client_id = client_id or application.client_id
        seal(paired.runtime, application, "application", "client_secret_sealed", secret)
        application.updated_at = utc_now()


def test_error_that_passes_after_the_new_secret_was_entered_does_no_harm(paired: Paired) -> None:
    secret = paired.sandbox.world.oauth.renew_secret(paired.application_id)
    paired.make_due()
    paired.demand()
    assert paired.credential.client_refusals == 1
    enter_secret(paired, str(secret))
    paired.sandbox.faults.add(TOKEN, status=503, html=True, times=1)

    assert paired.demand() == paired.issued[0].access_token
    assert (paired.credential.client_refusals, paired.token_requests) == (0, 2)
    paired.make_due()
    assert paired.demand() == paired.issued[-1].access_token


def test_refusal_of_a_secret_that_was_replaced_meanwhile_counts_for_nothing(paired: Paired) -> None:
    paired.make_due()
    present = open_client_credentials(paired.runtime, paired.connection)
    claim = take_claim(paired.runtime, paired.connection_id, "test", QUICK)
    assert claim is not None
    asked_with = stamp_of(paired.application)
    enter_secret(paired, present.client_secret.reveal())

    assert settle(paired.runtime, claim, RefusedClient(), CLIENT_REFUSED, refused=asked_with) is None
    assert (paired.credential.client_refusals, paired.credential.cooldown_until) == (0, None)
    assert paired.demand() == paired.issued[-1].access_token


def test_nothing_goes_to_an_address_the_connection_moved_to_after_the_look(paired: Paired, runtime: Runtime) -> None:
    paired.make_due()
    paired.change(intent_id="somebody-died", intent_at=utc_now())
    with runtime.database.transaction() as session:
        session.get_one(Connection, paired.connection_id).api_url = paired.sandbox.url.replace("localhost", "127.0.0.1")

    with pytest.raises(SecretUnreadable):
        refresh_once(runtime, paired.connection_id, "test", QUICK)

    assert paired.sandbox.requests.all() == []
    assert paired.credential.state == CredentialState.ALIVE


def test_unauthorized_of_something_in_front_of_gitlab_is_no_verdict(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, status=502, html=True, times=1)
    paired.sandbox.faults.add(USER, status=401, body={"message": "Unauthorized"}, times=1)
    assert paired.refusal().card.code == "token_not_accepted"
    paired.let_rest_pass()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.token_requests == 1


def test_tokens_that_end_at_once_are_not_asked_for_without_end(paired: Paired) -> None:
    paired.make_due()
    body = {"access_token": "a" * 64, "refresh_token": "b" * 64, "token_type": "Bearer", "expires_in": 1}
    paired.sandbox.faults.add(TOKEN, status=200, body=body, delay_seconds=0.9)

    paired.refusal(RefreshTimes(lease=6.0, commit=2.0, request=3.0, patience=2.0))

    assert paired.token_requests <= 4


def test_pair_of_another_application_is_neither_refreshed_nor_ended(paired: Paired) -> None:
    own = paired.application
    with paired.runtime.database.transaction() as session:
        credential = paired.credential
        credential.client_id = own.client_id
        session.merge(credential)
    paired.make_due()
    secret = open_client_credentials(paired.runtime, paired.connection).client_secret.reveal()
    enter_secret(paired, secret, client_id="f" * 64)

    paired.demand()  # The old token still works for a while.
    assert paired.credential.failure["code"] == "application_changed"
    assert (paired.credential.state, paired.token_requests) == (CredentialState.ALIVE, 0)

    enter_secret(paired, secret, client_id=own.client_id)
    paired.let_rest_pass()
    assert paired.demand() == paired.issued[-1].access_token


def test_what_a_refresh_leaves_out_stays_as_it_was(paired: Paired) -> None:
    before, scopes = paired.stored_pair(), paired.credential.scopes
    paired.change(obtained_at=utc_now() - timedelta(minutes=50), expires_at=utc_now() + timedelta(minutes=10))
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop_members=("refresh_token", "expires_in"), times=1)

    assert paired.demand() == paired.issued[-1].access_token

    found = paired.credential
    assert paired.stored_pair() == (paired.issued[-1].access_token, before[1])
    assert timedelta(minutes=59) < found.expires_at - utc_now() < timedelta(minutes=61)
    assert found.scopes == scopes


@pytest.mark.parametrize(
    ("answer", "scopes"),
    [
        # No member `scope` at a refresh: the application has lost every scope (docs/gitlab.md).
        ({"set_members": {"scope": []}}, []),
        ({"set_members": {"scope": ["read_user"]}}, ["read_user"]),
        ({"set_members": {"scope": [], "resource_owner_id": 1}}, list(SCOPES)),
        ({"status": 404}, list(SCOPES)),
        ({"delay_seconds": 0.5}, list(SCOPES)),
    ],
)
def test_scopes_that_a_refresh_does_not_name_are_asked_for(
    paired: Paired, answer: dict[str, Any], scopes: list[str]
) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop_members=("scope",), times=1)
    paired.sandbox.faults.add(INFO, **answer)

    # Only the answer that comes too late meets a short limit: a busy machine is slow with all of them.
    times = replace(QUICK, probe=0.3) if "delay_seconds" in answer else QUICK
    assert paired.demand(times) == paired.issued[-1].access_token
    assert paired.credential.scopes == scopes
    assert paired.sandbox.requests.count(INFO) == 1


def test_refresh_token_that_comes_alone_is_used_for_the_next_pair(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, set_members={"access_token": None}, times=1)

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.holds_the_last_pair()
    assert (paired.token_requests, paired.spent_posts) == (2, 0)


def leave_behind(paired: Paired) -> Spooled:
    """Spend the pair and leave the answer in the spool, like a process that dies at that moment."""
    runtime = paired.runtime
    paired.make_due()
    claim = take_claim(runtime, paired.connection_id, "test", QUICK)
    assert claim is not None
    with open_host_session(runtime, paired.connection) as http:
        application = open_client_credentials(runtime, paired.connection)
        tokens = oauth.refresh(http, application, claim.refresh_token, redirect_uri_of(runtime, paired.connection))
    revoker = revoker_of(runtime, paired.connection, paired.application, paired.credential)
    spent = digest(claim.refresh_token)
    entry = Spooled(claim.credential_id, claim.generation, claim.intent_id, spent, tokens, utc_now(), revoker)
    spool = Spool(runtime)
    spool.reserve(claim.credential_id, claim.intent_id)
    spool.keep(entry)
    paired.let_rest_pass()
    return entry


def files_of(runtime: Runtime) -> list[Path]:
    return list((runtime.settings.data_dir / "spool").iterdir())


def test_worker_brings_an_answer_left_behind_into_its_row(paired: Paired, runtime: Runtime) -> None:
    leave_behind(paired)

    sweep_spool(runtime, QUICK)

    assert paired.holds_the_last_pair()
    assert files_of(runtime) == []


def test_answer_that_nobody_wants_any_more_is_revoked(paired: Paired, runtime: Runtime) -> None:
    leave_behind(paired)
    paired.change(generation=7)

    sweep_spool(runtime, QUICK)
    run_pending(runtime)

    assert paired.issued[-1].is_revoked
    assert files_of(runtime) == []


def test_answer_for_a_connection_that_is_gone_is_revoked(paired: Paired, runtime: Runtime) -> None:
    leave_behind(paired)
    with runtime.database.transaction() as session:
        session.delete(session.merge(paired.credential))
        session.flush()
        session.delete(session.merge(paired.application))

    sweep_spool(runtime, QUICK)
    run_pending(runtime)

    assert paired.issued[-1].is_revoked
    with runtime.database.reading() as session:
        assert session.exec(select(RetiredToken)).one().token_sealed is None


def test_answer_is_kept_while_the_stored_pair_cannot_be_opened(paired: Paired, runtime: Runtime) -> None:
    leave_behind(paired)
    sealed = paired.credential.refresh_token_sealed
    paired.change(refresh_token_sealed=b"\x01\x04gone" + bytes(60))

    assert not recover(runtime, paired.connection_id, QUICK)
    assert len(files_of(runtime)) == 1

    paired.change(refresh_token_sealed=sealed)
    assert recover(runtime, paired.connection_id, QUICK)
    assert paired.holds_the_last_pair()


def test_file_of_another_version_harms_nobody(paired: Paired, runtime: Runtime) -> None:
    folder = runtime.settings.data_dir / "spool"
    leave_behind(paired)
    shutil.copy(files_of(runtime)[0], folder / "credential-x-y")

    assert paired.demand() == paired.issued[-1].access_token
