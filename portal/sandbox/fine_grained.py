"""Fine-grained tokens: which permission each address needs, at which boundary, and GitLab's words for a refusal.

https://docs.gitlab.com/auth/tokens/fine_grained_access_tokens_rest/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from flask import request

from portal.sandbox.api.answers import ApiError
from portal.sandbox.groups import Group
from portal.sandbox.people import User
from portal.sandbox.personal_tokens import GranularScope
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

Boundary = Literal["project", "group", "user", "instance"]

HOOK_OWNERS: tuple[Boundary, ...] = ("project", "group")

# The address below `/api/v4`, without its parameters' names -> method -> (permission, boundary).
NEEDED: dict[str, dict[str, tuple[str, Boundary]]] = {
    "/version": {"GET": ("read_metadata", "instance")},
    "/metadata": {"GET": ("read_metadata", "instance")},
    "/license": {"GET": ("read_license", "instance")},
    "/user": {"GET": ("read_user", "user")},
    "/users": {"GET": ("read_user", "instance"), "POST": ("create_user", "instance")},
    "/users/*": {"GET": ("read_user", "user")},
    "/users/*/personal_access_tokens": {"POST": ("create_personal_access_token", "instance")},
    "/user/personal_access_tokens": {"POST": ("create_personal_access_token", "user")},
    "/personal_access_tokens/self": {
        "GET": ("read_personal_access_token", "user"),
        "DELETE": ("revoke_personal_access_token", "user"),
    },
    "/personal_access_tokens/self/rotate": {"POST": ("rotate_personal_access_token", "user")},
    "/personal_access_tokens/*/rotate": {"POST": ("rotate_personal_access_token", "user")},
    "/applications": {
        "GET": ("read_oauth_application", "instance"),
        "POST": ("create_oauth_application", "instance"),
    },
    "/applications/*": {"DELETE": ("delete_oauth_application", "instance")},
    "/applications/*/renew-secret": {"POST": ("renew_secret_oauth_application", "instance")},
    "/user/applications": {
        "GET": ("read_oauth_application", "user"),
        "POST": ("create_oauth_application", "user"),
    },
    "/user/applications/*": {
        "GET": ("read_oauth_application", "user"),
        "DELETE": ("delete_oauth_application", "user"),
        "PUT": ("update_oauth_application", "user"),
    },
    "/service_accounts": {
        "GET": ("read_service_account", "instance"),
        "POST": ("create_service_account", "instance"),
    },
    "/projects": {"GET": ("read_project", "user"), "POST": ("create_project", "user")},
    "/projects/*": {"GET": ("read_project", "project")},
    "/projects/*/languages": {"GET": ("read_project", "project")},
    "/projects/*/repository/tree": {"GET": ("read_repository", "project")},
    "/projects/*/repository/branches": {"GET": ("read_branch", "project"), "POST": ("create_branch", "project")},
    "/projects/*/repository/branches/*": {"GET": ("read_branch", "project"), "DELETE": ("delete_branch", "project")},
    "/projects/*/environments": {"GET": ("read_environment", "project"), "POST": ("create_environment", "project")},
    "/projects/*/environments/*": {
        "GET": ("read_environment", "project"),
        "PUT": ("update_environment", "project"),
        "DELETE": ("delete_environment", "project"),
    },
    "/projects/*/environments/*/stop": {"POST": ("stop_environment", "project")},
    "/projects/*/repository/compare": {"GET": ("read_commit", "project")},
    "/projects/*/merge_requests": {"GET": ("read_merge_request", "project")},
    "/projects/*/merge_requests/*": {"GET": ("read_merge_request", "project")},
    "/projects/*/merge_requests/*/approvals": {"GET": ("read_merge_request", "project")},
    "/projects/*/merge_requests/*/commits": {"GET": ("read_merge_request", "project")},
    "/projects/*/merge_requests/*/notes": {"GET": ("read_merge_request", "project")},
    "/projects/*/issues": {"GET": ("read_work_item", "project")},
    "/projects/*/issues/*": {"GET": ("read_work_item", "project")},
    "/projects/*/repository/commits": {"GET": ("read_commit", "project"), "POST": ("create_commit", "project")},
    "/projects/*/deployments": {"GET": ("read_deployment", "project")},
    "/projects/*/events": {"GET": ("read_event", "project")},
    **{
        f"/{kind}s/*/hooks{rest}": {method: (f"{verb}_webhook{what}", kind) for method, verb in verbs.items()}
        for kind in HOOK_OWNERS
        for rest, what, verbs in (
            ("", "", {"GET": "read", "POST": "create"}),
            ("/*", "", {"GET": "read", "PUT": "update", "DELETE": "delete"}),
            ("/*/test/*", "", {"POST": "test"}),
            ("/*/events", "_event", {"GET": "read"}),
            ("/*/events/*/resend", "_event", {"POST": "resend"}),
        )
    },
    "/hooks": {"GET": ("read_webhook", "instance"), "POST": ("create_webhook", "instance")},
    "/hooks/*": {
        "GET": ("read_webhook", "instance"),
        "POST": ("test_webhook", "instance"),
        "PUT": ("update_webhook", "instance"),
        "DELETE": ("delete_webhook", "instance"),
    },
    "/groups": {"GET": ("read_group", "user")},
    "/groups/*": {"GET": ("read_group", "group")},
    "/groups/*/subgroups": {"GET": ("read_group", "group")},
    "/groups/*/descendant_groups": {"GET": ("read_group", "group")},
    "/groups/*/projects": {"GET": ("read_project", "group")},
    **{
        f"/{kind}s/*{path}": {method: (f"{verb}_{resource}", kind) for method, verb in verbs.items()}
        for kind in ("project", "group")
        for path, resource, verbs in (
            ("/members", "member", {"GET": "read", "POST": "create"}),
            ("/members/*", "member", {"GET": "read", "PUT": "update", "DELETE": "delete"}),
            ("/members/all", "member", {"GET": "read"}),
            ("/members/all/*", "member", {"GET": "read"}),
            ("/access_tokens", "resource_access_token", {"GET": "read", "POST": "create"}),
            ("/access_tokens/*", "resource_access_token", {"GET": "read", "DELETE": "delete"}),
            ("/access_tokens/*/rotate", "resource_access_token", {"POST": "rotate"}),
            ("/access_tokens/self/rotate", "resource_access_token", {"POST": "rotate"}),
            ("/service_accounts", "service_account", {"GET": "read", "POST": "create"}),
            (
                "/service_accounts/*/personal_access_tokens",
                "service_account_personal_access_token",
                {"POST": "create"},
            ),
        )
    },
}
# Of GitLab's several hundred permissions: those of addresses this sandbox has, and some it has not.
OTHERS: tuple[tuple[str, Boundary], ...] = (
    ("read_code", "project"),
    ("download_code", "project"),
    ("read_merge_request", "project"),
    ("read_work_item", "project"),
    ("read_job", "project"),
)
# What a fine-grained token may read of public groups and projects without the permission.
PUBLIC = frozenset(
    f"read_{name}" for name in ("project", "group", "repository", "branch", "member", "merge_request", "work_item")
)
TITLES = {"oauth": "OAuth"}


def check(world: World, user: User, granted: tuple[GranularScope, ...] | None, kind: str) -> None:
    """Refuse what a fine-grained token, or a legacy one in a group that requires the other kind, may not do.

    Args:
        world: the simulated GitLab.
        user: whose token it is.
        granted: its permissions; None for a legacy token.
        kind: what GitLab calls it.

    Raises:
        ApiError: 403 that names the missing permission.
    """
    rule = str(request.url_rule).rpartition("/api/v4")[2]
    address = "/".join("*" if part.startswith("<") else part for part in rule.split("/"))
    needed = NEEDED.get(address, {}).get("GET" if request.method == "HEAD" else request.method)
    if needed is None:
        if granted is not None:
            raise _refusal(f"This operation doesn't support fine-grained {kind}s.")
        return
    permission, boundary = needed
    place = _place(world, boundary)
    if place is None and boundary in ("project", "group"):
        return  # The view says that it does not exist.
    is_open = place is None or user.admin or place.visibility in world.open_visibilities(user.id)
    if not (is_open or _is_member(world, user, place)):
        return  # No one learns more about what they may not see.
    if granted is not None:
        allowed = any(
            permission in scope.permissions and _covers(world, user, scope, boundary, place) for scope in granted
        )
        allowed = allowed or (place is not None and place.visibility == "public" and permission in PUBLIC)
    else:
        allowed = place is None or not _requires_fine_grained(world, user, place)
    if not allowed:
        raise _refusal(
            f"This operation requires a fine-grained {kind} with the following "
            f"{boundary} permissions: [{title(permission)}]."
        )


def title(permission: str) -> str:
    """Return a permission as GitLab's refusals and forms name it: `Project: Read`."""
    verb = "renew_secret" if permission.startswith("renew_secret_") else permission.partition("_")[0]
    resource = permission.removeprefix(f"{verb}_").split("_")
    return f"{' '.join(TITLES.get(word, word.title()) for word in resource)}: {verb.replace('_', ' ').title()}"


