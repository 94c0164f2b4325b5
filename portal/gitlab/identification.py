"""Which GitLab answers at an address, what its version means for the portal, and which scopes to ask it for.

What proves that it is a GitLab, without any credential, is in docs/gitlab.md, "What only GitLab answers": until then no
secret is sent there. What versions lack is in "Differences between versions". GitLab's scopes:
https://docs.gitlab.com/integration/oauth_provider/
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from portal.foreign import ShortText
from portal.gitlab.answers import (
    Discovery,
    GitLabError,
    GitLabRateLimited,
    GitLabUnavailable,
    Metadata,
    NotGitLab,
    OtherAPI,
    Unproved,
    failure_of,
    read_answer,
)
from portal.net import Address, AddressRefused, Answer, HostSession, OutboundError, TLSFailed, parse_address
from portal.net.json_reader import JSONRefused, read_json

VERSION_PATH = "/api/v4/version"
DISCOVERY_PATH = "/.well-known/openid-configuration"
UNAUTHORIZED = {"message": "401 Unauthorized"}
SAME_PORTS = {80, 443}
# How nginx, which GitLab's packages bring along, answers a client without a certificate that it verifies
# (https://nginx.org/en/docs/http/ngx_http_ssl_module.html, "Error Processing").
NGINX_REFUSES = {
    b"No required SSL certificate was sent": "client_certificate_required",
    b"The SSL certificate error": "client_certificate_refused",
}


@dataclass(frozen=True)
class Identified:
    """A GitLab: what its API answered, and its discovery document if it showed one."""

    api: Answer
    discovery: Discovery | None


def identify(http: HostSession, external_url: str = "") -> Identified:
    """Ask the API and the discovery document, and decide whether both together can only come from a GitLab.

    Args:
        http: to the address that secrets would be sent to.
        external_url: the address that browsers use, if it is another one.

    Raises:
        OtherAPI, NotGitLab, Unproved: something else answered, or there is too little evidence of a GitLab.
        GitLabError, OutboundError: it cannot be known now.
    """
    api = http.fetch("GET", VERSION_PATH)
    for words, case in NGINX_REFUSES.items():
        if api.status == 400 and words in api.content:
            raise TLSFailed(case)
    _require_the_shape_of_its_api(api)
    hindrance: GitLabError | OutboundError | None = None
    shown: Answer | None = None
    discovery: Discovery | None = None
    try:
        shown = http.fetch("GET", DISCOVERY_PATH)
        discovery = read_answer(shown, Discovery)
    except (GitLabError, OutboundError) as error:
        hindrance = error
    if shown is not None and shown.status in {401, 403} and shown.content == api.content:
        raise OtherAPI(status=api.status)  # A gateway that refuses everything alike; GitLab shows this to anyone.
    meta: Any = None
    with suppress(msgspec.MsgspecError):
        meta = msgspec.json.decode(api.headers.get("x-gitlab-meta", "")[:1000])
    has_its_meta = isinstance(meta, dict) and "correlation_id" in meta
    has_its_headers = has_its_meta or bool(api.headers.get("x-request-id", "").strip())
    if has_its_headers or (discovery is not None and _speaks_for(discovery, http.address, external_url)):
        return Identified(api, discovery)
    if isinstance(hindrance, (OutboundError, GitLabUnavailable, GitLabRateLimited)):
        raise hindrance
    raise Unproved(status=api.status)


def _require_the_shape_of_its_api(answer: Answer) -> None:
    """Accept GitLab's refusal, word for word, or its version if a gateway signs requests in."""
    if answer.status == 429 or answer.status >= 500:
        raise failure_of(answer)
    try:
        body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except (JSONRefused, msgspec.MsgspecError):
        raise NotGitLab(status=answer.status) from None
    if answer.status == 401 and body == UNAUTHORIZED:
        return
    if answer.status == 200:
        told = read_answer(answer, Metadata) if isinstance(body.get("version"), str) else None
        if told is not None and told.revision and parse_version(told.version) is not None:
            return
    raise OtherAPI(status=answer.status)


