"""Forms of people."""

from __future__ import annotations

from wtforms import StringField
from wtforms.validators import Length

from portal.forms import StrictForm

MAX_TYPED = 4096


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


class ProofForm(StrictForm):
    """The password once more."""

    password = StringField("Password", [Length(max=MAX_TYPED)])


class InvitationForm(StrictForm):
    """Somebody who has an invitation."""

    name = StringField("Your name", [Length(max=MAX_TYPED)])
    password = StringField("Password", [Length(max=MAX_TYPED)])


class NameForm(StrictForm):
    """One's own name."""

    name = StringField("Your name", [Length(max=MAX_TYPED)])


class PasswordForm(StrictForm):
    """A new password for oneself."""

    password = StringField("Present password", [Length(max=MAX_TYPED)])
    new_password = StringField("New password", [Length(max=MAX_TYPED)])


class InviteForm(StrictForm):
    """A new member."""

    email = StringField("E-mail", [Length(max=MAX_TYPED)])
    role = StringField("Role", [Length(max=40)])


class RoleForm(StrictForm):
    """Another role for a member."""

    role = StringField("Role", [Length(max=40)])
