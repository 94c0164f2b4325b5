"""The form of an OAuth application: what was typed, and GitLab's messages about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from werkzeug.datastructures import MultiDict

from portal.sandbox.oauth.redirect_uris import registration_errors
from portal.sandbox.oauth.scopes import Scope


@dataclass
class ApplicationForm:
    """One filled-in form; `errors` are GitLab's full messages, empty if it may be saved."""

    name: str = ""
    redirect_uri: str = ""
    trusted: bool = False
    confidential: bool = True
    scopes: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)
    choices: tuple[Scope, ...] = ()
    may_trust: bool = False
    action: str = ""
    cancel: str = ""
    submit: str = "Save application"


def read_form(form: MultiDict[str, str], choices: tuple[Scope, ...], *, may_trust: bool) -> ApplicationForm:
    """Read and check a posted form; unknown scopes are dropped as GitLab's form cannot send them."""
    known = {scope.name for scope in choices}
    filled = ApplicationForm(
        name=form.get("name", "").strip(),
        redirect_uri="\n".join(form.get("redirect_uri", "").split()),
        trusted=may_trust and "trusted" in form,
        confidential="confidential" in form,
        scopes=tuple(name for name in form.getlist("scopes") if name in known),
        choices=choices,
        may_trust=may_trust,
    )
    filled.errors = application_errors(filled.name, filled.redirect_uri, filled.scopes)
    return filled


def application_errors(name: str, redirect_uri: str, scopes: Iterable[str]) -> list[str]:
    """Return GitLab's full messages for an application's fields."""
    errors = [] if name else ["Name can't be blank"]
    errors += [f"Redirect URI {message}" for message in registration_errors(redirect_uri)]
    return errors if tuple(scopes) else [*errors, "Scopes can't be blank"]
