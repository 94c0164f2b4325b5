"""What one delivery says, as far as the hook that it came from may say it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from portal.db import MAX_ID
from portal.foreign import Path, ShortText, Title
from portal.gitlab.hooks import Level
from portal.net.json_reader import JSONRefused, read_json
from portal.webhooks.models import Verdict

# By `object_kind`: something happened in a project.
ACTIVITY = frozenset({"push", "tag_push", "merge_request", "issue", "work_item", "note"})
PUSHES = frozenset({"push", "tag_push"})
# By `event_name`: the list of repositories, a path or someone's role is different now.
STRUCTURE = ("project_", "group_", "subgroup_", "user_add_to_", "user_remove_from_", "user_update_for_", "user_rename")
# What the intake stores in place of deliveries beyond its limit.
COALESCED = "coalesced"
MAX_TIME = 40
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ACTIONS = {
    "open": "opened",
    "close": "closed",
    "reopen": "reopened",
    "update": "changed",
    "merge": "merged",
    "approved": "approved",
    "approval": "approved by one person",
    "unapproved": "no longer approved",
    "unapproval": "approval withdrawn",
}
WORDS = {
    "merge_request": "merge request",
    "work_item": "work item",
    "repository_update": "repository changed",
    "project_create": "project created",
    "project_destroy": "project deleted",
    "project_rename": "project renamed",
    "project_transfer": "project moved",
    "project_update": "project changed",
    "group_create": "group created",
    "group_destroy": "group deleted",
    "group_rename": "group renamed",
    "subgroup_create": "subgroup created",
    "subgroup_destroy": "subgroup deleted",
    "user_add_to_team": "member added",
    "user_add_to_group": "member added",
    "user_remove_from_team": "member removed",
    "user_remove_from_group": "member removed",
    "user_update_for_team": "role changed",
    "user_update_for_group": "role changed",
    COALESCED: "more deliveries than a webhook may have",
}


@dataclass(frozen=True)
class Event:
    """What one delivery says.

    Attributes:
        kind: GitLab's `object_kind` or `event_name`.
        at: when it happened, if GitLab says so.
        body: as GitLab sent it, without NUL and lone surrogates. Nothing in it has been checked.
        source: level and subject of the hook that it came from.
        about: `activity` or `structure`, if the list of repositories has to know.
        occurrence: a digest that is the same for whatever another hook says about the same thing.
        happening: what `headline` reads.
    """

    delivery_id: int
    connection_id: int
    received_at: datetime
    project_id: int | None = None
    kind: str = ""
    at: datetime | None = None
    body: dict[str, Any] = field(default_factory=dict)
    source: tuple[str, int] = ("", 0)
    hook_id: int | None = None
    about: str = ""
    occurrence: str | None = None
    happening: dict[str, Any] | None = None
    verdict: Verdict = Verdict.APPLIED
    effect: str = ""

    def refused(self, effect: str) -> Event:
        """Return it as one that changes nothing and that no capability hears of."""
        return replace(self, kind="", about="", occurrence=None, verdict=Verdict.POISON, effect=effect)


def read_event(event: Event, packed: bytes) -> Event:
    """Return what a delivery says, from its compressed body."""
    level, subject_id = event.source
    try:
        raw = zlib.decompress(packed or b"")
        body = read_json(raw, "application/json", dict[str, Any])
    except (JSONRefused, zlib.error):
        return event.refused("no_json")
    about = [body, body.get("project"), body.get("object_attributes")]
    named = [item.get(name) for item in about if isinstance(item, dict) for name in ("project_id", "target_project_id")]
    project = body.get("project")
    named += [project.get("id")] if isinstance(project, dict) else []
    ids = [one for one in named if one is not None]
    number = next((one for one in ids if type(one) is int and 0 < one <= MAX_ID), None)
    kind = str(body.get("object_kind") or body.get("event_name") or "")
    event = replace(event, project_id=number, happening=_happening(kind, body))
    if not level:
        return event.refused("hook_gone")
    if level == Level.PROJECT and ids:
        if subject_id not in ids:
            return event.refused("other_project")
        # It may name others too, such as where a merge request comes from. Its secret is for this project only.
        number = subject_id
    occurrence = _occurrence(kind, number, body, raw)
    at = _time_of(body, event.received_at)
    event = replace(event, project_id=number, kind=kind, at=at, body=body, occurrence=occurrence)
    if kind in ACTIVITY or kind == "repository_update":
        return replace(event, about="activity")
    if kind == COALESCED:
        of_project = subject_id if level == Level.PROJECT else None
        return replace(event, project_id=of_project, about="structure", occurrence=None)
    if kind.startswith(STRUCTURE) and level != Level.PROJECT:  # GitLab sends none of these to the hook of a project.
        return replace(event, about="structure")
    return replace(event, verdict=Verdict.IGNORED, effect="unused")


def _occurrence(kind: str, project_id: int | None, body: dict[str, Any], raw: bytes) -> str:
    """Return the same for what the hooks of a project, its group and the instance are told about one thing.

    GitLab gives each hook's delivery its own key and its own event UUID. The bodies are the same, except that a system
    hook hears of a push without its commits.
    """
    if kind in PUSHES:
        told = (kind, project_id, *(body.get(name) for name in ("ref", "before", "after")))
        raw = repr(told).encode("utf-8", "backslashreplace")
    return hashlib.sha256(raw).hexdigest()


def _happening(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return what people may read of a body: no names of people, and none of its texts."""
    told: dict[str, Any] = {"kind": ShortText(kind)}
    about = body.get("object_attributes")
    about = about if isinstance(about, dict) else {}
    if kind in PUSHES:
        ref = body.get("ref")
        told["ref"] = Title(ref.removeprefix("refs/heads/").removeprefix("refs/tags/")) if isinstance(ref, str) else ""
        told["commits"] = _number(body.get("total_commits_count"))
        after = body.get("after")
        told["gone"] = isinstance(after, str) and bool(after) and not after.strip("0")
    elif kind == "note":
        on = about.get("noteable_type")
        told["on"] = ShortText(on) if isinstance(on, str) else ""
    elif kind in ACTIVITY:
        told["iid"], action = _number(about.get("iid")), about.get("action")
        told["action"] = ShortText(action) if isinstance(action, str) else ""
    else:
        path = body.get("path_with_namespace") or body.get("full_path")
        told["path"] = Path(path) if isinstance(path, str) else ""
    return told


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_ID else None


