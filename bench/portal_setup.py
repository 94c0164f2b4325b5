"""A portal on a fresh SQLite database, with one connection that is already authorized."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal import build_runtime
from portal.accounts.models import Organization
from portal.connections.models import Connection, ConnectionState
from portal.connections.steps import Step
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.net import origin_of
from portal.operation.start import bring_up_to_date
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Place, Secret


@contextmanager
def fresh_runtime(sandbox_url: str = "", database_url: str = "", base_url: str = "") -> Iterator[Runtime]:
    """A migrated runtime in a temporary folder, on SQLite by default; it may reach the sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), allow_http=True, sandbox_origin=sandbox_url or None, database_url=database_url
        )
        if base_url:
            settings = settings.model_copy(update={"base_url": base_url})
        KeyRing.create_file(settings.resolved_key_file)
        runtime = build_runtime(settings)
        bring_up_to_date(runtime.database)
        yield runtime
        runtime.database.close()


def new_organization(runtime: Runtime) -> int:
    """Store an organization; return its id."""
    with runtime.database.transaction() as session:
        organization = Organization(name="Example Corp")
        session.add(organization)
        session.flush()
        assert organization.id is not None
        return organization.id


def authorized_connection(runtime: Runtime, url: str, token: str) -> int:
    """Store a connection with a credential, as a finished walkthrough leaves it; return its id."""
    with runtime.database.transaction() as session:
        organization = Organization(name="Example Corp")
        session.add(organization)
        session.flush()
        assert organization.id is not None
        connection = Connection(
            organization_id=organization.id,
            slug="bench",
            display_name="GitLab",
            service_username="gatehouse",
            external_url=url,
            api_url=url,
            state=ConnectionState.CONNECTED,
            steps_done=list(Step),
            authorized_at=utc_now(),
        )
        session.add(connection)
        session.flush()
        assert connection.id is not None
        credential = Credential(
            connection_id=connection.id, origin=origin_of(url), gitlab_user_id=1, gitlab_username="gatehouse"
        )
        session.add(credential)
        session.flush()
        assert credential.id is not None
        place = Place("credential", credential.id, "access_token_sealed")
        credential.access_token_sealed = runtime.vault.seal(Secret(token), place, credential.origin)
        return connection.id
