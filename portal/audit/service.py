"""Record who did what, in the transaction of the change itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy.orm import Session

from portal.audit.chain import add_event
from portal.audit.models import RESULTS
from portal.audit.text import clean_details, encode_controls, foreign_paths
from portal.db import utc_now
from portal.requestinfo import current_request_info

# Who did it when no person did.
PORTAL = "Gatehouse"
_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
_actor_name: ContextVar[str] = ContextVar("actor_name", default="")


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Name the person whose actions are recorded while the block runs."""
    token = _actor_name.set(name)
    try:
        yield
    finally:
        _actor_name.reset(token)


def record(
    session: Session,
    *,
    action: str,
    organization_id: int | None,
    actor_user_id: int | None,
    object_type: str,
    object_id: str | int,
    object_name: str = "",
    actor_name: str | None = None,
    result: str = "ok",
    details: dict[str, Any] | None = None,
) -> None:
    """Write one event with the caller's transaction: either both the change and its event are kept, or neither is
    (S84).

    `actor_name` defaults to whoever is signed in. Source address, request id and user agent are those of the
    request that runs now. Never put a secret into `details`; wrap what GitLab chose into `Foreign`.

    Raises:
        AuditImpossible: nothing can be chained here; do not catch it, so that the change is not made either.
        ValueError: the action is not `noun.verb`, the result is unknown, or the kind of object is missing.
    """
    if not _ACTION.fullmatch(action) or result not in RESULTS or not object_type:
        raise ValueError(f"no event: {action!r}, {result!r}, {object_type!r}")
    info, given = current_request_info(), details or {}
    values = {
        "at": utc_now(),
        "organization_id": organization_id,
        "actor_user_id": actor_user_id,
        "actor_name": encode_controls(_actor_name.get() if actor_name is None else actor_name, 200),
        "action": action,
        "object_type": object_type,
        "object_id": encode_controls(str(object_id), 200),
        "object_name": encode_controls(object_name, 300),
        "result": result,
        "source_address": info.source_address,
        "request_id": info.request_id,
        "user_agent": encode_controls(info.user_agent, 300),
        "details": clean_details(given),
        "foreign_fields": [*foreign_paths(object_name, "object_name"), *foreign_paths(given, "details")],
    }
    add_event(session, values)
