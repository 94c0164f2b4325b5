from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete, text
from sqlalchemy import select as select_columns
from sqlmodel import SQLModel, select

from portal import CAPABILITIES, create_app
from portal.audit.models import AuditEvent
from portal.connections.models import ConnectionState, need_attention
from portal.credentials import AccessUnavailable, demand_access
from portal.credentials.methods import VERDICTS
from portal.credentials.models import Credential, CredentialEvent, CredentialState
from portal.credentials.revocation import REVOKE_RETIRED
from portal.credentials.store import lock_credential
from portal.db import Database
from portal.errors import Card, Way
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.operation.keys.manage import add_keys, rotate
from portal.operation.keys.unreadable import note_unreadable
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing, KeyRingError, Vault
from portal.vault.columns import sealed_columns
from portal.vault.ring_check import verify_ring
from tests.jobs.waiting import until
from tests.support import walkthrough
from tests.support.paired import QUICK, Paired, pair
from tests.support.people import Cast, make_cast
from tests.support.visitor import Visitor

PAGES = (
    "/connections/",
    "/connections/gitlab",
    "/connections/gitlab/setup/credentials",
    "/connections/gitlab/setup/authorize",
    "/connections/gitlab/setup/test",
    "/connections/gitlab/health",
    "/repositories/",
    "/jobs",
    "/audit",
    "/members",
    "/profile",
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(settings: Settings, database: Database, key_file: Path, sandbox: RunningSandbox) -> Runtime:
    """A portal that was started once; it may reach the sandbox."""
    prepare(settings)
    return at(settings, database, sandbox)


def at(settings: Settings, database: Database, sandbox: RunningSandbox) -> Runtime:
    policy = NetworkPolicy(exempt=parse_address(sandbox.url, allow_http=True), own_origin=settings.base_url)
    path = settings.resolved_key_file
    return Runtime(settings, database, Vault(KeyRing.from_file(path), path), OutboundClient(policy), CAPABILITIES)


@pytest.fixture
def cast(runtime: Runtime) -> Cast:
    return make_cast(runtime)


@pytest.fixture
def lost(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, tmp_path: Path) -> Paired:
    """A connected connection after the key file was lost and the portal started without it; a copy is in `kept`."""
    before = pair(runtime, sandbox, cast.owner.organization_id)
    runtime.settings.resolved_key_file.rename(tmp_path / "kept.json")
    prepared = prepare(runtime.settings, without_key=True)
    assert [str(item) for item in prepared.unreadable] == ["Gitlab: enter the Secret and authorize again"]
    again = at(runtime.settings, runtime.database, sandbox)
    return Paired(again, sandbox, before.connection_id, before.application_id)


def ciphertexts(runtime: Runtime) -> dict[tuple[str, str, int], bytes]:
    found = {}
    with runtime.database.engine.connect() as connection:
        for column in sealed_columns():
            table = SQLModel.metadata.tables[column.table]
            for row_id, sealed in connection.execute(select_columns(table.c.id, table.c[column.name])):
                found[(column.table, column.name, row_id)] = sealed
    return found


def test_lost_key_stops_the_start_and_names_the_way_on(runtime: Runtime) -> None:
    runtime.settings.resolved_key_file.unlink()

    with pytest.raises(KeyRingError, match="--without-key"):
        prepare(runtime.settings)

    assert not runtime.settings.resolved_key_file.exists()


def test_portal_without_its_key_tells_what_to_enter_again_and_keeps_every_ciphertext(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    before = pair(runtime, sandbox, cast.owner.organization_id)
    stored = ciphertexts(runtime)
    runtime.settings.resolved_key_file.unlink()

    prepare(runtime.settings, without_key=True)
    prepare(runtime.settings)
    again = at(runtime.settings, runtime.database, sandbox)
    asked = len(sandbox.requests.all())
    with runtime.database.transaction() as session:
        enqueue(session, REVOKE_RETIRED, organization_id=cast.owner.organization_id, title="Revoke")
    run_pending(again)
    with pytest.raises(AccessUnavailable):
        demand_access(again, before.connection_id, reason="test", times=QUICK)
    rotation = rotate(again)

    assert ciphertexts(runtime) == stored
    assert len(rotation.resealed.unreadable) == 3
    assert len(sandbox.requests.all()) == asked
    assert before.credential.state == CredentialState.UNREADABLE
    assert before.connection.state == ConnectionState.NEEDS_ATTENTION
    card = Card.from_json(before.connection.attention)
    assert card.ways == (Way.SECRET, Way.AUTHORIZE)
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.action == "connection.unreadable")).all()
    assert len(events) == 1


@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_page_breaks_over_a_secret_that_cannot_be_read(lost: Paired, cast: Cast) -> None:
    stored = ciphertexts(lost.runtime)
    app = create_app(runtime=lost.runtime)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    for actor in (cast.owner, cast.lead, cast.auditor):
        visitor = Visitor(app).sign_in(actor)
        answers = {path: visitor.get(path).status_code for path in PAGES}
        assert max(answers.values()) < 500, answers
    owner = Visitor(app).sign_in(cast.owner)
    assert "cannot be read" in owner.get("/connections/gitlab").text
    pressed = {
        path: owner.post(f"/connections/gitlab{path}").status_code
        for path in ("/setup/credentials", "/setup/instance/check", "/setup/test", "/health/checks", "/authorization")
    }
    assert max(pressed.values()) < 500, pressed
    unsealed_anew = {
        key for key, sealed in ciphertexts(lost.runtime).items() if key in stored and sealed != stored[key]
    }
    assert not unsealed_anew


