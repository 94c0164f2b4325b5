"""Find out, without any credential, whether GitLab answers at an address: until then no secret is sent there.

What counts is in `docs/gitlab.md`, "What only GitLab answers".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from portal.gitlab.answers import failure_of, read_answer
from portal.gitlab.errors import GitLabError, GitLabRateLimited, GitLabUnavailable, NotGitLab, OtherAPI, Unproved
from portal.gitlab.payloads import Discovery, Metadata
from portal.gitlab.version import parse_version
from portal.net import Address, AddressRefused, Answer, HostSession, OutboundError, parse_address
from portal.net.json_reader import JSONRefused, read_json

VERSION_PATH = "/api/v4/version"
DISCOVERY_PATH = "/.well-known/openid-configuration"
UNAUTHORIZED = {"message": "401 Unauthorized"}
SAME_PORTS = {80, 443}


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
    if _has_its_headers(api) or (discovery is not None and _speaks_for(discovery, http.address, external_url)):
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


def _has_its_headers(answer: Answer) -> bool:
    if answer.headers.get("x-request-id", "").strip():
        return True
    try:
        meta = msgspec.json.decode(answer.headers.get("x-gitlab-meta", "")[:1000])
    except msgspec.MsgspecError:
        return False
    return isinstance(meta, dict) and "correlation_id" in meta


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
    return all(base == issuer for base in bases) and any(_is_same_place(issuer, one) for one in meant)


def _is_same_place(one: Address, other: Address) -> bool:
    same_port = one.port == other.port or {one.port, other.port} == SAME_PORTS
    return (one.host, one.path) == (other.host, other.path) and same_port
