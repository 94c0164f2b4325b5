"""What the popup brings to the portal."""

from __future__ import annotations

from portal.authorization.attempts import AuthorizationAttempt, forget_attempts
from portal.authorization.status import authorization_panels, granted_scopes
from portal.capability import Capability, PeriodicJob
from portal.db import delete_of_connection

CAPABILITY = Capability(
    name="authorization",
    views="portal.authorization.views",
    tables=(AuthorizationAttempt,),
    jobs=(PeriodicJob("authorization.forget", forget_attempts, "Delete old authorization attempts", 86_400),),
    connection_panels={20: authorization_panels},
    granted_scopes=granted_scopes,
    erases=delete_of_connection(AuthorizationAttempt),
    actions={
        "authorization.failed": "tried to authorize {object}, and GitLab issued no token",
        "authorization.refused": "tried to authorize {object} and was refused",
        "authorization.started": "started to authorize {object}",
        "connection.authorized": "authorized {object} as @{gitlab_username}",
    },
)
