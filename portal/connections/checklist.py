"""Step 2's live checklist: run it, store the results, and say whether the address may be trusted with a Secret."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session

from portal.actor import Principal
from portal.connections.checks import Check, Checklist, CheckState
from portal.connections.limits import CHECKS, count_try
from portal.connections.models import Connection, way_of
from portal.connections.probe import look_at, version_check
from portal.connections.steps import Step
from portal.connections.store import get_connection_for_admin, mark_step_done
from portal.errors import Card, NotFound
from portal.runtime import Runtime

__all__ = [
    "Check",
    "CheckState",
    "Checklist",
    "announced_issuer",
    "announces_issuer",
    "find_hindrance",
    "look_at",
    "note_announcement",
    "run_checklist",
    "stored_checklist",
    "supported_scopes",
    "version_check",
]


def run_checklist(runtime: Runtime, principal: Principal, slug: str) -> Checklist:
    """Check the instance and store the results.

    Raises:
        RateLimited: the organization checked addresses too often in the last minute.
        NotFound: the draft has been discarded.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, CHECKS)
    found = look_at(runtime, connection)
    with runtime.database.transaction() as session:
        _keep(session, connection, found)
    return found


def find_hindrance(runtime: Runtime, principal: Principal, connection: Connection) -> Card | None:
    """Return why no Secret may be sent to the current address; None once it was found to be a GitLab (S53).

    Raises:
        RateLimited, NotFound: as `run_checklist`, which runs if the address or the way to it changed.
    """
    found = stored_checklist(connection)
    if found is None or not found.is_passed:
        found = run_checklist(runtime, principal, connection.slug)
    return found.failure


def stored_checklist(connection: Connection) -> Checklist | None:
    """Return the results of the last run; None if the address has changed since, or nothing ran."""
    data = connection.checks or {}
    if "checks" not in data:
        return None
    found = Checklist.from_json(data)
    if not connection.version_seen:
        return found
    # GitLab shows its version only to authenticated users, so after the authorization: this line uses what is known
    # now.
    checks = [
        version_check(connection) if check.key == "version" and found.is_answering else check for check in found.checks
    ]
    return replace(found, checks=checks)


def announces_issuer(connection: Connection) -> bool:
    """Return whether GitLab, when it was last asked, said that its callbacks name their issuer (RFC 9207 §3)."""
    return bool((connection.checks or {}).get("announces_issuer"))


def announced_issuer(connection: Connection) -> str:
    """Return the issuer GitLab last named, exactly as written (RFC 9207 §2.4); empty if it never did."""
    return str((connection.checks or {}).get("issuer") or "")


def supported_scopes(connection: Connection) -> list[str]:
    """Return the scopes that GitLab said it has at the last check in step 2; empty if it did not say."""
    return list((connection.checks or {}).get("scopes_supported") or ())


def note_announcement(connection: Connection, announces: bool | None, issuer: str) -> None:
    """Store what a later check learned about it; None keeps what is known, so that silence never loosens the check."""
    if connection.checks is not None and announces is not None:
        connection.checks = {**connection.checks, "announces_issuer": announces, "issuer": issuer}


def _keep(session: Session, looked_at: Connection, found: Checklist) -> None:
    connection = session.get(Connection, looked_at.id, with_for_update=True)
    if connection is None:
        raise NotFound("The draft has been discarded.")
    if way_of(connection) != way_of(looked_at):
        return  # Edited since: the results are about another address.
    known = announces_issuer(connection), announced_issuer(connection)
    scopes = found.scopes_supported or supported_scopes(connection)
    connection.checks = replace(found, scopes_supported=scopes).to_json()
    if found.announces_issuer is None:
        note_announcement(connection, *known)
    if found.is_passed:
        mark_step_done(session, connection, Step.INSTANCE)
