"""The portal's application with one more page, which demands access for each requested connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from portal import build_runtime, create_app
from portal.credentials import AccessUnavailable, demand_access
from portal.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

DEMAND = "/demand/"


def application() -> WSGIApplication:
    """Return it."""
    runtime = build_runtime(Settings.from_environ())
    portal = create_app(runtime=runtime)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(DEMAND):
            return portal(environ, start_response)
        told = []
        for connection_id in environ["PATH_INFO"].removeprefix(DEMAND).split(","):
            try:
                demand_access(runtime, int(connection_id), reason="page")
                told.append("access")
            except AccessUnavailable as error:
                told.append(error.card.code)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(told).encode()]

    return answer
