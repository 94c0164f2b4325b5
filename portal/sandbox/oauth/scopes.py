"""The scopes a GitLab knows: which version added them, and the words its forms and consent page use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Release = tuple[int, int]

# GitLab falls back to this when a request names no scope.
DEFAULT_SCOPE = "api"


@dataclass(frozen=True)
class Scope:
    """One scope; `since` is the first GitLab release (major, minor) that knows it."""

    name: str
    since: Release
    title: str
    description: str
    for_applications: bool = True
    for_personal_tokens: bool = True


SCOPES: tuple[Scope, ...] = (
    Scope(
        "api",
        (8, 0),
        "Access the authenticated user's API",
        "Grants complete read/write access to the API, including all groups and projects, the container registry, "
        "the dependency proxy, and the package registry.",
    ),
    Scope(
        "read_api",
        (12, 10),
        "Read API",
        "Grants read access to the API, including all groups and projects, the container registry, "
        "and the package registry.",
    ),
    Scope(
        "read_user",
        (8, 0),
        "Read the authenticated user's personal information",
        "Grants read-only access to your profile through the /user API endpoint, which includes username, "
        "public email, and full name. Also grants access to read-only API endpoints under /users.",
    ),
    Scope(
        "create_runner",
        (16, 0),
        "Create runners",
        "Grants create access to the runners.",
    ),
    Scope(
        "manage_runner",
        (17, 1),
        "Manage runners",
        "Grants access to manage the runners.",
    ),
    Scope(
        "k8s_proxy",
        (16, 4),
        "Kubernetes API through the agent",
        "Grants permission to perform Kubernetes API calls using the agent for Kubernetes.",
    ),
    Scope(
        "self_rotate",
        (17, 9),
        "Rotate this token",
        "Grants permission for token to rotate itself.",
        for_applications=False,
    ),
    Scope(
        "read_repository",
        (9, 0),
        "Allows read-only access to the repository",
        "Grants read-only access to repositories on private projects using Git-over-HTTP or the Repository Files API.",
    ),
    Scope(
        "write_repository",
        (11, 11),
        "Allows read-write access to the repository",
        "Grants read-write access to repositories on private projects using Git-over-HTTP (not using the API).",
    ),
    Scope(
        "read_registry",
        (9, 0),
        "Grants permission to read container registry images",
        "Grants read-only access to container registry images on private projects.",
    ),
    Scope(
        "write_registry",
        (12, 10),
        "Grants permission to write container registry images",
        "Grants write access to container registry images on private projects.",
    ),
    Scope(
        "sudo",
        (10, 2),
        "Perform API actions as any user in the system",
        "Grants permission to perform API actions as any user in the system, when authenticated as an admin user.",
    ),
    Scope(
        "admin_mode",
        (15, 8),
        "Admin Mode on the API",
        "Grants permission to perform API actions as an administrator, when Admin Mode is enabled.",
    ),
    Scope(
        "read_service_ping",
        (16, 8),
        "Read the Service Ping payload",
        "Grants access to download the Service Ping payload through the API when authenticated as an admin user.",
    ),
    Scope(
        "openid",
        (9, 0),
        "Authenticate using OpenID Connect",
        "Grants permission to authenticate with GitLab using OpenID Connect. "
        "Also gives read-only access to the user's profile and group memberships.",
        for_personal_tokens=False,
    ),
    Scope(
        "profile",
        (11, 11),
        "Allows read-only access to the user's personal information using OpenID Connect",
        "Grants read-only access to the user's profile data using OpenID Connect.",
        for_personal_tokens=False,
    ),
    Scope(
        "email",
        (11, 11),
        "Allows read-only access to the user's primary email address using OpenID Connect",
        "Grants read-only access to the user's primary email address using OpenID Connect.",
        for_personal_tokens=False,
    ),
)

# An application that owns one of these is refused to administrators while `disable_admin_oauth_scopes` is on.
ADMIN_RISK_SCOPES = frozenset(
    {
        "api",
        "read_api",
        "sudo",
        "admin_mode",
        "read_service_ping",
        "read_repository",
        "write_repository",
        "read_registry",
        "write_registry",
    }
)


def application_scopes(release: Release) -> tuple[Scope, ...]:
    """Return the scopes an application may own on this release, in the order of GitLab's form."""
    return tuple(scope for scope in SCOPES if scope.for_applications and scope.since <= release)


def personal_token_scopes(release: Release) -> tuple[Scope, ...]:
    """Return the scopes a personal access token may have on this release."""
    return tuple(scope for scope in SCOPES if scope.for_personal_tokens and scope.since <= release)


def named(names: Iterable[str]) -> tuple[Scope, ...]:
    """Return the catalogue entries of `names`, in catalogue order; unknown names are left out."""
    wanted = set(names)
    return tuple(scope for scope in SCOPES if scope.name in wanted)
