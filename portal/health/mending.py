"""Where in the portal a cause can be mended."""

from __future__ import annotations

from portal.connections.models import Connection
from portal.connections.steps import Step, step_url
from portal.errors import CardAction

_AUTHORIZE = ("Authorize again", Step.AUTHORIZE)
_INSTANCE = ("Edit how GitLab is reached", Step.INSTANCE)
_PLACES = {
    "credential_revoked": _AUTHORIZE,
    "credential_lost": _AUTHORIZE,
    "credential_expires": _AUTHORIZE,
    "secret_unreadable": _AUTHORIZE,
    "unauthorized": _AUTHORIZE,
    "wrong_user": _AUTHORIZE,
    "missing_scopes": _AUTHORIZE,
    "insufficient_scope": _AUTHORIZE,
    "insufficient_permission": _AUTHORIZE,
    "client_secret_changed": ("Enter the Secret", Step.CREDENTIALS),
    "application_gone": ("Make a new application", Step.APPLICATION),
    "tls_self_signed": _INSTANCE,
    "tls_unknown_ca": _INSTANCE,
    "tls_incomplete_chain": _INSTANCE,
    "tls_wrong_name": _INSTANCE,
}


def mend(connection: Connection, cause: str) -> CardAction | None:
    """Return the link that mends a cause, for people who manage connections; None when it is mended elsewhere."""
    if cause not in _PLACES:
        return None
    label, step = _PLACES[cause]
    return CardAction(label, step_url(connection, step))
