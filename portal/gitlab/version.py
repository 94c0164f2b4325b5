"""GitLab's version and what it means for the portal (docs/gitlab.md, "Differences between versions")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.foreign import ShortText
from portal.gitlab.errors import GitLabError
from portal.gitlab.payloads import Metadata

MINIMUM = (9, 0)
_VERSION = re.compile(r"^(\d{1,3})\.(\d{1,3})(?:\.(\d{1,4}))?")


@dataclass(frozen=True, order=True)
class Version:
    """A version, reduced to what decides about features."""

    major: int
    minor: int

    @property
    def is_supported(self) -> bool:
        """Whether it has the API the portal speaks (v4, 9.0)."""
        return (self.major, self.minor) >= MINIMUM

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


# From here on `min_access_level` filters a list; older versions silently ignore it.
FILTERS_BY_ROLE = Version(11, 2)


class VersionTooOld(GitLabError):
    """A GitLab without the API that the portal uses."""

    code = "version_too_old"

    def __init__(self, version: str) -> None:
        super().__init__(status=200, version=ShortText(version))


@dataclass(frozen=True)
class Consequence:
    """Something that an older version lacks, in one sentence."""

    since: Version
    sentence: str


CONSEQUENCES = (
    Consequence(Version(12, 10), "Before 12.10 there is no scope read_api: reading needs the broader scope api."),
    Consequence(Version(15, 0), "Before 15.0 OAuth tokens may never expire; they are kept as they come."),
    Consequence(Version(15, 5), "Before 15.5 GitLab does not report the scopes and expiry of an access token."),
    Consequence(Version(16, 9), "Before 16.9 GitLab does not say which repositories use SHA-256."),
    Consequence(Version(17, 4), "Before 17.4 webhook deliveries carry no key that identifies repeats."),
    Consequence(Version(19, 0), "Before 19.0 webhooks are not signed; a secret token is compared instead."),
)


def parse_version(text: str) -> Version | None:
    """Read `18.4.1-ee`, `18.4.0-pre` and the like; None for anything else."""
    match = _VERSION.match(text)
    return Version(int(match[1]), int(match[2])) if match else None


def edition_of(metadata: Metadata) -> str:
    """Return `EE` or `CE`: from `enterprise` if present (15.6), otherwise from the suffix (api/metadata)."""
    if metadata.enterprise is not None:
        return "EE" if metadata.enterprise else "CE"
    return "EE" if metadata.version.endswith("-ee") else "CE"


def consequences_of(version: Version) -> list[Consequence]:
    """Return what this version lacks, oldest first."""
    return [item for item in CONSEQUENCES if version < item.since]
