"""The base of every form: a fixed list of fields; anything else in the request is refused (S75)."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_wtf import FlaskForm

from portal.errors import BadRequest

# Sent by every form of ours, whatever its fields: the CSRF token and where to go afterwards.
COMMON_FIELDS = frozenset({"csrf_token", "next"})


class StrictForm(FlaskForm):  # type: ignore[misc,unused-ignore]
    """A form that refuses fields it does not know, so that nobody sets what the page does not offer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if request.method == "POST":
            refuse_unknown_fields(*self._fields)


def refuse_unknown_fields(*known: str) -> None:
    """Check the fields of the present request, for views without a form object.

    Raises:
        BadRequest: it has a field that is not among `known`.
    """
    if set(request.form) - set(known) - COMMON_FIELDS:
        raise BadRequest("The request has a field that this page does not.")
