"""Check one connection: the route to its GitLab, then what GitLab says about its credential. Changes no rows itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from portal.connections import checklist
from portal.connections.checklist import Check, Checklist, CheckState
from portal.connections.instance import open_host_session
from portal.connections.models import Connection
from portal.errors import Card
from portal.foreign import WebAddress
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError
from portal.gitlab.payloads import Metadata
from portal.gitlab.version import edition_of
from portal.health import credential
from portal.health.directions import TITLES, failed, passed, skipped, warned
from portal.health.findings import EXPIRES, classify
from portal.net import OutboundError, is_same_address
from portal.runtime import Runtime

WARN_DAYS = 14
NOT_REACHED = "Not asked: GitLab cannot be reached."
Progress = Callable[[int, int, str], None]
STEPS = 4


@dataclass(frozen=True)
class Looked:
    """Everything one check found.

    Attributes:
        is_answering: whether GitLab's API answered as it should.
        addresses: what GitLab reported about itself: `issuer`, `git`.
        metadata: None if GitLab did not say.
        announces_issuer: whether its callbacks name their issuer; None if GitLab did not say.
        issuer: what it calls itself.
    """

    checks: list[Check]
    is_answering: bool
    addresses: dict[str, str] = field(default_factory=dict)
    metadata: Metadata | None = None
    announces_issuer: bool | None = None
    issuer: str = ""


def look(runtime: Runtime, connection: Connection, progress: Progress) -> Looked:
    """Make every check; `progress` is called in between with (done, total, what comes next)."""
    progress(0, STEPS, "The way to GitLab")
    found = checklist.look_at(runtime, connection)
    checks = {check.key: replace(check, title=TITLES[check.key]) for check in found.checks if check.key in TITLES}
    if soon := _expiry_warning(found):
        checks["certificate"] = soon
    is_answering = checks["gitlab"].state == CheckState.PASS
    if is_answering:
        asked = _ask_as_user(runtime, connection, progress)
    else:
        asked = _Asked([*credential.stored_checks(runtime, connection), skipped("git", NOT_REACHED)])
    more = [*asked.checks, credential.work_check(connection), _hooks_check(connection)]
    checks |= {check.key: check for check in more}
    if asked.metadata:
        seen = {"version_seen": asked.metadata.version, "edition_seen": edition_of(asked.metadata)}
        version = checklist.version_check(Connection(**{**connection.model_dump(), **seen}))
        checks["version"] = replace(version, title=TITLES["version"])
    addresses = {**({"issuer": found.issuer} if found.issuer else {}), **asked.addresses}
    rows = [checks.get(key) or skipped(key) for key in TITLES]
    return Looked(rows, is_answering, addresses, asked.metadata, found.announces_issuer, found.issuer)


@dataclass(frozen=True)
class _Asked:
    checks: list[Check]
    addresses: dict[str, str] = field(default_factory=dict)
    metadata: Metadata | None = None


def _ask_as_user(runtime: Runtime, connection: Connection, progress: Progress) -> _Asked:
    progress(1, STEPS, "The credential")
    access, checks = credential.demand(runtime, connection)
    if access is None:
        return _Asked([*checks, skipped("git")])
    with open_host_session(runtime, connection) as http:
        # One attempt each: the next run is soon, and a GitLab in trouble should not get four times the requests.
        client = GitLabClient(http, access, tries=1)
        progress(2, STEPS, "Who it acts as")
        checks += credential.ask_user(runtime, connection, client)
        if any(check.key == "token" and check.state != CheckState.PASS for check in checks):
            return _Asked([*checks, skipped("git")])
        progress(3, STEPS, "Version and repositories")
        metadata = _metadata(client)
        git, addresses = _git_check(connection, client)
    return _Asked([*checks, git], addresses, metadata)


def _metadata(client: GitLabClient) -> Metadata | None:
    try:
        return client.metadata()
    except (GitLabError, OutboundError):
        return None  # The other checks show what is wrong; the version stays as it was.


def _git_check(connection: Connection, client: GitLabClient) -> tuple[Check, dict[str, str]]:
    try:
        page = client.projects_page(per_page=1, simple=True)
    except (GitLabError, OutboundError) as error:
        return _git_failed(error.card()), {}
    if not page.items or not page.items[0].http_url_to_repo:
        return skipped("git", "The service user sees no project that could show it."), {}
    project = page.items[0]
    # Only the part that is the same for all: the path would reveal a project to people who may not see it.
    base = WebAddress(project.http_url_to_repo.removesuffix(f"/{project.path_with_namespace}.git"))
    if is_same_address(base, connection.api_url):
        return passed("git", base), {"git": base}
    if is_same_address(base, connection.external_url):
        return passed("git", f"{base}, which is the browser's address and not that of the API."), {"git": base}
    return warned("git", f"GitLab says to read repositories at {base}, which is neither of its addresses here."), {
        "git": base
    }


def _git_failed(card: Card) -> Check:
    # The other checks test the route; this one only covers projects.
    if classify("git", card).check_key == "git":
        return failed("git", card)
    return skipped("git", card.sentence)


def _hooks_check(connection: Connection) -> Check:
    if not connection.hooks_wanted:
        return skipped("hooks", "Not wanted for this connection.")
    return skipped("hooks", "Not set up yet.")


def _expiry_warning(found: Checklist) -> Check | None:
    check = next((item for item in found.checks if item.key == "certificate"), None)
    if check is None or check.state != CheckState.WARN or not found.chain:
        return None
    leaf = found.chain[0]
    if leaf["days_left"] > WARN_DAYS:
        return None
    card = Card(EXPIRES, {"at": leaf["not_after"], "days": leaf["days_left"]})
    return warned("certificate", check.detail, card)