def headline(happening: dict[str, Any] | None) -> str:
    """Return what happened, to follow a repository's path; empty if that is not known."""
    if not happening:
        return ""
    kind = str(happening.get("kind", ""))
    word = WORDS.get(kind, kind.replace("_", " "))
    if kind in PUSHES:
        what, ref = ("push to" if kind == "push" else "tag"), happening.get("ref", "")
        if happening.get("gone"):
            return f"{'branch' if kind == 'push' else 'tag'} {ref} deleted"
        count = happening.get("commits") or 0
        commits = f", {count:,} commit{'' if count == 1 else 's'}" if kind == "push" and count else ""
        return f"{what} {ref}{commits}"
    if kind == "note":
        on = {"MergeRequest": "merge request", "Issue": "issue", "Commit": "commit", "Snippet": "snippet"}
        about = on.get(happening.get("on", ""), "")
        return f"comment on a{'n' if about == 'issue' else ''} {about}" if about else "comment"
    if happening.get("iid"):
        word = f"{word} {happening['iid']}"
    if action := happening.get("action"):
        word = f"{word} {ACTIONS.get(action, action)}"
    return f"{word}: {happening['path']}" if happening.get("path") else word


def _time_of(body: dict[str, Any], received_at: datetime) -> datetime | None:
    """Return when it happened; None if GitLab does not say, as about a push, whose commits may be of any time."""
    about = body.get("object_attributes")
    said = about.get("updated_at") or about.get("created_at") if isinstance(about, dict) else None
    if not isinstance(said, str) or len(said) > MAX_TIME:
        return None
    try:
        # `2013-12-03T17:23:34Z` and `2017-09-15 16:50:55 UTC` (user/project/integrations/webhook_events).
        at = datetime.fromisoformat(said.replace(" UTC", "Z"))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(at, received_at) if at > EPOCH else None
