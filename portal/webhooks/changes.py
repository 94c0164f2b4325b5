"""What people do with webhooks: compare now, repair, choose how they are made, set one up by hand."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import get_connection_for_admin
from portal.errors import Conflict, InvalidInput, NotFound
from portal.gitlab.hooks import SIGNATURES, Level
from portal.gitlab.identification import parse_version
from portal.net import origin_of
from portal.repositories.models import Repository, visible_to
from portal.runtime import Runtime
from portal.webhooks.desired import plan_of, url_of
from portal.webhooks.jobs import enqueue_reconciliation
from portal.webhooks.keys import make_keys, open_key
from portal.webhooks.models import Hook, HookStatus, Mode
from portal.webhooks.reconcile import drop_row, target_of


@dataclass(frozen=True)
class ByHand:
    """What a person enters in GitLab; both secrets are shown only now."""

    hook: Hook
    url: str
    token: str
    signing_token: str


def request_comparison(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Compare all hooks of a connection with GitLab, and repair them."""
    with runtime.database.transaction() as session:
        connection = _get_usable(session, principal, slug)
        enqueue_reconciliation(session, connection, principal.actor)
        audit.record(session, principal.actor, "hooks.compare_requested", connection.target)


def request_repair(runtime: Runtime, principal: Principal, slug: str, hook_id: int) -> None:
    """Compare one hook with GitLab, and repair it."""
    with runtime.database.transaction() as session:
        connection = _get_usable(session, principal, slug)
        hook = find_hook(session, principal, connection, hook_id)
        enqueue_reconciliation(session, connection, principal.actor, hook.id)
        audit.record(session, principal.actor, "hook.repair_requested", target_of(session, connection, hook))


def choose_level(runtime: Runtime, principal: Principal, slug: str, level: str) -> None:
    """Choose whether each repository, each top-level group or the whole instance has a hook.

    Raises:
        InvalidInput: there is no such choice.
    """
    if level not in set(Level):
        raise InvalidInput(field_errors={"level": "Choose one of the three."})
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        plan = plan_of(session, connection.id or 0)
        if plan.level != level:
            plan.level = level
            audit.record(session, principal.actor, "hooks.level_changed", connection.target, level=level)


def choose_mode(runtime: Runtime, principal: Principal, slug: str, hook_id: int, mode: str) -> None:
    """Switch the hook of one repository off, or have the portal make it again.

    Raises:
        InvalidInput: there is no such choice.
    """
    if mode not in {Mode.AUTOMATIC, Mode.OFF}:
        raise InvalidInput(field_errors={"mode": "Choose on or off."})
    with runtime.database.transaction() as session:
        connection = _get_usable(session, principal, slug)
        hook = find_hook(session, principal, connection, hook_id)
        if hook.mode != mode:
            hook.mode, hook.card = mode, None
            action = "hook.switched_off" if mode == Mode.OFF else "hook.switched_on"
            audit.record(session, principal.actor, action, target_of(session, connection, hook))


def forget_hook(runtime: Runtime, principal: Principal, slug: str, hook_id: int) -> None:
    """Take a hook off the list that could not be removed, because a person has removed it or its project is gone.

    Raises:
        Conflict: it is still wanted, or about to be removed.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        hook = find_hook(session, principal, connection, hook_id)
        if hook.status != HookStatus.RETIRING or hook.card is None:
            raise Conflict("Only a webhook that is left over can be taken off the list.")
        audit.record(session, principal.actor, "hook.forgotten", target_of(session, connection, hook))
        drop_row(session, hook)


def request_rotation(runtime: Runtime, principal: Principal, slug: str, hook_id: int | None = None) -> int:
    """Give one hook, or all of them, new secrets; the previous ones stay valid until GitLab has the new ones.

    Returns:
        How many.
    """
    with runtime.database.transaction() as session:
        connection = _get_usable(session, principal, slug)
        which = [col(Hook.connection_id) == connection.id, col(Hook.mode) == Mode.AUTOMATIC]
        if hook_id is not None:
            which.append(col(Hook.id) == find_hook(session, principal, connection, hook_id).id)
        hooks = session.exec(select(Hook).where(*which, col(Hook.gitlab_hook_id).is_not(None)).with_for_update()).all()
        for hook in hooks:
            hook.intent = "rotate"
        if hooks:
            enqueue_reconciliation(session, connection, principal.actor, hook_id)
            audit.record(session, principal.actor, "hooks.rotated", connection.target, hooks=len(hooks))
        return len(hooks)


def set_up_by_hand(runtime: Runtime, principal: Principal, slug: str, hook_id: int) -> ByHand:
    """Return URL and new secrets for a person who makes the hook in GitLab; the first delivery verifies it.

    The previous secrets stay valid for a while, because the person may be replacing them in GitLab.
    """
    with runtime.database.transaction() as session:
        connection = _get_usable(session, principal, slug)
        hook = find_hook(session, principal, connection, hook_id)
        version = parse_version(connection.version_seen)
        can_sign = version is not None and version >= SIGNATURES
        make_keys(runtime, hook, origin_of(connection.api_url), with_signature=can_sign)
        # Only a delivery shows whether the person entered the signing token too, so none is required yet.
        hook.uses_signature, hook.signed_from = False, None
        hook.mode, hook.status, hook.card = Mode.BY_HAND, HookStatus.UNPROVED, None
        hook.url, hook.proved_at, hook.last_delivery_at = url_of(runtime, hook.public_id), None, None
        audit.record(session, principal.actor, "hook.secret_shown", target_of(session, connection, hook))
        keys = [open_key(runtime, hook, column) for column in ("token_sealed", "signing_token_sealed")]
        token, signing = (key.reveal() if key else "" for key in keys)
        return ByHand(hook, hook.url, token, signing)


def find_hook(session: Session, principal: Principal, connection: Connection, hook_id: int) -> Hook:
    """Return a hook of a connection that this person may see.

    Raises:
        NotFound: there is none.
    """
    statement = (
        select(Hook)
        .join(Connection, col(Connection.id) == col(Hook.connection_id))
        .outerjoin(Repository, col(Repository.id) == col(Hook.repository_id))
        .where(col(Hook.id) == hook_id, col(Hook.connection_id) == connection.id, visible_to(principal))
    )
    found = session.exec(statement).first()
    if found is None:
        raise NotFound
    return found


def _get_usable(session: Session, principal: Principal, slug: str) -> Connection:
    connection = get_connection_for_admin(session, principal, slug)
    if connection.state == ConnectionState.DISCONNECTED or connection.authorized_at is None:
        raise Conflict("This connection is not in use, so GitLab cannot be asked. Connect it first.")
    return connection
