"""What credentials bring to the portal."""

from __future__ import annotations

from portal.capability import Capability, PeriodicJob
from portal.credentials.jobs import has_due_credentials, keep_alive, revoke_retired, thin_recorder
from portal.credentials.models import Credential, CredentialEvent, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED, due_revocations

CAPABILITY = Capability(
    name="credentials",
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
    actions={
        "credential.lost": "lost the access token of {object}: GitLab's answer never arrived",
        "credential.refreshed": "renewed the access token of {object}",
        "credential.revoked": "learned that GitLab ended the authorization of {object}",
        "credential.secret_changed": "found that GitLab refuses the Secret of {object}",
        "credential.unreadable": "can no longer read the access token of {object}",
        "token.revocation_failed": "could not get a token of {object} revoked",
        "token.revoked": "had GitLab revoke a token of {object}",
        "token.revoked_by_hand": "said that a token of {object} was revoked by hand",
    },
)
