"""A connection that is already authorized, as a finished walkthrough leaves it."""

from __future__ import annotations

from portal.connections.models import Connection, ConnectionState, Method
from portal.connections.steps import Step
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.net import NetworkPolicy, OutboundClient, origin_of, parse_address
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.vault import Place, Secret
from tests.support.people import Actor
from tests.support.walkthrough import principal_of


def connect(
    runtime: Runtime,
    sandbox: RunningSandbox,
    actor: Actor,
    *,
    slug: str = "gitlab",
    enqueue: bool = False,
    method: Method = Method.OAUTH,
) -> int:
    """Store a connection with a token of the sandbox's service user; return its id."""
    with runtime.database.transaction() as session:
        connection = Connection(
            organization_id=actor.organization_id,
            slug=slug,
            display_name=slug.title(),
            method=method,
            external_url=sandbox.url,
            api_url=sandbox.url,
            state=ConnectionState.CONNECTED,
            service_username="gatehouse",
            steps_done=list(Step),
            authorized_at=utc_now(),
        )
        session.add(connection)
        session.flush()
        token = sandbox.access_token("gatehouse") if method == Method.OAUTH else sandbox.token("gatehouse")
        _add_credential(runtime, session, connection, token)
        if enqueue:
            enqueue_catalogue_read(session, connection, principal_of(runtime, actor).actor)
        return connection.id


def let_through(runtime: Runtime, sandbox: RunningSandbox) -> None:
    """Let the runtime reach another sandbox than the fixture's."""
    policy = NetworkPolicy(exempt=parse_address(sandbox.url, allow_http=True), own_origin=runtime.settings.base_url)
    object.__setattr__(runtime, "outbound", OutboundClient(policy))


def _add_credential(runtime: Runtime, session, connection: Connection, token: str) -> None:
    credential = Credential(
        connection_id=connection.id,
        method=connection.method,
        origin=origin_of(connection.api_url),
        scopes=["read_api", "read_user", "read_repository"],
        gitlab_user_id=20,
        gitlab_username="gatehouse",
    )
    session.add(credential)
    session.flush()
    place = Place("credential", credential.id, "access_token_sealed")
    credential.access_token_sealed = runtime.vault.seal(Secret(token), place, credential.origin)
