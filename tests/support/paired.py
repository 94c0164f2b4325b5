"""A connection with a real token pair from the sandbox, as a finished authorization leaves it, at any age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import select

from portal.connections.models import Application, Connection, ConnectionState, end_attention, way_of
from portal.connections.steps import Step
from portal.credentials import AccessUnavailable, RefreshTimes, demand_access
from portal.credentials.methods import HEALED_BY_REFRESH
from portal.credentials.models import Credential, CredentialEvent, CredentialState
from portal.credentials.store import forget_doubts, give_back_lease, lock_credential, seal_pair
from portal.db import utc_now
from portal.net import origin_of
from portal.runtime import Runtime
from portal.sandbox.oauth.rows import Token
from portal.sandbox.testing import RunningSandbox
from portal.vault import Place, Secret

SCOPES = ("read_api", "read_user", "read_repository")
# A test waits for no cooldown and for no lease: what matters is the order of things, not how long they take. So the
# times are long enough for a machine that is busy with other tests.
QUICK = RefreshTimes(lease=40.0, commit=8.0, request=28.0, probe=15.0, slow_probe=15.0, patience=50.0)


@dataclass
class Paired:
    """One connected connection and its sandbox."""

    runtime: Runtime
    sandbox: RunningSandbox
    connection_id: int
    application_id: int

    @property
    def credential(self) -> Credential:
        with self.runtime.database.reading() as session:
            return session.exec(select(Credential).where(Credential.connection_id == self.connection_id)).one()

    @property
    def connection(self) -> Connection:
        with self.runtime.database.reading() as session:
            return session.get_one(Connection, self.connection_id)

    @property
    def application(self) -> Application:
        with self.runtime.database.reading() as session:
            return session.exec(select(Application).where(Application.connection_id == self.connection_id)).one()

    @property
    def events(self) -> list[CredentialEvent]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(CredentialEvent).order_by(CredentialEvent.id)))

    @property
    def issued(self) -> list[Token]:
        """Every pair GitLab ever issued for the application, oldest first."""
        return self.sandbox.world.oauth.tokens(application_id=self.application_id)

    @property
    def token_requests(self) -> int:
        return self.sandbox.requests.count("/oauth/token")

    @property
    def spent_posts(self) -> int:
        """How often a refresh token was posted that GitLab had already used: its answer was `invalid_grant`."""
        return sum(seen.status == 400 for seen in self.sandbox.requests.all("/oauth/token"))

    def demand(self, times: RefreshTimes = QUICK) -> str:
        try:
            return demand_access(self.runtime, self.connection_id, reason="test", times=times).token.reveal()
        except AccessUnavailable as error:
            asked = [(seen.method, seen.path, seen.status) for seen in self.sandbox.requests.all()]
            error.add_note(f"The sandbox was asked: {asked}")
            raise

    def refusal(self, times: RefreshTimes = QUICK) -> AccessUnavailable:
        """Return why there is no access."""
        try:
            demand_access(self.runtime, self.connection_id, reason="test", times=times)
        except AccessUnavailable as error:
            return error
        raise AssertionError("access was given")

    def change(self, **values: object) -> None:
        """Change columns of the credential as time would."""
        with self.runtime.database.transaction() as session:
            credential = session.exec(select(Credential).where(Credential.connection_id == self.connection_id)).one()
            for name, value in values.items():
                setattr(credential, name, value)

    def make_due(self) -> None:
        """Make the planned refresh due now, with the access token still alive."""
        self.change(refresh_at=utc_now() - timedelta(seconds=1), cooldown_until=None)

    def make_old(self, seconds_left: float, *, due_before: float = 0.0) -> None:
        """Give the access token this many seconds left, here and at GitLab, with its refresh due this long before."""
        ends_at = utc_now() + timedelta(seconds=seconds_left)
        token = self.issued[-1]
        token.created_at = ends_at - timedelta(seconds=token.expires_in_seconds)
        self.change(expires_at=ends_at, refresh_at=ends_at - timedelta(seconds=due_before), cooldown_until=None)

    def let_rest_pass(self) -> None:
        """End every pause and lease."""
        self.change(cooldown_until=None, lease_until=None)

    def authorize_again(self) -> None:
        """Store a new pair of GitLab's, as a person's authorization does, with its whole life before it."""
        user = self.sandbox.world.user_by_username("gatehouse")
        assert user is not None
        token = self.sandbox.world.oauth.create_token(self.application_id, user.id, SCOPES)
        with self.runtime.database.transaction() as session:
            credential = lock_credential(session, self.connection_id)
            assert credential is not None
            credential.generation += 1
            credential.expires_at = utc_now() + timedelta(seconds=token.expires_in_seconds)
            credential.refresh_at = credential.expires_at - timedelta(seconds=400)
            forget_doubts(credential)
            give_back_lease(credential)
            seal_pair(self.runtime, credential, Secret(token.access_token), Secret(token.refresh_token))
            end_attention(session.get_one(Connection, self.connection_id), HEALED_BY_REFRESH)

    def stored_pair(self) -> tuple[str, str]:
        """Open what is stored."""
        found = self.credential
        halves = []
        for column in ("access_token_sealed", "refresh_token_sealed"):
            place = Place("credential", found.id, column)
            halves.append(self.runtime.vault.open(getattr(found, column), place, found.origin).reveal())
        return halves[0], halves[1]

    def stored_token_is_dead(self) -> bool:
        """Whether GitLab has spent the stored pair, so that a verdict about it is true."""
        stored = self.sandbox.world.oauth.find_token(self.stored_pair()[0])
        return stored is None or stored.is_revoked

    def holds_the_last_pair(self) -> bool:
        """Whether the stored pair is the last one GitLab issued."""
        last = self.issued[-1]
        return self.stored_pair() == (last.access_token, last.refresh_token) and not last.is_revoked


def pair(
    runtime: Runtime,
    sandbox: RunningSandbox,
    organization_id: int,
    *,
    slug: str = "gitlab",
    scopes: tuple[str, ...] = SCOPES,
) -> Paired:
    """Make an application and a pair in the sandbox, and store both as an authorization does."""
    user = sandbox.world.user_by_username("gatehouse")
    uri = f"{runtime.settings.base_url}/oauth/callback/{slug}"
    application, secret = sandbox.world.oauth.create_application("Gatehouse", uri, scopes)
    token = sandbox.world.oauth.create_token(application.id, user.id, scopes)
    with runtime.database.transaction() as session:
        connection = Connection(
            organization_id=organization_id,
            slug=slug,
            display_name=slug.title(),
            external_url=sandbox.url,
            api_url=sandbox.url,
            state=ConnectionState.CONNECTED,
            service_username="gatehouse",
            steps_done=list(Step),
            authorized_at=utc_now(),
        )
        connection.authorized_via = way_of(connection)
        session.add(connection)
        session.flush()
        kept = Application(connection_id=connection.id, client_id=application.uid, origin=origin_of(sandbox.url))
        credential = Credential(
            connection_id=connection.id,
            origin=origin_of(sandbox.url),
            scopes=list(scopes),
            gitlab_user_id=user.id,
            gitlab_username="gatehouse",
            expires_at=utc_now() + timedelta(seconds=7200),
            refresh_at=utc_now() + timedelta(seconds=6800),
            state=CredentialState.ALIVE,
        )
        session.add_all([kept, credential])
        session.flush()
        seal(runtime, kept, "application", "client_secret_sealed", str(secret))
        seal(runtime, credential, "credential", "access_token_sealed", token.access_token)
        seal(runtime, credential, "credential", "refresh_token_sealed", token.refresh_token)
        return Paired(runtime, sandbox, connection.id, application.id)


def seal(runtime: Runtime, row: Application | Credential, table: str, column: str, text: str) -> None:
    """Seal a text into a column of a stored row."""
    setattr(row, column, runtime.vault.seal(Secret(text), Place(table, row.id, column), row.origin))
