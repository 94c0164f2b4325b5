"""Shortcuts through the walkthrough: the real services, against a real sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from werkzeug.test import TestResponse

from portal.accounts.principal import load_principal
from portal.actor import Principal
from portal.connections import applications, checklist, instance, store, walkthrough
from portal.connections.models import Connection, Method
from portal.runtime import Runtime
from portal.sandbox.oauth.store import Application
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.support.people import Actor
from tests.support.visitor import Visitor

_CODE = re.compile(r"href=\"([^\"]*[?&;]code=[^\"]*)\"")


@dataclass(frozen=True)
class Prepared:
    """A connection whose credentials GitLab accepted: everything before the popup."""

    connection: Connection
    application: Application
    secret: str
    slug: str


def principal_of(runtime: Runtime, actor: Actor) -> Principal:
    """Return someone's rights as a request would have them."""
    with runtime.database.reading() as session:
        found = load_principal(session, actor.user_id, actor.organization_id)
    assert found is not None
    return found


def prepare(
    runtime: Runtime,
    sandbox: RunningSandbox,
    actor: Actor,
    *,
    trusted: bool = True,
    name: str = "GitLab",
    expected: str = "gatehouse",
) -> Prepared:
    """Go through steps 1 to 4."""
    principal = principal_of(runtime, actor)
    slug = store.create_draft(runtime, principal, name, Method.OAUTH).slug
    instance.save_instance(runtime, principal, slug, instance.Entered(sandbox.url))
    assert checklist.run_checklist(runtime, principal, slug).is_passed
    connection = store.get_connection(runtime, principal, slug)
    uri = store.redirect_uri_of(runtime, connection)
    scopes = tuple(checklist.wanted_scopes(connection))
    application, secret = sandbox.world.oauth.create_application("Gatehouse", uri, scopes, trusted=trusted)
    walkthrough.save_service_user(runtime, principal, slug, expected)
    connection, card = applications.save_credentials(runtime, principal, slug, application.uid, str(secret))
    assert card is None
    return Prepared(connection, application, str(secret), slug)


def start(visitor: Visitor, slug: str, *, in_popup: bool = False) -> str:
    """Press *Authorize*; return the GitLab address that the browser is sent to."""
    data = {"in_popup": "1"} if in_popup else {}
    answer = visitor.post(f"/connections/{slug}/authorization", data)
    assert answer.status_code == 303, answer.text
    leave = visitor.get(answer.headers["Location"])
    assert leave.status_code == 200
    go = visitor.get(answer.headers["Location"].removesuffix("/leave") + "/go")
    assert go.status_code == 302, go.text
    return go.headers["Location"]


def pass_gitlab(sandbox: RunningSandbox, address: str, username: str, *, button: str = "Authorize Gatehouse") -> str:
    """Sign in to GitLab as someone and press the button; return where GitLab sends the browser."""
    with Person(sandbox.url) as person:
        person.sign_in(username)
        page = person.get(address)
        if "<title>Redirecting" in page.text:
            return _CODE.findall(page.text)[0].replace("&amp;", "&")
        return person.press(page, button).headers["Location"]


def come_back(visitor: Visitor, location: str) -> TestResponse:
    """Open the address GitLab sent the browser to."""
    parts = urlsplit(location)
    return visitor.get(f"{parts.path}?{parts.query}")


def authorize(visitor: Visitor, sandbox: RunningSandbox, slug: str, username: str = "gatehouse") -> TestResponse:
    """Go through step 5 as someone; return the answer to the callback."""
    return come_back(visitor, pass_gitlab(sandbox, start(visitor, slug), username))
