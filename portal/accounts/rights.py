"""Every view declares who may use it; one that does not is refused to everybody."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask, Response, request

from portal import audit
from portal.accounts.principal import Principal, RightLost, current_principal, find_principal
from portal.accounts.roles import ROLE_RIGHTS, ROLE_SENTENCES, Right, Role
from portal.error_pages import answer
from portal.errors import NotFound, PortalError
from portal.logs import get_logger
from portal.requestinfo import loggable_path
from portal.runtime import current_runtime

__all__ = ["ROLE_RIGHTS", "ROLE_SENTENCES", "Access", "Right", "Role", "declared_right", "public", "requires"]
__all__ += ["record_refusal", "refuse_undeclared", "signed_in"]

log = get_logger(__name__)
View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Access(StrEnum):
    """What a view may declare instead of a right."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"


class UndeclaredView(PortalError):
    """A view does not say who may use it. Refused: forgetting must not open a door."""

    code = "undeclared_view"


def requires(right: Right) -> Callable[[View], View]:
    """Let only people with a right use the view; to others it does not exist (404)."""

    def declare(view: View) -> View:
        view.declared_right = right  # type: ignore[attr-defined]
        return view

    return declare


def signed_in(view: View) -> View:
    """Let everybody who is signed in use the view."""
    view.declared_right = Access.SIGNED_IN  # type: ignore[attr-defined]
    return view


def public(view: View) -> View:
    """Let anybody use the view, signed in or not."""
    view.declared_right = Access.PUBLIC  # type: ignore[attr-defined]
    return view


def declared_right(app: Flask, endpoint: str) -> Right | Access | None:
    """Return what the view of an endpoint declares; None when it declares nothing."""
    if endpoint == "static" or endpoint.endswith(".static"):
        return Access.PUBLIC
    found: Right | Access | None = getattr(app.view_functions[endpoint], "declared_right", None)
    return found


def refuse_undeclared(app: Flask) -> None:
    """Check the declared right before every view of the app."""
    app.before_request(lambda: _check(app))
    app.register_error_handler(RightLost, _answer_right_lost)


def _check(app: Flask) -> None:
    if request.endpoint is None:  # No such address, or not with this method: answered as such.
        return
    declared = declared_right(app, request.endpoint)
    if declared is None:
        raise UndeclaredView
    if declared == Access.PUBLIC:
        return
    principal = current_principal()
    if isinstance(declared, Right) and not principal.may(declared):
        record_refusal(principal, declared)
        raise NotFound


def _answer_right_lost(error: RightLost) -> Response:
    # The principal as this request began: who it was, whatever they may now.
    if principal := find_principal():
        record_refusal(principal, error.right)
    return answer(error)


def record_refusal(principal: Principal, right: Right) -> None:
    """Write down that somebody asked for what they have no right to; in no transaction of the caller's."""
    path = loggable_path(request.path)
    log.warning("access_refused", user_id=principal.user_id, right=right, path=path, method=request.method)
    if request.method in SAFE_METHODS:  # A GET changes nothing, the audit log included.
        return
    with current_runtime().database.transaction() as session:
        audit.record(
            session,
            action="access.refused",
            organization_id=principal.organization_id,
            actor_user_id=principal.user_id,
            actor_name=principal.name,
            object_type="address",
            object_id=path,
            result="refused",
            details={"right": right.value, "method": request.method},
        )


def may(right: Right) -> bool:
    """Tell whether whoever is asking has a right; False for visitors."""
    principal = find_principal()
    return principal is not None and principal.may(right)
