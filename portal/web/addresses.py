"""Our own addresses: absolute ones come only from the base URL, and `next` never leaves the portal (S15, S16)."""

from __future__ import annotations

import re

from flask import current_app, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from portal.web.current import current_runtime

MAX_NEXT = 2000
# Nothing is stripped before the check: Werkzeug drops tabs, and browsers read backslashes as slashes.
_NEXT = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")


def absolute_url(endpoint: str, **values: object) -> str:
    """Return an address with scheme and host, whatever the request's Host header says."""
    return current_runtime().settings.base_url + url_for(endpoint, **values)  # type: ignore[arg-type]


def page_of_form() -> str:
    """Return the page that holds the current request's form: the one it names, its own address, or one above."""
    candidates = [request.form.get("next", ""), request.full_path.rstrip("?") if request.method == "POST" else ""]
    path = request.path.rstrip("/")
    while path := path.rpartition("/")[0]:
        candidates.append(path)
    return next(filter(None, map(safe_next, candidates)), url_for("connections.index"))


def safe_next(text: str | None) -> str:
    """Return one of our addresses to continue to; empty if it is anything else."""
    if not text or len(text) > MAX_NEXT or text.startswith("//") or not _NEXT.fullmatch(text):
        return ""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    try:
        adapter.match(text.partition("?")[0], method="GET")
    except RequestRedirect:
        return text
    except HTTPException:
        return ""
    return text
