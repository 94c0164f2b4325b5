"""Environments of an enabled repository: list, create, stop and delete them at GitLab, which alone keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import ConnectionState
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.errors import Card, Conflict, InvalidInput, NotFound, Surface
from portal.gitlab.answers import GitLabError, GitLabNotFound, UnexpectedStatus
from portal.gitlab.environments import Environment, EnvironmentClient
from portal.net import OutboundError, Purpose
from portal.repositories.selection import Row, get_rows
from portal.runtime import Runtime

# docs.gitlab.com, user/permissions: who may create, stop and delete environments.
DEVELOPER = 30
# docs.gitlab.com, ci/environments: the tiers, in the order of the page.
TIERS = ("production", "staging", "testing", "development", "other")
# Each costs a request to GitLab, so of the others only the state is shown.
WITH_DEPLOYMENT = 20
MAX_NAME = 255


class NotAsked(Conflict):
    """GitLab did not answer, or refused."""


@dataclass(frozen=True)
class Line:
    """One environment as the page shows it."""

    environment: Environment
    # Whether its deployment was asked for.
    is_whole: bool

    @property
    def is_stopped(self) -> bool:
        """Whether it may be deleted."""
        return self.environment.state == "stopped"

    @property
    def state(self) -> tuple[str, str, str]:
        """Its tone, icon and word."""
        last = self.environment.last_deployment
        if self.is_stopped:
            return "neutral", "player-stop", "Stopped"
        if self.environment.state == "stopping":
            return "info", "loader", "Stopping"
        if last and last.status == "failed":
            return "fail", "circle-x", "Deployment failed"
        if last and last.status in {"running", "created", "blocked"}:
            return "info", "loader", "Deploying"
        return "pass", "circle-check", "Running"

    @property
    def url(self) -> str:
        """Where it runs; empty unless it may become a link."""
        url = str(self.environment.external_url or "")
        return url if url.startswith(("https://", "http://")) else ""

    @property
    def host(self) -> str:
        """Where it runs, without what every address has."""
        return self.url.partition("//")[2].strip("/")


@dataclass(frozen=True)
class Found:
    """The environments of a repository; `card` says why there are none to show."""

    lines: list[Line]
    card: Card | None = None

    @property
    def stopped(self) -> list[Line]:
        """Those that may be deleted."""
        return [line for line in self.lines if line.is_stopped]


def find_enabled(runtime: Runtime, principal: Principal, repository_id: int) -> Row:
    """Return an enabled repository.

    Raises:
        NotFound: there is none with this id that this person may see, or it is not enabled.
    """
    with runtime.database.reading() as session:
        rows = get_rows(session, principal, [repository_id])
    if not rows or rows[0].enablement is None or rows[0].connection.state == ConnectionState.DISCONNECTED:
        raise NotFound
    return rows[0]


def can_change(row: Row) -> bool:
    """Return whether the service user's role is enough, as far as it is known."""
    return row.repository.access_level is None or row.repository.access_level >= DEVELOPER


def list_environments(runtime: Runtime, row: Row) -> Found:
    """Return the environments, those for production first, as GitLab has them now."""
    project_id = row.repository.gitlab_project_id
    try:
        with asking(runtime, row) as client:
            found = sorted(client.environments(project_id), key=_order)
            lines = []
            for number, one in enumerate(found):
                is_whole = number < WITH_DEPLOYMENT
                try:
                    lines.append(Line(client.environment(project_id, one.id) if is_whole else one, is_whole))
                except GitLabNotFound:
                    continue  # Deleted since.
            return Found(lines)
    except (GitLabError, OutboundError) as error:
        return Found([], error.card().at(Surface.PAGE))
    except AccessUnavailable as error:
        return Found([], error.card.at(Surface.PAGE))


