"""Remove the hooks of a disconnected connection, with the token that is about to be revoked."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlmodel import col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.models import Connection, ConnectionState
from portal.errors import Card
from portal.gitlab.answers import ForbiddenByRole, GitLabNotFound, InsufficientScope
from portal.gitlab.hooks import HookClient
from portal.net import HostSession
from portal.runtime import Runtime
from portal.vault import Secret
from portal.webhooks.differences import public_id_in
from portal.webhooks.models import Hook, HookStatus, Mode
from portal.webhooks.reconcile import target_of

# One attempt ends before another process may take the revocation over.
SECONDS = 60.0
BATCH = 100


def leave_gitlab(
    runtime: Runtime,
    connection_id: int,
    http: HostSession,
    token: Secret,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Remove every hook of a disconnected connection; return whether all are done. What cannot be removed is kept, with
    the reason, for a person.

    Raises:
        GitLabError, OutboundError: GitLab cannot be asked now, or does not accept the token.
    """
    end, client = clock() + SECONDS, HookClient(http, token, tries=1)
    last = 0
    while True:
        with runtime.database.reading() as session:
            connection = session.get(Connection, connection_id)
            if connection is None or connection.state != ConnectionState.DISCONNECTED:
                return True  # Connected again: its hooks are wanted.
            left = (col(Hook.connection_id) == connection_id, col(Hook.id) > last)
            hooks = session.exec(select(Hook).where(*left).order_by(col(Hook.id)).limit(BATCH)).all()
        if not hooks:
            return True
        for hook in hooks:
            if clock() > end:
                return False
            last = hook.id or 0
            # A project that was hidden may be shown again; what GitLab forbids stays forbidden.
            if hook.status != HookStatus.RETIRING or hook.card is None or hook.card["code"] == "hook_left_hidden":
                _remove(runtime, connection, client, hook)


def _remove(runtime: Runtime, connection: Connection, client: HookClient, hook: Hook) -> None:
    removed, card = False, None
    try:
        if hook.mode == Mode.BY_HAND:
            card = Card("hook_left_over")
        elif hook.gitlab_hook_id is not None and not hook.intent:
            removed = client.delete_hook(hook.owner, hook.gitlab_hook_id)
        if not removed and card is None and (hook.gitlab_hook_id is not None or hook.intent):
            # The answer to a change was lost, so there may be one that no row knows; or GitLab answered 404, which it
            # also does for a project that it hides from the service user.
            for listed in client.hooks(hook.owner).found:
                if listed.id == hook.gitlab_hook_id or public_id_in(listed.url) == hook.public_id:
                    removed = client.delete_hook(hook.owner, listed.id) or removed
    except (ForbiddenByRole, InsufficientScope):
        card = Card("hook_left_over")
    except GitLabNotFound:
        card = Card("hook_left_hidden")
    with runtime.database.transaction() as session:
        found = session.get(Hook, hook.id, with_for_update=True)
        if found is None:
            return
        if card:
            found.status, found.card = HookStatus.RETIRING, card.to_json()
            return
        if removed:
            audit.record(session, SYSTEM, "hook.removed", target_of(session, connection, found), level=found.level)
        session.delete(found)
