"""A catalogue read compared with python-gitlab's iterator and a bare download loop, from the same sandbox."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import gitlab

from bench.figures import measure, show
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.sandbox_process import Served, sandbox_of
from portal.repositories.catalogue.run import read_catalogue

PER_PAGE = 100


def read_with_portal(served: Served) -> None:
    """Read, decode, check and store everything, on a new database."""
    with fresh_runtime(served.url) as runtime:
        connection_id = authorized_connection(runtime, served.url, served.token)
        read_catalogue(runtime, connection_id, "bench", lambda done, total, message: None)


def read_with_python_gitlab(served: Served) -> None:
    """Iterate python-gitlab's project objects and keep nothing."""
    client = gitlab.Gitlab(served.url, oauth_token=served.token)
    for _ in client.projects.list(
        iterator=True, membership=True, per_page=PER_PAGE, order_by="id", sort="asc", pagination="keyset"
    ):
        pass


def read_with_bare_loop(served: Served) -> None:
    """Download the same pages one after the other and read only the Link header."""
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    path = f"/api/v4/projects?membership=true&per_page={PER_PAGE}&order_by=id&sort=asc&pagination=keyset"
    while path:
        connection.request("GET", path, headers={"Authorization": f"Bearer {served.token}"})
        answer = connection.getresponse()
        answer.read()
        path = _next(answer.getheader("link") or "")
    connection.close()


def _next(link: str) -> str:
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            url = urlsplit(address.strip(" <>"))
            return f"{url.path}?{url.query}"
    return ""


def run(projects: int, runs: int) -> None:
    """Measure and print."""
    with sandbox_of(projects) as served:
        figures = measure(
            {
                "Gatehouse: read, check, store": lambda: read_with_portal(served),
                "python-gitlab iterator, kept nowhere": lambda: read_with_python_gitlab(served),
                "bare download loop, not even decoded": lambda: read_with_bare_loop(served),
            },
            runs,
        )
    show(f"Catalogue read of {projects:,} projects", figures, items=projects)
