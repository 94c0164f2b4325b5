"""Put the checks around every view, in the only order that works."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, g, request
from flask_wtf.csrf import CSRFProtect, generate_csrf

from portal.requestinfo import current_request_info, requesting
from portal.runtime import Runtime
from portal.web import request_checks
from portal.web.access import refuse_undeclared
from portal.web.current import find_principal
from portal.web.headers import add_headers
from portal.web.machine import RATE, Rate, body_limit, check_machine, machine_of_request
from portal.web.proxies import describe_request, is_opened_over_http, proxy_problem, trust_configured_hops
from portal.web.sessions import CookieSessions, SessionStore, current_session, current_sessions
from portal.web.theme import add_theme, chosen_theme

TOKEN_SECONDS = 12 * 3600
_SIGNING_RING = "gatehouse_signing_ring"


def register(app: Flask, runtime: Runtime, store: SessionStore) -> None:
    """Add sessions, CSRF protection, checks, headers and what every template needs."""
    settings = runtime.settings
    hostname = urlsplit(settings.base_url).hostname or ""
    app.config.update(
        # Werkzeug does not compare ports or IPv6 addresses: `check_target` does.
        TRUSTED_HOSTS=None if ":" in hostname else [hostname],
        WTF_CSRF_CHECK_DEFAULT=False,  # Only pages: `_begin`.
        WTF_CSRF_TIME_LIMIT=TOKEN_SECONDS,
        WTF_CSRF_SSL_STRICT=False,  # It requires a Referer, which our pages do not send; check_origin is stricter.
        WTF_CSRF_HEADERS=["X-CSRFToken"],
    )
    app.request_class = request_checks.FormRequest
    trust_configured_hops(app, settings)
    app.session_interface = CookieSessions(runtime, store)
    follow_ring(app, runtime)
    app.before_request(lambda: follow_ring(app, runtime))
    csrf, rate = CSRFProtect(app), Rate()
    app.extensions[RATE] = rate
    app.before_request(lambda: _begin(runtime, csrf, rate))
    refuse_undeclared(app)
    app.after_request(lambda response: add_headers(response, is_https=settings.is_https))
    # How much of a body the web server reads before it calls the application (`gatehouse_gunicorn`).
    app.body_limit = partial(body_limit, app)  # type: ignore[attr-defined]
    add_theme(app)
    app.add_template_global(generate_csrf, "csrf_token")
    app.jinja_env.globals.update(
        navigation=runtime.capabilities.navigation, stylesheets=runtime.capabilities.stylesheets
    )
    app.add_template_global(lambda endpoint: endpoint in app.view_functions, "has_endpoint")

    @app.context_processor
    def names() -> dict[str, Any]:
        return {
            "principal": find_principal(),
            "settings": {
                "support_contact": runtime.settings.support_contact,
                "documentation_url": runtime.settings.documentation_url,
                "base_url": runtime.settings.base_url,
            },
            "theme": chosen_theme(request),
            "request_id": current_request_info().request_id,
            "proxy_problem": lambda: proxy_problem(runtime.settings),
            "is_opened_over_http": lambda: is_opened_over_http(runtime.settings),
        }

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        if entered := g.pop("entered", None):
            entered.__exit__(None, None, None)


def follow_ring(app: Flask, runtime: Runtime) -> None:
    """Sign forms with the newest key and keep accepting what the older ones signed, also after a rotation (S30)."""
    ring = runtime.vault.ring
    if app.extensions.get(_SIGNING_RING) is ring:
        return
    newest, older = runtime.vault.derive_key("csrf"), runtime.vault.derive_fallback_keys("csrf")
    # itsdangerous signs with the last of a list and verifies with all of them.
    app.config.update(SECRET_KEY=newest, SECRET_KEY_FALLBACKS=older, WTF_CSRF_SECRET_KEY=[*older, newest])
    app.extensions[_SIGNING_RING] = ring


def _begin(runtime: Runtime, csrf: CSRFProtect, rate: Rate) -> None:
    g.entered = requesting(describe_request())
    g.entered.__enter__()
    accepts = machine_of_request()
    if accepts is None:
        current_sessions().load(current_session())
    request_checks.check_target(runtime.settings)
    request_checks.check_size(accepts.max_bytes if accepts else request_checks.MAX_BODY_BYTES)
    request_checks.check_address()
    if accepts:
        check_machine(accepts, rate)
        return
    request_checks.check_arrived()
    request_checks.check_body()
    request_checks.check_origin(runtime.settings)
    csrf.protect(apply_exemptions=True)