def choices() -> dict[str, list[str]]:
    """Return the permissions of the form, under the headings of its three sections."""
    known = {needed for methods in NEEDED.values() for needed in methods.values()} | set(OTHERS)
    sections = {"Group and project": ("project", "group"), "User": ("user",), "Global": ("instance",)}
    return {
        heading: sorted({permission for permission, boundary in known if boundary in boundaries}, key=title)
        for heading, boundaries in sections.items()
    }


def _place(world: World, boundary: Boundary) -> Group | Project | None:
    values = request.view_args or {}
    text = unquote(str(values.get("project_id") or values.get("group_id") or values.get("place_id") or ""))
    if boundary == "project":
        return world.projects.by_id(int(text)) if text.isdecimal() else world.projects.by_path(text)
    if boundary == "group":
        return world.groups.by_id(int(text)) if text.isdecimal() else world.groups.by_path(text)
    return None


def _is_member(world: World, user: User, place: Group | Project | None) -> bool:
    if place is None:
        return False
    if isinstance(place, Project):
        return world.members.on_project(place, user.id) > 0
    return place.id in world.members.on_groups(user.id)


def _covers(world: World, user: User, scope: GranularScope, boundary: Boundary, place: Group | Project | None) -> bool:
    if place is None:
        return scope.access == boundary
    if scope.access == "personal_projects":
        return isinstance(place, Project) and place.owner_id == user.id
    if scope.access == "all_memberships":
        return _is_member(world, user, place)
    if scope.access != "selected_memberships":
        return False
    if isinstance(place, Project) and place.id == scope.project_id:
        return True
    group_id = place.group_id if isinstance(place, Project) else place.id
    below = {scope.group_id, *(row.id for row in world.groups.descendants(scope.group_id or 0))}
    return scope.group_id is not None and group_id in below


def _requires_fine_grained(world: World, user: User, place: Group | Project) -> bool:
    names = world.settings.groups_requiring_fine_grained
    if not names or user.kind != "human" or not has(world, "fine_grained_enforcement"):
        return False
    group = place if isinstance(place, Group) else world.groups.by_id(place.group_id or 0)
    return group is not None and group.full_path.partition("/")[0] in names


def _refusal(sentence: str) -> ApiError:
    body = {"error": "insufficient_granular_scope", "error_description": f"Access denied: {sentence}"}
    return ApiError(403, body)
