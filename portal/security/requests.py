"""Checks of every request before its view: host, length, origin; and who asks, for logs and audit (S9, S15, S99)."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from portal.errors import BadRequest, Forbidden
from portal.requestinfo import RequestInfo, new_request_id
from portal.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
FORM_TYPES = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data"})
MAX_BODY_BYTES = 1024 * 1024
MAX_QUERY_LENGTH = 8192
MAX_USER_AGENT = 200


def describe_request(settings: Settings) -> RequestInfo:
    """Return who is asking."""
    return RequestInfo(
        request_id=new_request_id(),
        source_address=source_address(settings.trusted_proxy_hops),
        user_agent=request.headers.get("User-Agent", "")[:MAX_USER_AGENT],
    )


def source_address(hops: int) -> str:
    """Return the address of the client: that of the socket, or what the trusted reverse proxies saw.

    With one hop the last value of `X-Forwarded-For` counts, with two the one before; what stands further left was
    written by whoever sent the request.
    """
    peer = request.remote_addr or "unknown"
    if not hops:
        return peer
    told = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    return told[-hops][:64] if len(told) >= hops else peer


def check_host(settings: Settings) -> None:
    """Refuse a request for another host; links are made from the base URL, never from this header.

    Raises:
        BadRequest: the Host header is not that of the base URL.
    """
    if request.headers.get("Host", "").lower() != settings.host.lower():
        raise BadRequest(f"This portal is only reached at {settings.base_url}.")


def check_size() -> None:
    """Refuse an address or a body that is longer than any of ours, whether a view reads it or not."""
    if len(request.query_string) > MAX_QUERY_LENGTH or (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge


def check_text() -> None:
    """Refuse NUL anywhere in what was sent: no person types it, and PostgreSQL stores no text with it.

    Raises:
        BadRequest: there is one.
    """
    sent = (request.path, *request.args.values(), *request.form.values())
    if any("\0" in text for text in sent):
        raise BadRequest("The request has a character that no text has.")


def check_type() -> None:
    """Refuse a body that is no form: the form library reads JSON too, without any of our limits (S100).

    Raises:
        BadRequest: it has another type.
    """
    if request.mimetype not in FORM_TYPES:
        raise BadRequest("This portal reads forms only.")


def check_origin(settings: Settings) -> None:
    """Refuse a change that another site asks for: Fetch Metadata decides, `Origin` where a browser sends none.

    Raises:
        Forbidden: it comes from elsewhere.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in OWN_SITES:
        raise Forbidden
    if site is None and origin is not None and origin != settings.base_url:
        raise Forbidden
