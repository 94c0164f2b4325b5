"""Forms of people: what their fields are called, what hints they have, and how much they take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from wtforms import EmailField, Field, PasswordField, SelectMultipleField, StringField
from wtforms.validators import Length

from portal.web.forms import StrictForm

MAX_TYPED = 4096
# For a form kept until its user signs in again; a CA certificate is the longest entry of any.
MAX_KEPT = 250_000
NEW_PASSWORD_HINT = "At least 8 characters; 15 or more are better."
LENGTH = (Length(max=MAX_TYPED, message="That is too long."),)


def _typed(
    kind: type[Field], label: str, hint: str = "", validators: Collection[Length] = LENGTH, **attributes: Any
) -> Field:
    return kind(label, validators, description=hint, render_kw={"required": True, **attributes})


class SetupForm(StrictForm):
    """The first run."""

    organization = _typed(StringField, "Organization", maxlength=100, autocomplete="organization")
    name = _typed(StringField, "Your name", maxlength=100, autocomplete="name")
    email = _typed(EmailField, "E-mail", autocomplete="username")
    password = _typed(PasswordField, "Password", NEW_PASSWORD_HINT, autocomplete="new-password")


class SignInForm(StrictForm):
    """E-mail and password. No validator: every failure looks the same."""

    email = _typed(EmailField, "E-mail", validators=(), autocomplete="username")
    password = _typed(PasswordField, "Password", validators=(), autocomplete="current-password")
    kept = StringField("Entries of the form that was open", [Length(max=MAX_KEPT)])


class EntriesForm(StrictForm):
    """Entries of a form that the user left, or opened before the last sign-in; `page` if it is not `next`."""

    page = StringField("Page", [Length(max=MAX_TYPED)])
    kept = StringField("Entries of the form that was open", [Length(max=MAX_KEPT)])


class ProofForm(StrictForm):
    """The password once more."""

    password = _typed(PasswordField, "Password", autocomplete="current-password")


class InvitationForm(StrictForm):
    """Someone who has an invitation."""

    name = _typed(StringField, "Your name", maxlength=100, autocomplete="name")
    password = _typed(PasswordField, "Password", NEW_PASSWORD_HINT, autocomplete="new-password")


class NameForm(StrictForm):
    """The user's name."""

    name = _typed(StringField, "Your name", maxlength=100, autocomplete="name")


class PasswordForm(StrictForm):
    """A new password for the user."""

    password = _typed(PasswordField, "Current password", autocomplete="current-password")
    new_password = _typed(
        PasswordField, "New password", "You will be signed out everywhere else.", autocomplete="new-password"
    )


class InviteForm(StrictForm):
    """A new member."""

    email = _typed(EmailField, "E-mail")
    role = StringField("Role", [Length(max=40)], default="team_lead")
    # The page lists them; anything else is refused.
    groups = SelectMultipleField("Groups", choices=[], validate_choice=False)


class RoleForm(StrictForm):
    """Another role for a member."""

    role = StringField("Role", [Length(max=40)])
