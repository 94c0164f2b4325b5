"""The base of every form: a fixed list of fields; anything else in the request is refused (S75)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import SelectMultipleField

from portal.errors import BadRequest

# The password that a form is sent again with, after the question of `portal.accounts.proof`.
PROOF_FIELD = "proof_password"
# Sent by every form of ours, whatever its fields: the CSRF token and where to go afterwards.
COMMON_FIELDS = frozenset({"csrf_token", "next", PROOF_FIELD})


class StrictForm(FlaskForm):  # type: ignore[misc,unused-ignore]
    """A form that refuses fields it does not know, so that nobody sets what the page does not offer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if request.method == "POST":
            many = [name for name, field in self._fields.items() if isinstance(field, SelectMultipleField)]
            refuse_unknown_fields(*self._fields, many=many)


def problems_of(form: FlaskForm) -> dict[str, str]:
    """Return the first sentence of each field of a validated form that is wrong."""
    return {name: str(sentences[0]) for name, sentences in form.errors.items() if sentences}


def refuse_unknown_fields(*known: str, many: Collection[str] = ()) -> None:
    """Check the fields of the present request, for views without a form object.

    Raises:
        BadRequest: it has a field that is neither among `known` nor among `many`, or one of `known` twice.
    """
    if set(request.form) - set(known) - set(many) - COMMON_FIELDS:
        raise BadRequest("The request has a field that this page does not.")
    # Of two values, one check might look at the first and another at the last.
    if any(len(request.form.getlist(name)) > 1 for name in (set(known) | COMMON_FIELDS) - set(many)):
        raise BadRequest("The request has a field twice.")
