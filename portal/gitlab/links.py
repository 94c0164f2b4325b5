"""Addresses of GitLab's own pages, by version where they moved."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from portal.gitlab.identification import Version

_MOVED_TO_USER_SETTINGS = Version(16, 0)
_MOVED_BEHIND_DASH = Version(12, 0)


def new_application(base: str) -> str:
    """Return the form for an instance-wide application (Admin area)."""
    return f"{base}/admin/applications/new"


def applications(base: str) -> str:
    """Return the list of instance-wide applications."""
    return f"{base}/admin/applications"


def own_applications(base: str, version: Version | None = None) -> str:
    """Return the list and form of the signed-in user's own applications."""
    return f"{base}{_settings_root(version)}/applications"


def own_tokens(base: str, version: Version | None = None) -> str:
    """Return the list of the signed-in user's own access tokens."""
    return f"{base}{_settings_root(version)}/personal_access_tokens"


def group_applications(base: str, full_path: str) -> str:
    """Return the list and form of a group's applications."""
    return f"{base}/groups/{quote(full_path)}/-/settings/applications"


def new_user(base: str) -> str:
    """Return the form for a new user (Admin area)."""
    return f"{base}/admin/users/new"


def user(base: str, username: str) -> str:
    """Return a user's page in the Admin area, where *Impersonate* is."""
    return f"{base}/admin/users/{quote(username, safe='')}"


def sign_in(base: str) -> str:
    """Return the sign-in page."""
    return f"{base}/users/sign_in"


def groups(base: str) -> str:
    """Return the list of the signed-in user's groups."""
    return f"{base}/dashboard/groups"


def group_members(base: str, full_path: str) -> str:
    """Return the page of a group's members (12.0; older versions redirect)."""
    return f"{base}/groups/{quote(full_path)}/-/group_members"


def project_members(base: str, full_path: str) -> str:
    """Return the page of a project's members."""
    return f"{base}/{quote(full_path)}/-/project_members"


def fine_grained_tokens(base: str) -> str:
    """Return the form for a fine-grained token (18.10); it takes no values from its address."""
    return f"{base}/-/user_settings/personal_access_tokens/granular/new"


def personal_access_tokens(base: str, name: str, scopes: list[str], version: Version | None = None) -> str:
    """Return the token page, prefilled (14.1)."""
    query = urlencode({"name": name, "scopes": ",".join(scopes)})
    return f"{base}{_settings_root(version)}/personal_access_tokens?{query}"


def _settings_root(version: Version | None) -> str:
    if version is None or version >= _MOVED_TO_USER_SETTINGS:
        return "/-/user_settings"
    return "/-/profile" if version >= _MOVED_BEHIND_DASH else "/profile"


def outbound_requests(base: str) -> str:
    """Return the setting of what webhooks may access (Admin area, Network)."""
    return f"{base}/admin/application_settings/network#js-outbound-settings"


def project_hooks(base: str, full_path: str) -> str:
    """Return the page of a project's webhooks (12.0; older versions redirect)."""
    return f"{base}/{quote(full_path)}/-/hooks"


def group_hooks(base: str, full_path: str) -> str:
    """Return the page of a group's webhooks (Premium)."""
    return f"{base}/groups/{quote(full_path)}/-/hooks"


def system_hooks(base: str) -> str:
    """Return the page of system hooks (Admin area)."""
    return f"{base}/admin/hooks"
