"""The session ends in the middle of something: say so, let the person sign in, and continue with what was typed.

- **A page** (GET): to the sign-in page and back.
- **A plain form**: the sign-in page is the answer (401). It carries the form's entries, secrets excepted; after signing
  in they wait in the session until the form's page is shown again (`portal.web.forms.StrictForm` fills them in).
- **A request of htmx**: a dialog asks; the page stays as it is, and its forms get the token of the new session.

The same happens if someone has signed in again in another tab and the forms of this one belong to an ended session.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Response, flash, request, session, url_for
from flask_wtf.csrf import CSRFError

from portal.accounts.forms import MAX_KEPT, EntriesForm, SignInForm
from portal.errors import Forbidden, PortalError, SignInRequired
from portal.requestinfo import current_request_info
from portal.web.access import Access, declared_right, signed_in
from portal.web.addresses import page_of_form, safe_next
from portal.web.current import current_runtime, find_principal
from portal.web.error_pages import answer
from portal.web.forms import COMMON_FIELDS, KEPT_ENTRIES, SECRET_FIELDS
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.machine import machine_of_request
from portal.web.request_checks import OWN_SITES, SAFE_METHODS

# For how many more pages entries are kept at once: the steps of the walkthrough.
MAX_PAGES = 5


class PageOutOfDate(PortalError):
    """The page was opened before the user last signed in: its forms are signed for an ended session."""

    status = 403
    code = "page_out_of_date"
    title = "This page is out of date"
    sentence = "You have signed in again since it was opened. Nothing was changed. Entries are kept, except secrets."


def register(app: Flask) -> None:
    """Answer every request that needs a session and has none."""
    app.add_url_rule("/entries", "accounts.take_up_entries", take_up_entries, methods=["POST"])
    app.register_error_handler(SignInRequired, ask_to_sign_in)
    app.register_error_handler(CSRFError, lambda _error: refuse_token(app))


def ask_to_sign_in(error: SignInRequired) -> Response:
    """Ask a signed-out person to sign in, without losing their work."""
    if machine_of_request():
        return answer(error)
    if wants_fragment():
        return render_question(401)
    own = request.full_path.rstrip("?")
    if request.method in SAFE_METHODS:
        return leave_to(url_for("accounts.sign_in", next=own))
    kept, had_secret = _entries()
    context: dict[str, Any] = {"form": SignInForm(formdata=None), "next": page_of_form(), "kept": kept}
    return render("accounts/sign_in.html", status=401, is_over=True, had_secret=had_secret, **context)


@signed_in
def take_up_entries() -> Response:
    """Continue to a page, keeping what was typed on an older copy of it, or on another page until it is shown again."""
    form = EntriesForm()
    target = safe_next(request.form.get("next")) or url_for("connections.index")
    if page := safe_next(form.page.data):
        keep_entries(page, str(form.kept.data or ""))
    else:
        take_up(target, str(form.kept.data or ""))
    return leave_to(target)


def render_question(status: int, form: SignInForm | None = None) -> Response:
    """Ask in a dialog over the page that sent the request."""
    response = render("accounts/_sign_in.html", status=status, form=form or SignInForm(formdata=None))
    response.headers["HX-Retarget"] = "#question"
    response.headers["HX-Reswap"] = "innerHTML"
    return response


def take_up(page: str, kept: str) -> None:
    """Let a page continue where the user was when the session ended, and say so."""
    todo = (
        "saved: check your entries, then press the button" if keep_entries(page, kept) else "changed: press the button"
    )
    flash(f"You are signed in again. Nothing was {todo} once more.", "info")


def keep_entries(page: str, kept: str) -> bool:
    """Have a page's form filled in with entries when it is next shown; return whether there are any."""
    fields = parse_qsl(kept[:MAX_KEPT], keep_blank_values=True)
    clean = [(name, value) for name, value in fields if name not in SECRET_FIELDS | COMMON_FIELDS]
    others = {name: entry for name, entry in session.get(KEPT_ENTRIES, {}).items() if name != page}
    if clean:
        newest = list(others.items())[-MAX_PAGES:]
        session[KEPT_ENTRIES] = dict(newest) | {
            page.partition("?")[0]: {"form": urlencode(clean), "at": int(time.time())}
        }
    return bool(clean)


def _entries() -> tuple[str, bool]:
    """Return the current request's form without its secrets, encoded; and whether there was a secret."""
    skipped = SECRET_FIELDS | COMMON_FIELDS
    kept = urlencode([item for item in request.form.items(multi=True) if item[0] not in skipped])
    return kept if len(kept) <= MAX_KEPT else "", any(request.form.get(name) for name in SECRET_FIELDS)


def refuse_token(app: Flask) -> Response:
    """Answer a form whose token does not belong to the current session."""
    is_public = request.endpoint is None or declared_right(app, request.endpoint) in (None, Access.PUBLIC)
    # Only our own pages are told how to continue; `check_origin` lets requests through that do not say where they come
    # from.
    settings = current_runtime().settings
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site in OWN_SITES or (site is None and origin == settings.base_url)
    if is_public or not is_ours:
        return answer(Forbidden())
    if find_principal() is None:
        return ask_to_sign_in(SignInRequired())
    if wants_fragment():
        response = render("accounts/_signed_in.html", status=403, is_new_session=True)
        response.headers["HX-Retarget"] = "#question"
        response.headers["HX-Reswap"] = "innerHTML"
        return response
    context: dict[str, Any] = {"error": PageOutOfDate(), "card": None, "request_id": current_request_info().request_id}
    return render("errors/page.html", status=403, way_on=page_of_form(), kept=_entries()[0], **context)
