"""Every view declares who may use it; one that does not is refused to everyone."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask, current_app, request

from portal.actor import AccessRefused, Right
from portal.errors import PortalError
from portal.web.current import current_principal, find_principal

View = TypeVar("View", bound=Callable[..., Any])


class Access(StrEnum):
    """What a view may declare instead of a right."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"


class UndeclaredView(PortalError):
    """A view does not say who may use it. It is refused, so that an omission grants nothing."""

    code = "undeclared_view"


def requires(right: Right) -> Callable[[View], View]:
    """Let only people with a right use the view; to others it does not exist (404)."""

    def declare(view: View) -> View:
        view.declared_right = right  # type: ignore[attr-defined]
        return view

    return declare


def signed_in(view: View) -> View:
    """Let everyone who is signed in use the view."""
    view.declared_right = Access.SIGNED_IN  # type: ignore[attr-defined]
    return view


def public(view: View) -> View:
    """Let anyone use the view, signed in or not."""
    view.declared_right = Access.PUBLIC  # type: ignore[attr-defined]
    return view


def declared_right(app: Flask, endpoint: str) -> Right | Access | None:
    """Return what the view of an endpoint declares; None if it declares nothing."""
    if endpoint == "static" or endpoint.endswith(".static"):
        return Access.PUBLIC
    found: Right | Access | None = getattr(app.view_functions[endpoint], "declared_right", None)
    return found


def refuse_undeclared(app: Flask) -> None:
    """Check the declared right before every view of the app."""

    @app.before_request
    def check() -> None:
        if request.endpoint is None:  # No such address, or not with this method: Flask answers.
            return
        declared = declared_right(app, request.endpoint)
        if declared is None:
            raise UndeclaredView
        if declared == Access.PUBLIC:
            return
        principal = current_principal()
        if isinstance(declared, Right) and not principal.may(declared):
            raise AccessRefused(declared)


def may(right: Right) -> bool:
    """Return whether the person asking has a right; False for visitors."""
    principal = find_principal()
    return principal is not None and principal.may(right)


def polling(view: View) -> View:
    """Mark a view that pages call by themselves: it is not a sign that a person is there (S4)."""
    view.is_polling = True  # type: ignore[attr-defined]
    return view


def opens_popup(view: View) -> View:
    """Mark a page that opens a window which our own opener policy must not cut off (S13)."""
    view.opens_popup = True  # type: ignore[attr-defined]
    return view


def has_mark(name: str) -> bool:
    """Return whether the current request's view has a mark."""
    view = current_app.view_functions.get(request.endpoint or "")
    return bool(getattr(view, name, False))
