"""Step-up: sensitive changes require the password again if it was given more than five minutes ago (S5).

    @blueprint.post(f"/members/<int(max={MAX_ID}):membership_id>/role")
    @requires(Right.MANAGE_MEMBERS)
    def change_role(membership_id: int) -> Response:
        form = RoleForm()  # First, so that bad fields are a 400.
        require_proof(purpose="changing a role", keep=("role",))
        ...

With a recent proof it returns and the user sees nothing of it. Otherwise the request ends with 401, before anything is
changed, and the person is asked for the password:

- **A plain form whose fields are all in `keep`** (a form without fields too): the question's page sends them again
  together with the password, and the same view does what was asked. No one types or presses anything twice.
- **A plain form with other fields**, which means secrets: they are not echoed. After the password the browser goes to
  `back`, otherwise to the view's own address when it has a page too, otherwise to the form's `next`. Call
  `require_proof()` in the GET view of such a form as well, so that the question comes before the typing.
- **A request of htmx**: a dialog asks, and the page stays as it is, with everything that was typed.
  After the password the person presses the button again; the page's CSRF token still holds.
- **A GET** (a download, the page of a form): after the password the browser goes to its address.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from flask import request

from portal.actor import Principal
from portal.errors import InvalidInput, SignInRequired
from portal.requestinfo import current_request_info
from portal.web.current import current_principal, forget_principal
from portal.web.forms import COMMON_FIELDS, PROOF_FIELD
from portal.web.sessions import current_session, current_sessions

PROOF_MINUTES = 5


class StaleProof(SignInRequired):
    """The password was given too long ago, or is wrong.

    Attributes:
        kept: names and values to send again with the password; None if the request cannot be repeated.
        back: where to go after the password instead; empty if the caller did not say.
        problem: what was wrong with the password that was sent; empty if none was.
        purpose: what the password is asked for, as it follows "before": "changing a role".
        cancel_to: where *Cancel* leads; empty for the page the request came from.
    """

    code = "proof_required"

    def __init__(
        self, kept: list[tuple[str, str]] | None, back: str, problem: str = "", *, purpose: str, cancel_to: str = ""
    ) -> None:
        super().__init__()
        self.kept = kept
        self.back = back
        self.problem = problem
        self.purpose = purpose
        self.cancel_to = cancel_to


def require_proof(*, purpose: str, keep: Collection[str] = (), back: str = "", cancel_to: str = "") -> None:
    """Return if the person asking gave their password within the last five minutes; signing in counts.

    Args:
        purpose: what the password is asked for, as it follows "before": "changing a role".
        keep: fields of the form that the question's page may contain; never one that holds a secret.
        back: one of our addresses to go to after the password, if the form cannot be resent automatically.
        cancel_to: where *Cancel* leads, when that is not the page the request came from.

    Raises:
        StaleProof: it was longer ago; the browser gets the question as its answer, and the caller has nothing left to
            do.
        SignInRequired: no one is signed in, or the session has ended.
        RateLimited: too many wrong passwords.
    """
    principal = current_principal()
    if is_proof_fresh(principal, current_sessions().store.now()):
        return
    password = request.form.get(PROOF_FIELD)
    if password is None:
        raise StaleProof(_repeatable(keep), back, purpose=purpose, cancel_to=cancel_to)
    try:
        give_proof(principal, password)
    except InvalidInput as error:
        problem = error.field_errors["password"]
        raise StaleProof(_repeatable(keep), back, problem, purpose=purpose, cancel_to=cancel_to) from None


def is_proof_fresh(principal: Principal, now: datetime) -> bool:
    """Return whether a person's last proof still counts."""
    return principal.proved_at is not None and now - principal.proved_at <= timedelta(minutes=PROOF_MINUTES)


def give_proof(principal: Principal, password: str) -> None:
    """Check the password; if it is right, the session continues under a new id with a fresh proof.

    Raises:
        InvalidInput: it is wrong; `field_errors` has `password`.
        SignInRequired: the session has ended.
        RateLimited: too many attempts.
    """
    sessions = current_sessions()
    sessions.store.check_password(principal, password, current_request_info().source_address)
    sessions.renew(current_session(), is_proved=True)
    forget_principal()


def _repeatable(keep: Collection[str]) -> list[tuple[str, str]] | None:
    if request.method != "POST" or set(request.form) - set(keep) - COMMON_FIELDS:
        return None
    return [(name, value) for name, value in request.form.items(multi=True) if name in {*keep, "next"}]
