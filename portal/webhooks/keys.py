"""The secrets of a hook: sealed in its row, new ones beside the previous ones until GitLab uses the new."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta

from portal.db import utc_now
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable
from portal.webhooks.models import Hook

COLUMNS = ("token_sealed", "signing_token_sealed", "previous_token_sealed", "previous_signing_token_sealed")
SIGNING_PREFIX = "whsec_"
SIGNING_BYTES = 32
# Deliveries that GitLab had begun when it took over new secrets arrive within this time: it waits ten seconds for an
# answer, and its queue may be long.
GRACE = timedelta(minutes=10)


def open_key(runtime: Runtime, hook: Hook, column: str) -> Secret | None:
    """Return one of a hook's secrets; None if there is none, or it cannot be read."""
    sealed: bytes | None = getattr(hook, column)
    if sealed is None:
        return None
    assert hook.id is not None
    try:
        return runtime.vault.open(sealed, Place("hook", hook.id, column), hook.origin)
    except SecretUnreadable:
        return None


def make_keys(runtime: Runtime, hook: Hook, origin: str, *, with_signature: bool) -> None:
    """Give a hook new secrets for a GitLab; the previous ones stay valid until `confirm_keys`.

    Those of another origin are never sent again, only recognized (S32).
    """
    previous = {column: open_key(runtime, hook, column) for column in COLUMNS[:2]}
    hook.origin = origin
    _seal(runtime, hook, "token_sealed", Secret(secrets.token_urlsafe(32)))
    _seal(runtime, hook, "signing_token_sealed", _signing_token() if with_signature else None)
    for column, key in previous.items():
        _seal(runtime, hook, f"previous_{column}", key)
    hook.previous_until = None


def add_signing_token(runtime: Runtime, hook: Hook) -> None:
    """Give a hook a signing token beside the token that it has."""
    _seal(runtime, hook, "signing_token_sealed", _signing_token())


def confirm_keys(hook: Hook, *, is_signed: bool, is_new: bool) -> None:
    """Note that GitLab has a hook's newest secrets; what is under way may still carry the previous ones.

    Nothing is under way from a hook that was made just now.
    """
    now = utc_now()
    if hook.previous_until is None and (hook.previous_token_sealed or hook.previous_signing_token_sealed):
        hook.previous_until = now + GRACE
    if is_signed and not hook.uses_signature:
        hook.uses_signature = True
        hook.signed_from = now if is_new else now + GRACE
    if not is_signed:
        hook.uses_signature, hook.signed_from, hook.signing_token_sealed = False, None, None


def _signing_token() -> Secret:
    return Secret(SIGNING_PREFIX + base64.b64encode(secrets.token_bytes(SIGNING_BYTES)).decode())


def _seal(runtime: Runtime, hook: Hook, column: str, key: Secret | None) -> None:
    assert hook.id is not None
    sealed = runtime.vault.seal(key, Place("hook", hook.id, column), hook.origin) if key else None
    setattr(hook, column, sealed)
