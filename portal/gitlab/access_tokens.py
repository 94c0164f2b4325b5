"""Access tokens that a person made in GitLab: personal, project, group and service-account tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TokenKind(StrEnum):
    """Whose token it is; GitLab treats all of them as personal access tokens, of a person or of a bot user."""

    PERSONAL = "personal"
    PROJECT = "project"
    GROUP = "group"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True)
class Examined:
    """An access token as GitLab described it a moment ago.

    Attributes:
        is_fine_grained: it has permissions instead of scopes (`granular`, 18.10).
        permissions: of a fine-grained token, as far as GitLab tells; empty if it does not.
        expires_at: the start of the day (UTC) on which it ends; None if it never ends, or if that is not known.
        is_expiry_known: GitLab tells since 15.5.
        created_at: None if GitLab does not tell.
    """

    kind: TokenKind
    is_fine_grained: bool
    name: str
    user_id: int
    username: str
    user_name: str
    scopes: tuple[str, ...]
    permissions: tuple[str, ...] = ()
    expires_at: datetime | None = None
    is_expiry_known: bool = True
    created_at: datetime | None = None
