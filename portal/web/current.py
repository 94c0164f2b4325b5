"""What the current request belongs to: the application's runtime, and the person signed in."""

from __future__ import annotations

from flask import Flask, current_app, g, session

from portal.actor import Principal
from portal.errors import SignInRequired
from portal.runtime import Runtime

_KEY = "gatehouse_runtime"


def attach_runtime(app: Flask, runtime: Runtime) -> None:
    """Make the runtime available to this app's requests."""
    app.extensions[_KEY] = runtime


def current_runtime() -> Runtime:
    """Return the runtime of the app that handles the current request."""
    runtime: Runtime = current_app.extensions[_KEY]
    return runtime


def find_principal() -> Principal | None:
    """Return who is signed in, read once per request; None for a visitor."""
    if "principal" not in g:
        # Set first, so that an error page that asks again does not hit the same failure.
        g.principal = None
        g.principal = session.principal  # type: ignore[attr-defined]
    found: Principal | None = g.principal
    return found


def current_principal() -> Principal:
    """Return who is signed in.

    Raises:
        SignInRequired: no one is.
    """
    principal = find_principal()
    if principal is None:
        raise SignInRequired
    return principal


def forget_principal() -> None:
    """Read it again next time: the session or its rights changed within this request."""
    g.pop("principal", None)
