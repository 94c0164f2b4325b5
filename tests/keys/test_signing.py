from __future__ import annotations

import re

import pytest
from flask import Flask

from portal import create_app
from portal.operation.keys.manage import rotate
from portal.runtime import Runtime
from portal.vault import KeyRing
from portal.vault.keyfile import change_file
from tests.keys.conftest import runtime_on
from tests.support.people import Cast
from tests.support.visitor import Visitor


@pytest.fixture
def backend() -> str:
    """One database: it does not contain signatures."""
    return "sqlite"


def restarted(visitor: Visitor) -> Visitor:
    """Return the same browser after the portal was restarted."""
    runtime = visitor.app.extensions["gatehouse_runtime"]
    again = Visitor(create_app(runtime=runtime_on(runtime.settings, runtime.database)))
    cookie = visitor.http.get_cookie(visitor.app.session_interface.cookie_name, domain="127.0.0.1")  # type: ignore[attr-defined]
    again.http.set_cookie(cookie.key, cookie.value, domain="127.0.0.1")
    return again


def token_of_a_page(visitor: Visitor) -> str:
    """Open a page now and return the token of its forms."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', visitor.get("/profile").text)
    assert found
    return found.group(1)


def send(visitor: Visitor, token: str) -> int:
    return visitor.post("/theme", {"theme": "dark"}, token=token).status_code


def test_session_and_open_forms_outlive_a_rotation_in_running_and_new_processes(
    app: Flask, runtime: Runtime, cast: Cast
) -> None:
    visitor = Visitor(app).sign_in(cast.owner)
    token = token_of_a_page(visitor)

    rotate(runtime)
    again = restarted(visitor)

    assert send(visitor, token) == send(again, token) != 403
    assert send(visitor, token_of_a_page(again)) == send(again, token_of_a_page(visitor)) != 403
    assert again.get("/audit").status_code == visitor.get("/audit").status_code == 200


def test_new_forms_are_signed_with_the_new_key_and_old_ones_end_with_theirs(
    app: Flask, runtime: Runtime, cast: Cast
) -> None:
    visitor = Visitor(app).sign_in(cast.owner)
    old = token_of_a_page(visitor)
    rotate(runtime)
    new = token_of_a_page(visitor)

    change_file(runtime.settings.resolved_key_file, lambda ring: KeyRing(ring.keys[:1], ring.audit_key))

    assert send(visitor, old) == 403
    assert send(visitor, new) != 403
