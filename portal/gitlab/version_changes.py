"""What changes for a connection when its GitLab is upgraded: the changes by version, and which of them concern it.

The same versions are in docs/gitlab.md, "Differences between versions", with what the portal does before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from portal.gitlab.identification import GRANULAR, Service, Version

DOCS = "https://docs.gitlab.com/"
# The newest release that the table covers, and the last minor release of each major one.
NEWEST = Version(19, 6)
LAST_MINORS = {9: 5, 10: 8, 11: 11, 12: 10, 13: 12, 14: 10, 15: 11, 16: 11, 17: 11, 18: 11, NEWEST.major: NEWEST.minor}


@dataclass(frozen=True)
class Facts:
    """What it is about a connection that decides which changes concern it.

    Attributes:
        is_token: it uses an access token that a person made, otherwise OAuth.
        token_kind: `personal`, `project`, `group`, `service_account`; empty if not known, or with OAuth.
        scopes: of the credential; None if not known.
        is_endless: whether the credential never expires; None if not known.
        services: what the connection is used for.
        hooks_wanted: whether webhooks will be created.
        edition: `EE`, `CE`; empty if not known.
    """

    is_token: bool
    scopes: frozenset[str] | None
    is_endless: bool | None
    services: frozenset[str]
    hooks_wanted: bool
    edition: str
    token_kind: str = ""

    def may_have(self, scope: str) -> bool:
        """Whether the credential has a scope, as far as is known."""
        return self.scopes is None or scope in self.scopes

    @property
    def is_fine_grained(self) -> bool:
        """Whether the credential has permissions instead of scopes."""
        return self.scopes is not None and GRANULAR in self.scopes

    @property
    def is_broad_to_read(self) -> bool:
        """Whether it has `api` although nothing is written."""
        return not self.hooks_wanted and self.scopes is not None and {"api", "read_api"} & self.scopes == {"api"}


class Effect(StrEnum):
    """What a change asks of people, most urgent first."""

    TO_DO = "to_do"
    BY_ITSELF = "by_itself"
    POSSIBLE = "possible"


@dataclass(frozen=True)
class Change:
    """One change in GitLab, and what it means for the connections that it concerns.

    `is_about`: no source confirms the minor version. `source` is a page below GitLab's documentation.
    """

    since: Version
    effect: Effect
    title: str
    meaning: str
    source: str
    concerns: Callable[[Facts], bool] = lambda facts: True
    to_do: str = ""
    is_about: bool = False


@dataclass(frozen=True)
class Forecast:
    """What an upgrade changes for one connection, what it changes for others only, and what no one knows."""

    changes: list[Change]
    others: list[Change]
    unknown: list[str]

    def with_effect(self, effect: Effect) -> list[Change]:
        """Return the changes of one kind, in the order of the versions."""
        return [change for change in self.changes if change.effect == effect]


def _reads_code(facts: Facts) -> bool:
    return Service.REPOSITORIES in facts.services


def _is_oauth(facts: Facts) -> bool:
    return not facts.is_token


CHANGES = (
    Change(
        Version(11, 0),
        Effect.BY_ITSELF,
        "Groups can be listed by id",
        "Gatehouse reads groups in a fixed order, so none is missed if groups change during a read.",
        "api/groups/",
        is_about=True,
    ),
    Change(
        Version(11, 2),
        Effect.BY_ITSELF,
        "Lists can be filtered by role",
        "Gatehouse then knows the role in each repository. Some that look available today may become unavailable, "
        "because the role is too low to read code.",
        "api/projects/",
        _reads_code,
    ),
    Change(
        Version(12, 6),
        Effect.BY_ITSELF,
        "Projects can be listed by ranges of ids",
        "Gatehouse reads several ranges at once, so a read of all repositories takes less time.",
        "api/projects/",
    ),
    Change(
        Version(12, 10),
        Effect.POSSIBLE,
        "The scope read_api",
        "This connection only reads, so it no longer needs api, which also allows changes.",
        "security/tokens/access_token_scopes/",
        lambda facts: facts.is_broad_to_read and not facts.is_token,
        "Replace the scope api of the application with read_api in GitLab, then authorize again.",
    ),
    Change(
        Version(12, 10),
        Effect.POSSIBLE,
        "The scope read_api for access tokens",
        "This connection only reads, so it no longer needs api, which also allows changes.",
        "security/tokens/access_token_scopes/",
        lambda facts: facts.is_broad_to_read and facts.is_token,
        "Create a token with read_api instead of api, and replace the one in use.",
    ),
    Change(
        Version(15, 0),
        Effect.TO_DO,
        "OAuth access tokens must expire",
        "This connection's token never expires. New ones last two hours, and Gatehouse refreshes them. GitLab doesn't "
        "say whether tokens that never expire keep working.",
        "integration/oauth_provider/",
        lambda facts: not facts.is_token and facts.is_endless is True,
        "Authorize again soon after the upgrade.",
    ),
    Change(
        Version(15, 5),
        Effect.BY_ITSELF,
        "GitLab describes an access token",
        "Gatehouse reads the token's scopes and its last day from GitLab, instead of trying what it can do.",
        "api/personal_access_tokens/",
        lambda facts: facts.is_token,
    ),
    Change(
        Version(15, 10),
        Effect.BY_ITSELF,
        "GitLab keeps only a hash of an application's Secret",
        "No one can look up the Secret in GitLab any more. Gatehouse keeps its own copy. If that is lost, the Secret "
        "must be renewed in GitLab and entered again.",
        "integration/oauth_provider/",
        _is_oauth,
    ),
    Change(
        Version(16, 0),
        Effect.TO_DO,
        "Access tokens must expire",
        "A token without an expiry date gets one at the upgrade: a year from that day.",
        "user/profile/personal_access_tokens/",
        lambda facts: facts.is_token and facts.is_endless is not False,
        "Replace the token before that day. Gatehouse warns 30, 14, 7 and 1 days before.",
    ),
    Change(
        Version(16, 9),
        Effect.BY_ITSELF,
        "GitLab says which repositories use SHA-256",
        "Gatehouse then marks them. Until then they look like any other.",
        "api/projects/",
        _reads_code,
        is_about=True,
    ),
    Change(
        Version(16, 10),
        Effect.POSSIBLE,
        "An access token can rotate itself",
        "Gatehouse can rotate this token before it expires, if you let it.",
        "api/personal_access_tokens/",
        lambda facts: facts.is_token and facts.may_have("api") and not facts.is_fine_grained,
    ),
    Change(
        Version(17, 4),
        Effect.BY_ITSELF,
        "Webhook deliveries carry a key",
        "A delivery that GitLab sends twice can be recognised by its key.",
        "user/project/integrations/webhooks/",
        lambda facts: facts.hooks_wanted,
    ),
    Change(
        Version(17, 9),
        Effect.POSSIBLE,
        "The scope self_rotate",
        "With it, a token that may not change anything else can be rotated before it expires.",
        "api/personal_access_tokens/",
        lambda facts: facts.is_token and not facts.is_fine_grained and not facts.may_have("api"),
        "Choose self_rotate as well when you next replace the token.",
    ),
    Change(
        Version(17, 9),
        Effect.BY_ITSELF,
        "A token pair can be revoked after its access token has expired",
        "A disconnection revokes such a pair directly. Until then Gatehouse has to use its refresh token once.",
        "api/oauth2/",
        _is_oauth,
        is_about=True,
    ),
    Change(
        Version(18, 0),
        Effect.BY_ITSELF,
        "Deleted projects stay for some time in every edition",
        "A repository that is deleted in GitLab stays in the list, marked, until GitLab removes it.",
        "user/project/working_with_projects/",
        lambda facts: facts.edition != "EE",
        is_about=True,
    ),
    Change(
        Version(18, 0),
        Effect.BY_ITSELF,
        "GitLab can limit how often projects are listed",
        "The limits are off after an upgrade. If an administrator turns them on, Gatehouse waits as long as GitLab "
        "says, and reads take longer.",
        "administration/settings/rate_limit_on_projects_api/",
    ),
    Change(
        Version(19, 0),
        Effect.BY_ITSELF,
        "Webhooks can be signed",
        "Signatures prove more than the secret token that is compared until then.",
        "user/project/integrations/webhooks/",
        lambda facts: facts.hooks_wanted,
    ),
    Change(
        Version(19, 2),
        Effect.POSSIBLE,
        "Fine-grained access tokens",
        "A token can be limited to single permissions, and to some groups and projects.",
        "auth/tokens/fine_grained_access_tokens/",
        lambda facts: facts.is_token and not facts.is_fine_grained and facts.token_kind in {"", "personal"},
        "Choose a fine-grained token when you next replace this one.",
    ),
    Change(
        Version(19, 2),
        Effect.TO_DO,
        "Legacy tokens can be forbidden",
        "GitLab's administrator can require fine-grained tokens from a set date. This token then works until it "
        "expires, but nothing can rotate it, and no one can create another like it.",
        "auth/tokens/fine_grained_access_tokens/",
        lambda facts: facts.is_token and not facts.is_fine_grained and facts.token_kind in {"", "personal"},
        "Ask whether that is planned. Fine-grained tokens, tokens of projects, groups and service accounts, and OAuth "
        "aren't affected.",
    ),
)


def changes_between(now: Version, then: Version, facts: Facts) -> Forecast:
    """Return what an upgrade from one version to a later one changes for a connection."""
    within = [change for change in CHANGES if now < change.since <= then]
    unknown = []
    if then > NEWEST:
        unknown.append(f"What versions after {NEWEST} change: this list ends there.")
    if not facts.is_token:
        unknown.append(
            "When a self-managed GitLab will get GitLab's new token service, and what it does with existing tokens. "
            "Gatehouse works with both services."
        )
    if facts.is_token and facts.scopes is None:
        unknown.append("Which scopes this token has. What depends on them is listed above in any case.")
    if facts.is_token and facts.is_endless is None:
        unknown.append("Whether this token ever expires. What depends on that is listed above in any case.")
    unknown.append("When version 5 of GitLab's API will come. Nothing Gatehouse needs is known to be missing from it.")
    return Forecast(
        changes=[change for change in within if change.concerns(facts)],
        others=[change for change in within if not change.concerns(facts)],
        unknown=unknown,
    )


def later_versions(now: Version) -> dict[int, list[Version]]:
    """Return the releases after a version by major version, newest first."""
    releases = {
        major: [Version(major, minor) for minor in range(last, -1, -1) if Version(major, minor) > now]
        for major, last in sorted(LAST_MINORS.items(), reverse=True)
    }
    return {major: versions for major, versions in releases.items() if versions}