def _speaks_for(discovery: Discovery, address: Address, external_url: str) -> bool:
    """Return whether a document is GitLab's and about this address; behind TLS termination it may say http."""
    endpoints = {"/oauth/authorize": discovery.authorization_endpoint, "/oauth/token": discovery.token_endpoint}
    if not all(told.endswith(path) for path, told in endpoints.items()):
        return False
    try:
        issuer = parse_address(discovery.issuer, allow_http=True)
        bases = [parse_address(told.removesuffix(path), allow_http=True) for path, told in endpoints.items()]
        meant = [address, *([parse_address(external_url, allow_http=True)] if external_url else [])]
    except AddressRefused:
        return False
    # One address may be written in several ways, and the issuer differently from the endpoints.
    return all(base == issuer for base in bases) and any(
        (issuer.host, issuer.path) == (one.host, one.path)
        and (issuer.port == one.port or {issuer.port, one.port} == SAME_PORTS)
        for one in meant
    )


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
# `updated_after` of a list of projects (api/projects).
FILTERS_BY_UPDATE = Version(15, 10)


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


class Service(StrEnum):
    """What a connection is used for."""

    REPOSITORIES = "repositories"
    MERGE_REQUESTS = "merge_requests"
    ISSUES = "issues"


@dataclass(frozen=True)
class ScopeReason:
    """One scope and why it is asked for."""

    scope: str
    reason: str


READ_USER = ScopeReason("read_user", "to see who authorized, so that the wrong person is noticed")
READ_API = ScopeReason("read_api", "to list groups, projects, merge requests and issues; reads only")
READ_REPOSITORY = ScopeReason("read_repository", "to read the code of the repositories that are enabled")
API = ScopeReason("api", "to create webhooks; GitLab has no narrower scope for that, and it includes read_api")


API_TO_READ = ScopeReason(
    "api", "to list groups, projects, merge requests and issues; this GitLab has no narrower scope for that"
)
# What the broad scopes cover of those requested here.
_COVERED = {"api": {"read_api", "read_user", "read_repository"}, "read_api": {"read_user"}}
# For an application with fine-grained permissions: its tokens have only this scope, and names do not say what they may
# do; only a request shows it.
GRANULAR = "granular"
# Scopes that are newer than the oldest supported GitLab.
_SINCE = {"read_api": Version(12, 10)}


def scopes_for(
    services: Collection[str],
    *,
    hooks_wanted: bool,
    supported: Collection[str] = (),
    version: Version | None = None,
) -> list[ScopeReason]:
    """Return the fewest scopes that suffice, in the order of GitLab's own list.

    Args:
        services: what the connection is used for.
        hooks_wanted: whether webhooks will be created.
        supported: the scopes that this GitLab says it has; empty if it did not say.
        version: of this GitLab, used if it did not say; None if that is not known either.
    """
    needed = [API if hooks_wanted else READ_API, READ_USER]
    if Service.REPOSITORIES in services:
        needed.append(READ_REPOSITORY)
    there: dict[str, ScopeReason] = {}
    for item in needed:
        if API.scope in supported:
            exists = item.scope in supported
        else:
            exists = version is None or version >= _SINCE.get(item.scope, version)
        if exists:
            there.setdefault(item.scope, item)
        else:
            there.setdefault(API.scope, API_TO_READ)
    return list(there.values())


def missing_scopes(granted: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return which wanted scopes the granted ones do not cover; none if names do not say."""
    if GRANULAR in granted:
        return []
    covered = set(granted).union(*(_COVERED.get(scope, ()) for scope in granted))
    return [scope for scope in wanted if scope not in covered]


def unused_scopes(granted: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return which granted scopes are not among those wanted."""
    return sorted(set(granted) - set(wanted) - {GRANULAR})
