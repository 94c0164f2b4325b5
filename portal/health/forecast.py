"""What an upgrade of a GitLab changes for one connection (docs/gitlab.md, "Differences between versions")."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from portal.connections.models import Connection, Method
from portal.credentials.store import get_credential
from portal.gitlab.identification import GRANULAR, Version, parse_version
from portal.gitlab.version_changes import NEWEST, Facts, Forecast, changes_between, later_versions
from portal.runtime import Runtime


@dataclass(frozen=True)
class Upgrade:
    """What the page shows; without a forecast there is no later version, or today's is not known."""

    now: Version | None
    then: Version | None
    choices: dict[int, list[Version]]
    forecast: Forecast | None


def forecast_upgrade(runtime: Runtime, connection: Connection, wanted: str) -> Upgrade:
    """Return what changes up to the wanted version, or up to the newest one if that is not a later release."""
    now = parse_version(connection.version_seen)
    if now is None or not (choices := later_versions(now)):
        return Upgrade(now, None, {}, None)
    then = parse_version(wanted)
    if then is None or not any(then in versions for versions in choices.values()):
        then = NEWEST
    with runtime.database.reading() as session:
        return Upgrade(now, then, choices, changes_between(now, then, _facts_of(session, connection)))


def _facts_of(session: Session, connection: Connection) -> Facts:
    assert connection.id is not None
    credential = get_credential(session, connection.id)
    details = (credential.token_details if credential else None) or {}
    scopes = frozenset(credential.scopes) if credential and credential.are_scopes_known else None
    if details.get("is_fine_grained"):
        scopes = frozenset({GRANULAR})
    return Facts(
        is_token=connection.method == Method.ACCESS_TOKEN,
        scopes=scopes,
        is_endless=credential.expires_at is None if credential and details.get("is_expiry_known", True) else None,
        services=frozenset(connection.services),
        hooks_wanted=connection.hooks_wanted,
        edition=connection.edition_seen,
        token_kind=details.get("kind", ""),
    )
