"""The form that ends a connection."""

from __future__ import annotations

from wtforms import StringField

from portal.web.forms import StrictForm


class DisconnectForm(StrictForm):
    """What should happen to the data, and the connection's name typed again."""

    choice = StringField("Data")
    confirmation = StringField("Name of the connection")
