"""What credentials bring to the portal."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from portal.capability import Capability, PeriodicJob
from portal.connections.models import Connection
from portal.credentials.jobs import has_due_credentials, keep_alive, revoke_retired, thin_recorder
from portal.credentials.models import Credential, CredentialEvent, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED, due_revocations
from portal.db import delete_of_connection, values_of

BUNDLED_EVENTS = 500
BUNDLED = (
    *("method", "origin", "scopes", "expires_at", "gitlab_user_id", "gitlab_username", "generation", "obtained_at"),
    *("state", "refresh_at", "refreshed_at", "lease_owner", "lease_until", "intent_at", "failures"),
    *("cooldown_until", "failure", "failed_at", "token_details", "is_rotated"),
)
BUNDLED_EVENT = ("at", "kind", "generation", "process", "reason", "details")


def erase(session: Session, connection_id: int) -> None:
    """Delete a connection's credential with its history, and the tokens it used to have."""
    own = select(Credential.id).where(Credential.connection_id == connection_id)
    session.execute(delete(CredentialEvent).where(col(CredentialEvent.credential_id).in_(own)))
    delete_of_connection(Credential, RetiredToken)(session, connection_id)


def bundle(session: Session, connection: Connection) -> dict[str, Any]:
    """Return the credential and its history, the newest first, for the support bundle."""
    credential = session.exec(select(Credential).where(Credential.connection_id == connection.id)).first()
    if credential is None:
        return {"credential": None, "history": []}
    events = select(CredentialEvent).where(CredentialEvent.credential_id == credential.id)
    newest = session.exec(events.order_by(col(CredentialEvent.id).desc()).limit(BUNDLED_EVENTS))
    return {"credential": values_of(credential, BUNDLED), "history": [values_of(row, BUNDLED_EVENT) for row in newest]}


CAPABILITY = Capability(
    name="credentials",
    views="portal.credentials.views",
    tables=(Credential, CredentialEvent, RetiredToken),
    jobs=(
        PeriodicJob("credentials.keep_alive", keep_alive, "Renew tokens before they end", 30, has_due_credentials),
        PeriodicJob(
            REVOKE_RETIRED,
            revoke_retired,
            "Revoke tokens that are no longer used",
            60,
            lambda runtime: bool(due_revocations(runtime)),
        ),
        PeriodicJob("credentials.thin", thin_recorder, "Delete old events of the flight recorder", 86_400),
    ),
    erases=erase,
    bundle=bundle,
    actions={
        "credential.lost": "lost the access token of {object}: GitLab's answer never arrived",
        "credential.refreshed": "renewed the access token of {object}",
        "credential.revoked": "learned that GitLab no longer accepts the token of {object}",
        "credential.rotation_chosen": "chose whether the access token of {object} is rotated before it expires",
        "credential.rotation_given_up": "could not rotate the access token of {object}",
        "credential.rotation_started": "started to rotate the access token of {object}",
        "credential.secret_changed": "found that GitLab refuses the Secret of {object}",
        "credential.unreadable": "can no longer read the access token of {object}",
        "connection.token_linked": "linked {object} with an access token of @{gitlab_username}",
        "token.revocation_failed": "could not get a token of {object} revoked",
        "token.revoked": "had GitLab revoke a token of {object}",
        "token.revoked_by_hand": "said that a token of {object} was revoked by hand",
    },
)
