"""A connection whose credential is an access token of the sandbox's, as the walkthrough leaves it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from portal.actor import SYSTEM
from portal.connections.store import open_host_session
from portal.credentials.access_tokens import link_access_token
from portal.db import utc_now
from portal.gitlab.access_tokens import Examined, examine
from portal.sandbox.testing import RunningSandbox
from portal.vault import Secret
from tests.support.paired import Paired
from tests.support.people import Actor
from tests.support.walkthrough import principal_of


def new_token(sandbox: RunningSandbox, username: str = "gatehouse", *scopes: str, days: int | None = 365) -> str:
    """Make a token in GitLab that ends in so many days."""
    ends_on: date | None = utc_now().date() + timedelta(days=days) if days is not None else None
    return sandbox.token(username, *(scopes or ("api",)), expires_at=ends_on)


def link(paired: Paired, actor: Actor | None, token: str, **details: Any) -> Examined:
    """Examine a token at the sandbox and link the connection with it, as a person or as no one in particular."""
    runtime, connection = paired.runtime, paired.connection
    with open_host_session(runtime, connection) as http:
        examined = examine(http, Secret(token), connection.services, hooks_wanted=False)
    who = principal_of(runtime, actor).actor if actor else SYSTEM
    link_access_token(runtime, paired.connection_id, Secret(token), examined, who, **details)
    return examined
