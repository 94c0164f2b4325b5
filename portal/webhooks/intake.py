"""Take deliveries in: verify, store, answer. Nothing is parsed and GitLab is not asked before the answer (S66)."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from sqlmodel import col, select

from portal.db import insert_unless_there, utc_now
from portal.foreign import ShortText
from portal.runtime import Runtime
from portal.webhooks.models import Delivery, Hook, HookStatus, Mode
from portal.webhooks.verify import verify_delivery

MAX_KEY = 100
MAX_EVENT = 100
# The row of a busy hook is not written with every delivery.
NOTED_EVERY = timedelta(seconds=1)
_VERSION = re.compile(r"GitLab/(\d+\.\d+(?:\.\d+)?)")


class Taken(StrEnum):
    """What happened to a delivery."""

    STORED = "stored"
    KNOWN = "known"
    REFUSED = "refused"
    NO_HOOK = "no_hook"


def take_delivery(
    runtime: Runtime, public_id: str, headers: Mapping[str, str], body: bytes, now: datetime | None = None
) -> Taken:
    """Store a delivery that its hook's secrets prove; a copy of a known one changes nothing.

    The names of `headers` are in lower case.
    """
    now = now or utc_now()
    with runtime.database.reading() as session:
        hook = session.exec(select(Hook).where(col(Hook.public_id) == public_id)).first()
    if hook is None or hook.id is None:
        return Taken.NO_HOOK
    by = verify_delivery(runtime, hook, headers, body, now)
    if by is None:
        # One valid delivery clears it; the next comparison sends the secrets again.
        if hook.refused_at is None or hook.refused_at < now - timedelta(minutes=1):
            with runtime.database.transaction() as session:
                if found := session.get(Hook, hook.id, with_for_update=True):
                    found.refused_at = now
        return Taken.REFUSED
    event = ShortText(headers.get("x-gitlab-event", ""))[:MAX_EVENT]
    key = headers.get("idempotency-key", "") or (headers.get("webhook-id", "") if by == "signature" else "")
    if not key or len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        key = "sha256:" + hashlib.sha256(event.encode() + b"\0" + body).hexdigest()
    version = _VERSION.search(headers.get("user-agent", "")[:MAX_KEY])
    values = {
        "connection_id": hook.connection_id,
        "hook_id": hook.id,
        "key": key,
        "event": event,
        "received_at": now,
        "verified_by": by,
        "body": zlib.compress(body, 1),
        "size": len(body),
        "gitlab_version": version[1][:20] if version else "",
        "verdict": "waiting",
        "effect": "",
    }
    is_noted = hook.last_delivery_at is not None and hook.last_delivery_at > now - NOTED_EVERY
    is_changed = hook.refused_at or hook.status in {HookStatus.UNPROVED, HookStatus.REFUSED} or hook.verified_by != by
    with runtime.database.transaction() as session:
        is_new = insert_unless_there(session, Delivery, values) is not None
        if is_changed or not is_noted or hook.proved_at is None:
            _note(session.get(Hook, hook.id, with_for_update=True), by, event, now)
    return Taken.STORED if is_new else Taken.KNOWN


def _note(hook: Hook | None, by: str, event: str, now: datetime) -> None:
    if hook is None:
        return
    hook.last_delivery_at, hook.verified_by, hook.refused_at = now, by, None
    hook.proved_at = hook.proved_at or now
    if event and event not in hook.events_seen:
        hook.events_seen = [*hook.events_seen, event][-30:]
    if hook.mode == Mode.BY_HAND and by == "signature":
        # Whoever set it up also entered the signing token: from now on it is required.
        hook.uses_signature, hook.signed_from = True, hook.signed_from or now
    if hook.status in {HookStatus.UNPROVED, HookStatus.REFUSED} and (
        hook.gitlab_hook_id is not None or hook.mode == Mode.BY_HAND
    ):
        hook.status, hook.card = HookStatus.ACTIVE, None
