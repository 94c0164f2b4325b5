"""The base of every form: a fixed list of fields; any other field in the request is refused (S75)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qsl

from flask import Response, request, session
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from wtforms import SelectMultipleField

from portal.errors import BadRequest, InvalidInput
from portal.web.request_checks import SAFE_METHODS

# The password with which a form is resent, after the question of `portal.web.proof`.
PROOF_FIELD = "proof_password"
# Sent by each of our forms, whatever its fields: the CSRF token and where to go afterwards.
COMMON_FIELDS = frozenset({"csrf_token", "next", PROOF_FIELD})
# Never shown again, and never kept for a form that waits for its user to sign in again.
SECRET_FIELDS = frozenset(
    {"password", "new_password", "secret", "access_token", "one_time_token", "client_key", "header_value", PROOF_FIELD}
)
# In the session, by page: `form` (its entries, encoded) and `at` (seconds) of forms that were left or sent too late.
KEPT_ENTRIES = "kept_entries"
KEPT_SECONDS = 15 * 60


class StrictForm(FlaskForm):  # type: ignore[misc,unused-ignore]
    """A form that refuses fields it does not know, so that no one sets what the page does not offer.

    On a page it is filled in with what was typed there before the session ended, if anything was.
    """

    class Meta(FlaskForm.Meta):  # type: ignore[misc,unused-ignore]
        """Where the entries come from: the request, or what was kept."""

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """Return what was sent; on a page, what was typed there and not taken."""
            found = super().wrap_formdata(form, formdata)
            kept = session.get(KEPT_ENTRIES, {}).get(request.path)
            if found is not None or request.method == "POST" or kept is None:
                return found
            is_fresh = time.time() - kept["at"] <= KEPT_SECONDS
            entries = MultiDict(parse_qsl(kept["form"], keep_blank_values=True))
            return entries if is_fresh and set(entries) <= set(form._fields) else found

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A form created without entries only shows its fields, beside another one that was sent.
        if request.method == "POST" and kwargs.get("formdata", ...) is not None:
            if request.path in session.get(KEPT_ENTRIES, {}):
                session[KEPT_ENTRIES] = {k: v for k, v in session[KEPT_ENTRIES].items() if k != request.path}
            many = [name for name, field in self._fields.items() if isinstance(field, SelectMultipleField)]
            refuse_unknown_fields(*self._fields, many=many)

    @property
    def problems(self) -> dict[str, str]:
        """The first sentence of each field that is wrong, by its name; `""` means the form as a whole."""
        return {name or "": str(sentences[0]) for name, sentences in self.errors.items() if sentences}

    @property
    def labels(self) -> dict[str, str]:
        """What each field is called, by its name."""
        return {name: field.label.text for name, field in self._fields.items()}

    def text(self, name: str) -> str:
        """Return what was typed into a field."""
        return str(self[name].data or "")

    def add_problems(self, error: InvalidInput) -> None:
        """Attach an error's sentences to their fields."""
        for name, sentence in (error.field_errors or {"": error.sentence}).items():
            if name in self._fields:
                self._fields[name].errors = [sentence]
            else:
                self.form_errors.append(sentence)


def answer_form(form: StrictForm, page: Callable[[], Response], act: Callable[[], Response]) -> Response:
    """Answer a view that shows a form and accepts it: the page, or what `act` returns for a form that was sent.

    If one of the form's validators or `act` finds something invalid (`InvalidInput`), the answer is the page again,
    422, with each sentence at its field. `page` renders `form`; the macro `entry` shows a field with its label, hint
    and sentence.
    """
    if request.method in SAFE_METHODS:
        return page()
    try:
        if form.validate():
            return act()
    except InvalidInput as error:
        form.add_problems(error)
    response = page()
    response.status_code = InvalidInput.status
    return response


def problems_of(form: FlaskForm) -> dict[str, str]:
    """Return the first error of each wrong field of a validated form."""
    return {name: str(sentences[0]) for name, sentences in form.errors.items() if sentences}


def refuse_unknown_fields(*known: str, many: Collection[str] = ()) -> None:
    """Check the fields of the current request, for views without a form object.

    Raises:
        BadRequest: it has a field that is neither among `known` nor among `many`, or one of `known` twice.
    """
    if set(request.form) - set(known) - set(many) - COMMON_FIELDS:
        raise BadRequest("The request has a field that this page does not.")
    # Of two values, one check might look at the first and another at the last.
    if any(len(request.form.getlist(name)) > 1 for name in (set(known) | COMMON_FIELDS) - set(many)):
        raise BadRequest("The request has a field twice.")
