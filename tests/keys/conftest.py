"""These tests run on both databases: each has to get the compare-and-swap right."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from portal import CAPABILITIES
from portal.accounts.models import Organization
from portal.connections.models import Application, Connection
from portal.credentials.models import Credential
from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Place, Secret, Vault
from portal.vault.keyring import KEYS_VARIABLE

ORIGIN = "https://gitlab.example.com"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def key_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its own key file: these tests change it."""
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    KeyRing.create_file(settings.resolved_key_file)
    return settings.resolved_key_file


@pytest.fixture
def runtime(settings: Settings, database: Database, key_file: Path) -> Runtime:
    """A runtime that follows its key file, as a process of the portal does."""
    return runtime_on(settings, database)


def runtime_on(settings: Settings, database: Database) -> Runtime:
    """Return the runtime of another process with the same settings."""
    path = settings.resolved_key_file
    return Runtime(
        settings, database, Vault(KeyRing.from_file(path), path), OutboundClient(NetworkPolicy()), CAPABILITIES
    )


def add_secrets(runtime: Runtime, count: int) -> dict[Place, str]:
    """Store connections with an application and a token pair each; return every secret by its place."""
    stored: dict[Place, str] = {}
    with runtime.database.transaction() as session:
        organization = Organization(name="Example Corp")
        session.add(organization)
        session.flush()
        for number in range(count):
            name = f"GitLab {number}"
            connection = Connection(organization_id=organization.id, slug=f"gitlab-{number}", display_name=name)
            session.add(connection)
            session.flush()
            credential = Credential(
                connection_id=connection.id, origin=ORIGIN, gitlab_user_id=1, gitlab_username="gatehouse"
            )
            application = Application(connection_id=connection.id, client_id="a" * 64, origin=ORIGIN)
            for row, column in (
                (credential, "access_token_sealed"),
                (credential, "refresh_token_sealed"),
                (application, "client_secret_sealed"),
            ):
                session.add(row)
                session.flush()
                place = Place(row.__tablename__, row.id, column)
                stored[place] = f"{column} {number}"
                setattr(row, column, runtime.vault.seal(Secret(stored[place]), place, ORIGIN))
    return stored


def open_all(runtime: Runtime) -> dict[Place, str]:
    """Open every stored secret of these tables."""
    found: dict[Place, str] = {}
    with runtime.database.reading() as session:
        for model, columns in (
            (Credential, ("access_token_sealed", "refresh_token_sealed")),
            (Application, ("client_secret_sealed",)),
        ):
            for row in session.exec(select(model)):
                for column in columns:
                    place = Place(model.__tablename__, row.id, column)  # type: ignore[attr-defined]
                    found[place] = runtime.vault.open(getattr(row, column), place, ORIGIN).reveal()
    return found
