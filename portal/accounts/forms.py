"""Forms of people."""

from __future__ import annotations

from wtforms import SelectMultipleField, StringField
from wtforms.validators import Length

from portal.web.forms import StrictForm

MAX_TYPED = 4096
# For a form kept until its user signs in again; a CA certificate is the longest entry of any.
MAX_KEPT = 250_000


class SetupForm(StrictForm):
    """The first run."""

    organization = StringField("Organization", [Length(max=MAX_TYPED)])
    name = StringField("Your name", [Length(max=MAX_TYPED)])
    email = StringField("E-mail", [Length(max=MAX_TYPED)])
    password = StringField("Password", [Length(max=MAX_TYPED)])


class SignInForm(StrictForm):
    """E-mail and password."""

    email = StringField("E-mail", [Length(max=MAX_TYPED)])
    password = StringField("Password", [Length(max=MAX_TYPED)])
    kept = StringField("Entries of the form that was open", [Length(max=MAX_KEPT)])


class EntriesForm(StrictForm):
    """Entries of a form that the user left, or opened before the last sign-in; `page` if it is not `next`."""

    page = StringField("Page", [Length(max=MAX_TYPED)])
    kept = StringField("Entries of the form that was open", [Length(max=MAX_KEPT)])


class ProofForm(StrictForm):
    """The password once more."""

    password = StringField("Password", [Length(max=MAX_TYPED)])


class InvitationForm(StrictForm):
    """Someone who has an invitation."""

    name = StringField("Your name", [Length(max=MAX_TYPED)])
    password = StringField("Password", [Length(max=MAX_TYPED)])


class NameForm(StrictForm):
    """The user's name."""

    name = StringField("Your name", [Length(max=MAX_TYPED)])


class PasswordForm(StrictForm):
    """A new password for the user."""

    password = StringField("Current password", [Length(max=MAX_TYPED)])
    new_password = StringField("New password", [Length(max=MAX_TYPED)])


class InviteForm(StrictForm):
    """A new member."""

    email = StringField("E-mail", [Length(max=MAX_TYPED)])
    role = StringField("Role", [Length(max=40)], default="team_lead")
    groups = SelectMultipleField("Groups", choices=[])


class RoleForm(StrictForm):
    """Another role for a member."""

    role = StringField("Role", [Length(max=40)])
