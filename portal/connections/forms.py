"""The forms of the walkthrough. Field names are stable: people script against them."""

from __future__ import annotations

from wtforms import BooleanField, PasswordField, RadioField, SelectMultipleField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Length

from portal.connections.applications import SECRET_PREFIX
from portal.connections.models import Method
from portal.gitlab.identification import Service
from portal.net.address import trim_pasted
from portal.web.forms import StrictForm

MAX_TYPED = 2000
MAX_PEM = 70_000
# Columns hold 500; the scheme may be added.
MAX_ADDRESS = 480
_TOO_LONG = "That is too long."


class ServicesForm(StrictForm):
    """What a connection is used for."""

    services = SelectMultipleField("Services", choices=[SelectChoice(item.value, item.value) for item in Service])
    hooks_wanted = BooleanField("Webhooks")


class PurposeForm(ServicesForm):
    """Step 1."""

    display_name = StringField("Display name", [Length(max=200, message=_TOO_LONG)])
    method = RadioField(
        "Method", choices=[SelectChoice(item.value, item.value) for item in Method], default=Method.OAUTH
    )


class InstanceForm(StrictForm):
    """Step 2."""

    domain = StringField("Domain", [Length(max=MAX_ADDRESS, message=_TOO_LONG)])
    api_url = StringField("API URL", [Length(max=MAX_ADDRESS, message=_TOO_LONG)])
    ca_certificate = TextAreaField("CA certificate", [Length(max=MAX_PEM, message=_TOO_LONG)])
    proxy = StringField("Proxy", [Length(max=MAX_ADDRESS, message=_TOO_LONG)])
    proxy_exceptions = StringField("Except for", [Length(max=MAX_TYPED, message=_TOO_LONG)])
    # Whether connections that share the GitLab follow, once that has been asked.
    reach = StringField("Connections that change", [Length(max=10)])
    # Buttons of the page: trust an authority by its fingerprint, use another address, or use it for browsers only and
    # keep this one for the API.
    trust = StringField("Trust this certificate authority", [Length(max=100, message=_TOO_LONG)])
    use = StringField("Use this address", [Length(max=MAX_ADDRESS, message=_TOO_LONG)])
    use_external = StringField("Use this address for browsers", [Length(max=MAX_ADDRESS, message=_TOO_LONG)])


class GatewayForm(StrictForm):
    """What a gateway in front of a GitLab wants to see."""

    client_certificate = TextAreaField(
        "Client certificate",
        [Length(max=MAX_PEM, message=_TOO_LONG)],
        description="PEM, with its intermediate certificates after it.",
        render_kw={"optional": True, "mono": True, "rows": 5, "placeholder": "-----BEGIN CERTIFICATE-----"},
    )
    client_key = TextAreaField("Private key", [Length(max=MAX_PEM, message=_TOO_LONG)])
    header_name = StringField(
        "Header",
        [Length(max=100, message=_TOO_LONG)],
        description="Sent with every request to this GitLab, and to no other address.",
        render_kw={"optional": True, "mono": True, "placeholder": "X-Gateway-Key"},
    )
    header_value = PasswordField("Value", [Length(max=5000, message=_TOO_LONG)])


class ServiceUserForm(StrictForm):
    """Step 4."""

    service_username = StringField("Service user", [Length(max=255, message=_TOO_LONG)])


class ApplicationForm(StrictForm):
    """Step 3, and the page that replaces both values later."""

    application_id = StringField("Application ID", [Length(max=MAX_TYPED, message=_TOO_LONG)])
    secret = StringField("Secret", [Length(max=MAX_TYPED, message=_TOO_LONG)])

    @property
    def shown_id(self) -> str:
        """The Application ID as a page or an address may repeat it: a Secret in the wrong box stays out of both."""
        typed = trim_pasted(self.application_id.data or "")
        return "" if typed.startswith(SECRET_PREFIX) else typed


class RenameForm(StrictForm):
    """A new display name."""

    display_name = StringField("Display name", [Length(max=200, message=_TOO_LONG)])
