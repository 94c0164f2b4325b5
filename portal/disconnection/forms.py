"""The form that ends a connection."""

from __future__ import annotations

from wtforms import StringField

from portal.web.forms import StrictForm


class DisconnectForm(StrictForm):
    """What is to become of the data, and the connection's name typed once more."""

    choice = StringField("Data")
    confirmation = StringField("Name of the connection")
