"""Record who did what, in the transaction of the change itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from portal.actor import Actor
from portal.audit.chain import add_event
from portal.audit.models import RESULTS
from portal.audit.text import clean_details, encode_controls, foreign_paths
from portal.db import utc_now
from portal.requestinfo import current_request_info

_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")


@dataclass(frozen=True)
class Target:
    """What something was done to, with its name at that moment.

    Attributes:
        organization_id: whose log the event is in; None if it is unknown (a sign-in for an unknown account).
        type: `connection`, `person`, `job` …
    """

    organization_id: int | None
    type: str
    id: str | int | None = ""
    name: str = ""


def record(
    session: Session, actor: Actor, action: str, target: Target, /, *, result: str = "ok", **details: Any
) -> None:
    """Write one event with the caller's transaction: either both the change and its event are kept, or neither is
    (S84).

    Source address, request id and user agent are those of the request that runs now. Never put a secret into the
    details; wrap what GitLab chose into `Foreign`.

    Raises:
        AuditImpossible: nothing can be chained here; do not catch it, so that the change is not made either.
        ValueError: the action is not `noun.verb`, the result is unknown, or the kind of object is missing.
    """
    if not _ACTION.fullmatch(action) or result not in RESULTS or not target.type:
        raise ValueError(f"no event: {action!r}, {result!r}, {target.type!r}")
    info = current_request_info()
    values = {
        "at": utc_now(),
        "organization_id": target.organization_id,
        "actor_kind": actor.kind.value,
        "actor_id": encode_controls(actor.id, 200),
        "actor_name": encode_controls(actor.name, 200),
        "action": action,
        "object_type": target.type,
        "object_id": encode_controls(str(target.id), 200),
        "object_name": encode_controls(target.name, 300),
        "result": result,
        "source_address": info.source_address,
        "request_id": info.request_id,
        "user_agent": encode_controls(info.user_agent, 300),
        "details": clean_details(details),
        "foreign_fields": [*foreign_paths(target.name, "object_name"), *foreign_paths(details, "details")],
    }
    add_event(session, values)
