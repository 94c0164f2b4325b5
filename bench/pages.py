"""Server time of each page of the walkthrough, compared with the smallest Flask page in the same process."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from bench.bare import app as bare
from bench.figures import measure, show
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.sandbox_process import sandbox_of
from portal import create_app
from portal.accounts.models import Membership, User
from portal.repositories.catalogue.run import read_catalogue
from portal.runtime import Runtime
from portal.web.sessions import CookieSessions, PortalSession

PROJECTS = 2_000
PAGES = {
    "list of connections": "/connections/",
    "1 method": "/connections/new",
    "2 instance": "/connections/bench/setup/instance",
    "3 application": "/connections/bench/setup/application",
    "4 service user": "/connections/bench/setup/service-user",
    "5 credentials": "/connections/bench/setup/credentials",
    "6 authorize": "/connections/bench/setup/authorize",
    "7 services": "/connections/bench/setup/services",
    "8 repositories (2,000)": "/connections/bench/setup/repositories",
    "search among 2,000": "/repositories/?q=kubernetes",
    "details": "/connections/bench",
}


def run(runs: int) -> None:
    """Measure and print milliseconds."""
    with sandbox_of(PROJECTS) as served, fresh_runtime(served.url) as runtime:
        connection_id = authorized_connection(runtime, served.url, served.token)
        read_catalogue(runtime, connection_id, "bench", lambda done, total, message: None)
        client = signed_in_client(runtime)
        candidates: dict[str, Callable[[], object]] = {
            name: lambda path=path: client(path) for name, path in PAGES.items()
        }
        peer = bare.test_client()
        figures = measure({**candidates, "bare Flask page": lambda: peer.get("/")}, runs)
    show("Server time of the pages", figures, unit=1000, per="ms")


def signed_in_cookie(runtime: Runtime, app: Flask) -> tuple[str, str]:
    """Add an owner and return the name and value of their session cookie."""
    with runtime.database.transaction() as session:
        user = User(email="olga@example.com", name="Olga Owner")
        session.add(user)
        session.flush()
        assert user.id is not None
        session.add(Membership(organization_id=1, user_id=user.id, role="owner"))
        user_id = user.id
    sessions = app.session_interface
    assert isinstance(sessions, CookieSessions)
    begun = PortalSession()
    with app.test_request_context("/", base_url=runtime.settings.base_url):
        sessions.begin(begun, user_id, 1)
    return sessions.cookie_name, begun.token


def signed_in_client(runtime: Runtime) -> Callable[..., bytes]:
    """Return a function that answers the body of a page, as an owner sees it; it takes headers as well."""
    app = create_app(runtime=runtime)
    client = app.test_client()
    name, value = signed_in_cookie(runtime, app)
    client.set_cookie(name, value, domain="127.0.0.1")

    def get(path: str, headers: dict[str, str] | None = None) -> bytes:
        answer = client.get(path, base_url=runtime.settings.base_url, headers=headers)
        assert answer.status_code in {200, 204}, (path, answer.status_code)
        return answer.data

    return get
