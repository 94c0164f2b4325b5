"""Request throttling as GitLab's middleware does it: per user and minute, plain text, rate headers everywhere."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

if TYPE_CHECKING:
    from portal.sandbox.world import World

PERIOD_SECONDS = 60
HEADERS_ON_EVERY_ANSWER_SINCE = (14, 0)


def register(app: Flask, world: World) -> None:
    """Count requests to the API while `settings.rate_limit_per_minute` is set."""
    counts: Counter[tuple[str, int]] = Counter()
    lock = threading.Lock()

    @app.before_request
    def check() -> Response | None:
        limit = world.settings.rate_limit_per_minute
        if limit is None or not request.path.startswith(f"{world.settings.relative_root}/api/"):
            return None
        period = int(world.now().timestamp()) // PERIOD_SECONDS
        with lock:
            counts[(_who(), period)] += 1
            observed = counts[(_who(), period)]
        g.rate_headers = _headers(limit, observed, (period + 1) * PERIOD_SECONDS)
        if observed <= limit:
            return None
        response = Response("Retry later\n", 429, content_type="text/plain")
        wait_seconds = (period + 1) * PERIOD_SECONDS - int(world.now().timestamp())
        response.headers.update({**g.rate_headers, "Retry-After": str(max(wait_seconds, 1))})
        return response

    @app.after_request
    def tell(response: Response) -> Response:
        if "rate_headers" in g and world.release >= HEADERS_ON_EVERY_ANSWER_SINCE:
            response.headers.update(g.rate_headers)
        return response


def _who() -> str:
    """Return what identifies the user: the credential, or the address of an anonymous caller."""
    credential = request.headers.get("PRIVATE-TOKEN") or request.headers.get("Authorization")
    return credential or str(request.remote_addr)


def _headers(limit: int, observed: int, resets_at: int) -> dict[str, str]:
    return {
        "RateLimit-Name": "throttle_authenticated_api",
        "RateLimit-Limit": str(limit),
        "RateLimit-Observed": str(observed),
        "RateLimit-Remaining": str(max(limit - observed, 0)),
        "RateLimit-Reset": str(resets_at),
        "RateLimit-ResetTime": format_datetime(datetime.fromtimestamp(resets_at, UTC), usegmt=True),
    }