def create_environment(
    runtime: Runtime, principal: Principal, repository_id: int, name: str, external_url: str, tier: str
) -> None:
    """Create an environment.

    Raises:
        NotFound: as `find_enabled`. InvalidInput: GitLab does not accept it.
    """
    wrong = {}
    if not name:
        wrong["name"] = "Enter a name."
    if external_url and not external_url.startswith(("https://", "http://")):
        wrong["external_url"] = "Enter an address that begins with https://."
    if tier and tier not in TIERS:
        wrong["tier"] = "Choose one of the tiers."
    if wrong:
        raise InvalidInput(next(iter(wrong.values())), field_errors=wrong)
    row = record_request(runtime, principal, repository_id, "environment.creation_requested", name, tier=tier)
    try:
        with changing(runtime, row, "It was not created.") as client:
            client.create_environment(row.repository.gitlab_project_id, name, external_url, tier)
    except (UnexpectedStatus, GitLabNotFound) as error:
        sentence = f"GitLab does not accept it: {error.words}."
        raise InvalidInput(sentence, field_errors={"name": sentence}) from None


def stop_environment(runtime: Runtime, principal: Principal, repository_id: int, environment_id: int) -> str:
    """Stop an environment; return its name."""
    return _change(runtime, principal, repository_id, environment_id, "stop")


def delete_environment(runtime: Runtime, principal: Principal, repository_id: int, environment_id: int) -> str:
    """Delete a stopped environment; return its name."""
    return _change(runtime, principal, repository_id, environment_id, "delete")


def _change(runtime: Runtime, principal: Principal, repository_id: int, environment_id: int, what: str) -> str:
    row = find_enabled(runtime, principal, repository_id)
    project_id = row.repository.gitlab_project_id
    done, action = ("stopped", "stop_requested") if what == "stop" else ("deleted", "deletion_requested")
    try:
        with changing(runtime, row, f"It was not {done}.") as client:
            one = client.environment(project_id, environment_id)
            if what == "delete" and one.state != "stopped":
                raise Conflict(f"{one.name} is not stopped. Stop it first.")
            record_request(runtime, principal, repository_id, f"environment.{action}", one.name)
            if what == "delete":
                client.delete_environment(project_id, environment_id)
            else:
                client.stop_environment(project_id, environment_id)
    except GitLabNotFound:
        raise Conflict("GitLab no longer has this environment.") from None
    except UnexpectedStatus as error:
        raise Conflict(f"It was not {done}. GitLab says: {error.words}.") from None
    return one.name


def record_request(
    runtime: Runtime, principal: Principal, repository_id: int, action: str, name: str, **details: str
) -> Row:
    """Record what GitLab is about to be asked for, if this person may ask for it; return the repository.

    Raises:
        NotFound: as `find_enabled`. Conflict: the service user's role is too low.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        rows = get_rows(session, principal, [repository_id])
        if not rows or rows[0].enablement is None:
            raise NotFound
        row = rows[0]
        if not can_change(row):
            raise Conflict("The service user needs the role Developer in this project.")
        path = row.repository.path_with_namespace
        target = audit.Target(principal.organization_id, "environment", row.repository.id, audit.Foreign(name))
        audit.record(session, principal.actor, action, target, repository=audit.Foreign(path), **details)
        return row


@contextmanager
def asking(runtime: Runtime, row: Row) -> Iterator[EnvironmentClient]:
    """Yield a client that acts as the connection's service user."""
    with open_host_session(runtime, row.connection, purpose=Purpose.PEOPLE) as http:
        yield EnvironmentClient(http, AccessSource(runtime, row.connection.id or 0, "environments"), tries=1)


@contextmanager
def changing(runtime: Runtime, row: Row, failed: str) -> Iterator[EnvironmentClient]:
    """Yield the same client for a change; what GitLab does not accept is left to the caller.

    Raises:
        NotAsked: GitLab refused, or could not be asked.
    """
    try:
        with asking(runtime, row) as client:
            yield client
    except (UnexpectedStatus, GitLabNotFound):
        raise
    except (GitLabError, OutboundError) as error:
        raise NotAsked(f"{failed} {error.card().at(Surface.PAGE).sentence}") from None
    except AccessUnavailable as error:
        raise NotAsked(f"{failed} {error.card.at(Surface.PAGE).sentence}") from None


def _order(one: Environment) -> tuple[bool, int, str]:
    rank = TIERS.index(one.tier) if one.tier in TIERS else len(TIERS)
    return one.state == "stopped", rank, one.name
