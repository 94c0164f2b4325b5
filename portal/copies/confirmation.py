"""Leave the mode in which a restored portal does nothing (S108)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import col, func, or_, select

from portal import audit, installation
from portal.accounts.models import Organization
from portal.accounts.principal import require_right_now
from portal.actor import COMMAND_LINE, Principal, Right
from portal.credentials.models import Credential, CredentialState
from portal.credentials.store import give_back_lease, record_event
from portal.db import utc_now
from portal.errors import NothingStored
from portal.installation.findings import findings_of
from portal.runtime import Runtime
from portal.storage import Trouble, card_of, trouble_of_folder


@dataclass(frozen=True)
class Waiting:
    """What people read before confirming. `backup_made_at` is None for a copy made by other means."""

    restored_at: datetime
    backup_made_at: datetime | None
    seen: tuple[str, ...]
    credentials: int


def find_waiting(runtime: Runtime) -> Waiting | None:
    """Return what waits for the confirmation; None if the portal is running normally."""
    with runtime.database.reading() as session:
        found = installation.find_instance(session)
        if found is None or found.restored_at is None:
            return None
        count = session.exec(select(func.count()).select_from(Credential).where(_probed())).one()
        seen = tuple(finding.sentence for finding in findings_of(found.seen))
        return Waiting(found.restored_at, found.backup_made_at, seen, count)


def confirm_running(runtime: Runtime, principal: Principal | None = None) -> int | None:
    """Let the portal run again, each credential only after GitLab was asked with its access token.

    Returns:
        How many credentials are tried; None if there was nothing to confirm.

    Raises:
        NothingStored: the data folder cannot be written, so the next start would not know the database.
    """
    try:
        with runtime.database.transaction() as session:
            if principal is not None:
                require_right_now(session, principal, Right.CONFIRM_RESTORED)
            if not installation.confirm(runtime.database, session):
                return None
            credentials = session.exec(select(Credential).where(_probed()).with_for_update()).all()
            for credential in credentials:
                # The next refresh treats the pair as possibly spent, and is due now.
                give_back_lease(credential)
                credential.cooldown_until = None
                if credential.refresh_token_sealed is not None:
                    # An intent without an outcome means exactly that: the next holder of the lease asks with the access
                    # token first.
                    credential.intent_id, credential.intent_at = secrets.token_hex(16), utc_now()
                    credential.refresh_at, credential.may_be_spent = utc_now(), True
                session.add(credential)
                record_event(session, credential, "restored", "the database was restored; the pair may be spent")
            for organization_id in session.exec(select(Organization.id)):
                target = audit.Target(organization_id, "portal", "instance")
                actor = principal.actor if principal else COMMAND_LINE
                audit.record(session, actor, "portal.restore_confirmed", target, credentials=len(credentials))
            return len(credentials)
    except OSError:
        folder = runtime.settings.data_dir
        trouble = trouble_of_folder(folder) or Trouble.READ_ONLY
        raise NothingStored(card_of(trouble, f"the data folder {folder.absolute()}")) from None


def _probed() -> ColumnElement[bool]:
    """Every credential that could post a refresh token, now or once someone has fixed it, and live ones without one."""
    return or_(col(Credential.refresh_token_sealed).is_not(None), col(Credential.state) == CredentialState.ALIVE)
