"""Reverse proxies: the portal's own address comes from its settings, the client's from the configured hops (S15)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from portal.logs import get_logger
from portal.requestinfo import RequestInfo, new_request_id
from portal.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What reverse proxies add; a browser sends none of them.
ADDED_BY_PROXIES = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host")
MAX_USER_AGENT = 200
_SERVER_SCHEME = "gatehouse.server_scheme"

log = get_logger(__name__)
_logged: set[str] = set()


class OwnAddress:
    """WSGI middleware that sets scheme and path prefix to those of the base URL, whatever server and headers say.

    WSGI servers differ in what they take from a request: gunicorn reads a header SCRIPT_NAME and X-Forwarded-Proto from
        loopback unless told not to, others have their own settings.
    """

    def __init__(self, app: WSGIApplication, base_url: str) -> None:
        self._app = app
        self._scheme = urlsplit(base_url).scheme

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        # The base URL has no path. What a server removed from the front of the path is put back.
        if "HTTP_HOST" in environ:
            environ["HTTP_HOST"] = environ["HTTP_HOST"].lower()  # Werkzeug's TRUSTED_HOSTS is case-sensitive.
        environ["PATH_INFO"] = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        environ["SCRIPT_NAME"] = ""
        environ[_SERVER_SCHEME] = environ.get("wsgi.url_scheme", "http")
        environ["wsgi.url_scheme"] = self._scheme
        return self._app(environ, start_response)


def trust_configured_hops(app: Flask, settings: Settings) -> None:
    """Take the client's address from the configured number of proxies, and nothing else from the headers."""
    hops = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxy_hops, x_proto=0, x_host=0, x_port=0, x_prefix=0)
    app.wsgi_app = OwnAddress(hops, settings.base_url)  # type: ignore[method-assign]


def describe_request() -> RequestInfo:
    """Return who is asking."""
    agent = request.headers.get("User-Agent", "")[:MAX_USER_AGENT]
    return RequestInfo(
        request_id=new_request_id(),
        source_address=source_address(),
        user_agent="".join(character if character.isprintable() else "?" for character in agent),
    )


def source_address() -> str:
    """Return the client's address: what the trusted proxies saw, otherwise the socket's."""
    told = request.remote_addr or ""
    peer = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR") or told
    return _address_in(told) or _address_in(peer) or str(peer)[:64] or "unknown"


def proxy_problem(settings: Settings) -> str:
    """Return what this request shows to be wrong between the reverse proxies and the settings; empty if nothing.

    It only uses the request itself: no one can make others see such a sentence.
    """
    hops = settings.trusted_proxy_hops
    told = [part for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    peer = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR") or request.remote_addr
    is_decrypted_before = settings.is_https and request.environ.get(_SERVER_SCHEME) == "http"
    if not hops and (is_decrypted_before or any(name in request.headers for name in ADDED_BY_PROXIES)):
        problem = (
            "A reverse proxy is in front of this portal, but GATEHOUSE_TRUSTED_PROXY_HOPS is 0: every visitor seems to "
            f"come from {peer}. Sign-in limits and the audit log cannot tell people apart. The operator of this portal "
            "sets it to the number of proxies."
        )
    elif hops > len(told):
        problem = (
            f"GATEHOUSE_TRUSTED_PROXY_HOPS is {hops}, but this request names {len(told)} addresses in X-Forwarded-For: "
            f"visitors seem to come from {peer}. The operator of this portal has every proxy add the address it sees, "
            "or corrects the number."
        )
    else:
        return ""
    kind = f"{hops}>{len(told)}" if hops else "0"
    if kind not in _logged:
        _logged.add(kind)
        log.warning("proxy_settings_do_not_fit", trusted_hops=hops, addresses_told=len(told), peer=peer)
    return problem


def is_opened_over_http(settings: Settings) -> bool:
    """Return whether the browser reached the proxy over plain HTTP, where it neither keeps nor sends our cookies."""
    return settings.is_https and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "http"


def _address_in(text: str) -> str:
    """Return the IP address in what a proxy wrote, without the port that some add; empty if there is none."""
    for candidate in (text.strip(), text.strip().partition("]")[0].lstrip("["), text.rpartition(":")[0].strip()):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return ""
