"""Whether a delivery came from the GitLab that has the hook's secrets (Standard Webhooks 1.0).

GitLab sends `webhook-id` and `webhook-timestamp` with every delivery of new versions; only `webhook-signature` shows
that the hook has a signing token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from portal.runtime import Runtime
from portal.webhooks.keys import SIGNING_PREFIX, open_key
from portal.webhooks.models import Hook, Outcome

TOLERANCE_SECONDS = 300
MAX_SIGNATURES = 10


def verify_delivery(runtime: Runtime, hook: Hook, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
    """Return how a delivery is proved, `signature` or `token`; None if it is not.

    A hook whose signing token GitLab has confirmed accepts nothing without a signature (S63). Previous secrets count
    until GitLab is known to use the new ones, and a while after.
    """
    has_previous = hook.previous_until is None or now < hook.previous_until
    kinds = ("", "previous_") if has_previous else ("",)
    if signatures := headers.get("webhook-signature", ""):
        keys = [open_key(runtime, hook, f"{kind}signing_token_sealed") for kind in kinds]
        signed = [key.reveal() for key in keys if key]
        if signed:
            return "signature" if any(_is_signed(key, signatures, headers, body, now) for key in signed) else None
    if hook.uses_signature and hook.signed_from is not None and now >= hook.signed_from:
        return None
    sent = headers.get("x-gitlab-token", "").encode("utf-8", "surrogateescape")
    tokens = [open_key(runtime, hook, f"{kind}token_sealed") for kind in kinds]
    # Each is compared, so that the time does not show which one matched.
    matches = [hmac.compare_digest(sent, token.reveal().encode()) for token in tokens if token]
    return "token" if sent and any(matches) else None


def refusal_of(hook: Hook, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return why a delivery was refused, from what it carried."""
    if headers.get("webhook-signature"):
        return Outcome.WRONG_SIGNATURE
    if not headers.get("x-gitlab-token"):
        return Outcome.NO_SECRET
    is_required = hook.uses_signature and hook.signed_from is not None and now >= hook.signed_from
    return Outcome.NO_SIGNATURE if is_required else Outcome.WRONG_TOKEN


def _is_signed(key: str, signatures: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        return False
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    try:
        secret = base64.b64decode(key.removeprefix(SIGNING_PREFIX), validate=True)
    except binascii.Error:
        return False
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    digest = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256))
    wanted = b"v1," + digest
    given = signatures.encode("utf-8", "surrogateescape").split(maxsplit=MAX_SIGNATURES)
    return any(hmac.compare_digest(item, wanted) for item in given)
