from __future__ import annotations

import json

from pydantic import SecretStr
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.connections.models import Application, Connection
from portal.credentials.models import Credential, CredentialEvent
from portal.errors import Card
from portal.jobs.models import Job
from portal.runtime import Runtime
from portal.vault import Place, Secret
from tests.health.conftest import Watched
from tests.support.visitor import Visitor

BUNDLE = "/connections/gitlab/health/support-bundle"


def canary(number: int) -> str:
    return f"c4n4ry{number:02d}" + "9f" * 20


def plant(watched: Watched) -> list[str]:
    """Put secrets everywhere a secret may be, and into foreign texts that end up in rows."""
    runtime, names = watched.runtime, [canary(number) for number in range(9)]
    update = {
        "smtp_host": "mail.example.com",
        "smtp_username": names[0],
        "smtp_password": SecretStr(names[1]),
        "database_url": f"postgresql://gatehouse:{names[2]}@db.example.com/gatehouse",
    }
    object.__setattr__(runtime, "settings", runtime.settings.model_copy(update=update))
    with runtime.database.transaction() as session:
        credential = session.exec(select(Credential)).one()
        for column, name in (("access_token_sealed", names[3]), ("refresh_token_sealed", names[4])):
            place = Place("credential", credential.id, column)
            setattr(credential, column, runtime.vault.seal(Secret(name), place, credential.origin))
        credential.failure = _card(names[4])
        session.add(CredentialEvent(credential_id=credential.id, kind="refreshed", generation=2, reason=names[3]))
        application = Application(connection_id=watched.connection_id, client_id="client", origin=credential.origin)
        session.add(application)
        session.flush()
        place = Place("application", application.id, "client_secret_sealed")
        application.client_secret_sealed = runtime.vault.seal(Secret(names[5]), place, credential.origin)
        application.client_secret_hint = names[5][-4:]
        connection = session.get_one(Connection, watched.connection_id)
        connection.ca_certificate = f"-----BEGIN CERTIFICATE-----\n{names[6]}"
        connection.proxy = f"{names[7]}.proxy.example.com:3128"
        connection.attention = _card(names[3])
        session.add(
            Job(
                organization_id=connection.organization_id,
                name="test.nothing",
                title=f"Failed with {names[3]}",
                subject=f"connection:{connection.id}",
                lane="test",
                failure=_card(names[5]),
                args={"secret": names[8]},
            )
        )
    return names


def _card(word: str) -> dict:
    return Card("odd", {"sentence": f"Sentence {word}"}, words=f"token {word}").to_json()


def test_bundle_has_everything_but_secrets(watched: Watched, owner: Visitor) -> None:
    watched.look()
    names = plant(watched)

    answer = owner.post(BUNDLE)

    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="gatehouse-support-gitlab-')
    assert [name for name in names if name in answer.text] == []
    found = json.loads(answer.text)
    assert set(found) >= {
        "gatehouse",
        "connection",
        "application",
        "credential",
        "history",
        "checks",
        "incidents",
        "jobs",
    }
    assert found["history"][0]["kind"] == "refreshed"
    assert found["jobs"][0]["name"] == "test.nothing"
    assert found["connection"]["has_ca_certificate"]
    assert len(found["checks"]) == 14
    assert "sealed" not in answer.text


def test_what_an_earlier_version_stored_of_gitlab_is_clean_and_short(watched: Watched, owner: Visitor) -> None:
    def spoil(connection: Connection) -> None:
        connection.version_seen = "18.4\u202e\x1b[31m\r\n" + "x" * 400_000

    watched.change(spoil)

    answer = owner.post(BUNDLE)

    version = json.loads(answer.text)["connection"]["version_seen"]
    assert version.startswith("18.4⟨U+202E⟩\ufffd[31m  ")
    assert len(version) <= 2000


def test_taking_it_is_in_the_audit_log_and_only_for_people_who_manage(
    watched: Watched, runtime: Runtime, administrator: Visitor, auditor: Visitor
) -> None:
    assert auditor.post(BUNDLE).status_code == 404
    administrator.post(BUNDLE)

    with runtime.database.reading() as session:
        rows = session.exec(select(AuditEvent).where(AuditEvent.action == "support_bundle.taken")).all()
    assert len(rows) == 1