@pytest.mark.parametrize("backend", ["sqlite"])
def test_connection_works_again_after_secret_and_authorization_were_entered(
    lost: Paired, cast: Cast, sandbox: RunningSandbox
) -> None:
    app = create_app(runtime=lost.runtime)
    owner = Visitor(app).sign_in(cast.owner)
    application = sandbox.world.oauth.application(lost.application_id)
    secret = sandbox.world.oauth.renew_secret(lost.application_id)

    saved = owner.post(
        "/connections/gitlab/setup/credentials", {"application_id": application.uid, "secret": str(secret)}
    )
    answer = walkthrough.authorize(owner, sandbox, "gitlab")

    assert (saved.status_code, answer.status_code) == (303, 303)
    assert lost.connection.state == ConnectionState.CONNECTED
    assert lost.demand()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_key_that_is_found_again_is_put_back_and_the_connection_lives_on(lost: Paired, tmp_path: Path) -> None:
    added = add_keys(lost.runtime, tmp_path / "kept.json")

    assert added == KeyRing.from_file(tmp_path / "kept.json").key_ids
    assert lost.runtime.vault.ring.key_ids[1:] == added
    assert lost.connection.state == ConnectionState.CONNECTED
    assert lost.credential.state == CredentialState.ALIVE
    assert lost.demand()
    assert prepare(lost.runtime.settings).unreadable == ()
    with lost.runtime.database.reading() as session:
        actions = list(session.exec(select(AuditEvent.action)))
    # The key concerns everyone: each of the two organizations finds it in its own log.
    assert (actions.count("key.put_back"), actions.count("connection.readable")) == (2, 1)


@pytest.fixture
def late(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, tmp_path: Path) -> tuple[Paired, Settings]:
    """A connection on a machine that changed its key, and another machine that has the key file from before."""
    works = pair(runtime, sandbox, cast.owner.organization_id)
    with runtime.database.transaction() as session:
        verify_ring(session, runtime.vault.ring)
    there = runtime.settings.model_copy(
        update={
            "data_dir": tmp_path / "there",
            "key_file": tmp_path / "there.json",
            "database_url": runtime.settings.resolved_database_url,
        }
    )
    shutil.copy(runtime.settings.resolved_key_file, there.resolved_key_file)
    rotate(runtime)
    return works, there


def test_machine_with_an_old_key_file_tells_so_and_takes_nothing_from_the_others(
    late: tuple[Paired, Settings],
) -> None:
    works, there = late

    prepared = prepare(there)

    assert [str(item) for item in prepared.unreadable] == ["Gitlab: enter the Secret and authorize again"]
    assert works.credential.state == CredentialState.ALIVE
    assert works.connection.state == ConnectionState.CONNECTED
    assert works.demand()


def test_next_start_with_the_right_key_mends_what_a_machine_without_it_marked(late: tuple[Paired, Settings]) -> None:
    works, there = late
    prepare(there, without_key=True)
    assert works.credential.state == CredentialState.UNREADABLE

    shutil.copy(works.runtime.settings.resolved_key_file, there.resolved_key_file)
    prepared = prepare(there)

    assert prepared.unreadable == ()
    assert works.credential.state == CredentialState.ALIVE
    assert works.connection.state == ConnectionState.CONNECTED
    assert works.demand()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_secret_that_can_be_read_again_leaves_no_card_behind(late: tuple[Paired, Settings]) -> None:
    works, there = late
    with works.runtime.database.transaction() as session:
        session.execute(delete(CredentialEvent))
        session.execute(delete(Credential))
    prepared = prepare(there, without_key=True)
    assert [str(item) for item in prepared.unreadable] == ["Gitlab: enter the Secret again"]
    assert works.connection.attention

    prepare(works.runtime.settings)

    assert works.connection.attention is None
    assert works.connection.state == ConnectionState.CONNECTED


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_start_without_the_key_waits_for_a_credential_that_is_being_changed(late: tuple[Paired, Settings]) -> None:
    works, there = late
    runtime = at(there, works.runtime.database, works.sandbox)
    with ThreadPoolExecutor(1) as pool:
        with runtime.database.transaction() as session:
            credential = lock_credential(session, works.connection_id)
            marking = pool.submit(note_unreadable, runtime, mark=True)
            until(lambda: is_waited_for(runtime))
            # The other order of the two rows would be a deadlock here.
            need_attention(session, works.connection_id, VERDICTS[CredentialState.REVOKED])
            credential.state = CredentialState.REVOKED
        assert len(marking.result()) == 1

    assert works.credential.state == CredentialState.REVOKED


def is_waited_for(runtime: Runtime) -> bool:
    """Return whether a process waits for a lock of another one."""
    with runtime.database.engine.connect() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


@pytest.mark.parametrize("backend", ["sqlite"])
def test_wrong_key_is_refused_with_and_without_the_option(runtime: Runtime, app: Flask) -> None:
    path = runtime.settings.resolved_key_file
    path.unlink()
    KeyRing.create_file(path)
    wrong = path.read_bytes()

    ended = subprocess.run(
        [sys.executable, "-m", "portal", "serve", "--without-key", "--bind", "127.0.0.1:0"],
        env={**os.environ, "GATEHOUSE_DATA_DIR": str(runtime.settings.data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 78
    assert "The key ring holds none of the keys this database was written with." in ended.stderr
    assert ended.stdout == ""
    assert path.read_bytes() == wrong
