"""The password prompt: as its own page, in place of a form's response, and as a fragment."""

from __future__ import annotations

from flask import Flask, Response, request, url_for

from portal.accounts.forms import ProofForm
from portal.errors import InvalidInput
from portal.web.access import signed_in
from portal.web.addresses import page_of_form, safe_next
from portal.web.current import current_principal
from portal.web.forms import PROOF_FIELD
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import StaleProof, give_proof
from portal.web.request_checks import SAFE_METHODS


def register(app: Flask) -> None:
    """Add the page and the handler for stale proofs."""
    app.add_url_rule("/prove", "accounts.prove", prove, methods=["GET", "POST"])
    app.register_error_handler(StaleProof, ask)


@signed_in
def prove() -> Response:
    """Ask for the password again, then continue to where it was needed."""
    form = ProofForm()
    target = safe_next(request.values.get("next")) or url_for("connections.index")
    if request.method in SAFE_METHODS:
        return _question(200, fields=[("next", target)])
    try:
        give_proof(current_principal(), str(form.password.data or ""))
    except InvalidInput as error:
        return _question(422, error.field_errors["password"], fields=[("next", target)])
    return render("accounts/_proved.html") if wants_fragment() else leave_to(target)


def ask(stale: StaleProof) -> Response:
    """Answer a request whose proof is too old with the question."""
    own = request.full_path.rstrip("?")
    if stale.kept is not None and not wants_fragment():
        return _question(401, stale.problem, action=own, fields=stale.kept, name=PROOF_FIELD, stale=stale)
    ways_back = (safe_next(address) for address in (stale.back, own, request.form.get("next")))
    fields = [("next", next(filter(None, ways_back), url_for("connections.index")))]
    response = _question(401, stale.problem, fields=fields, stale=stale)
    if wants_fragment():
        response.headers["HX-Retarget"] = "#question"
        response.headers["HX-Reswap"] = "innerHTML"
    return response


def _question(
    status: int,
    problem: str = "",
    *,
    fields: list[tuple[str, str]],
    action: str = "",
    name: str = "password",
    stale: StaleProof | None = None,
) -> Response:
    return render(
        "accounts/prove.html",
        "accounts/_prove.html",
        status=status,
        action=action or url_for("accounts.prove"),
        fields=fields,
        name=name,
        problem=problem,
        purpose=stale.purpose if stale else "you continue",
        way_back=(stale.cancel_to if stale else "") or page_of_form(),
    )
