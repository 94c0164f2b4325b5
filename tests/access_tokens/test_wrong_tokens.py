"""Tokens that cannot be linked: each is refused with the sentence that names what is wrong, and nothing is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import date, timedelta
from html import unescape
from typing import Any

import pytest
from sqlmodel import func, select

from portal.connections import limits
from portal.credentials.models import Credential, RetiredToken
from portal.gitlab.access_tokens import why_no_token
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.access_tokens.drafts import FINE_GRAINED, fine_grained, token_draft
from tests.support.people import Cast
from tests.support.visitor import Visitor

SANDBOX = {"with_service_user": True}
# Recognised before anything is sent.
NO_TOKENS = {
    "": "Paste the token",
    "•" * 20: "marks that stand for a hidden token",
    "********": "marks that stand for a hidden token",
    '"glpat-abcdefghijklmnopqrst"': "quotation marks",
    "`glpat-abcdefghijklmnopqrst`": "quotation marks",
    "Bearer glpat-abcdefghijklmnopqrst": "“Bearer” belongs to the header",
    "PRIVATE-TOKEN: glpat-abcdefghijklmnopqrst": "“PRIVATE-TOKEN:” belongs to the header",
    "glpat-abcdefghij klmnopqrst": "a space or a line break in the middle",
    "glpat-abcdefghij\nklmnopqrst": "a space or a line break in the middle",
    "glpat-abcdefghij\u200bklmnopqrst": "special or invisible character",
    "glpat-abcd": "too short",
    "glpat-" + "a" * 3000: "too long",
    "gloas-" + "0" * 64: "the Secret of an OAuth application",
    "0123456789abcdef" * 4: "an Application ID, a Secret or an OAuth token",
    "giat_" + "a" * 40: "an OAuth access token",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl": "a signed token (JWT)",
    "gldt-abcdefghijklmnopqrst": "a deploy token",
    "glft-abcdefghijklmnopqrst": "a feed token",
    "glimt-abcdefghijklmnopqrst": "incoming e-mail",
    "glrt-abcdefghijklmnopqrst": "the token of a runner",
    "GR1348941abcdefghijklmnopqrst": "a registration token of runners",
    "glcbt-64_abcdefghijklmnopqrst": "one CI job",
    "glptt-abcdefghijklmnopqrst": "a pipeline trigger token",
    "glagent-abcdefghijklmnopqrst": "a Kubernetes agent",
    "glsoat-abcdefghijklmnopqrst": "a SCIM token",
    "glffct-abcdefghijklmnopqrst": "a feature flags client",
    "ghp_abcdefghijklmnopqrstuvwxyz": "a GitHub token",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ robot@example": "an SSH key",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "PEM format",
    "https://gitlab.example.com/-/user_settings/personal_access_tokens": "an address",
    "robot.account@example.com": "an e-mail address",
}


def made_for(user: str, *scopes: str, **details: Any) -> Callable[[RunningSandbox], str]:
    """Return what issues a token of a user."""
    return lambda sandbox: sandbox.token(user, *scopes, **details)


def without(*permissions: str) -> Callable[[RunningSandbox], str]:
    """Return what issues a fine-grained token that lacks permissions."""
    return lambda sandbox: fine_grained(sandbox, [name for name in FINE_GRAINED if name not in permissions])


def of_user(**details: Any) -> Callable[[RunningSandbox], str]:
    """Return what issues a token of a new user."""

    def make(sandbox: RunningSandbox) -> str:
        user = sandbox.service_user(f"user{secrets.token_hex(3)}")
        for name, value in details.items():
            assert hasattr(user, name)
            setattr(user, name, value)
        return sandbox.token(user.username, "read_api", "read_repository")

    return make


def revoked(sandbox: RunningSandbox) -> str:
    text = sandbox.token("gatehouse")
    token = sandbox.world.personal_access_tokens.find(text)
    assert token is not None
    token.revoked_at = sandbox.world.now()
    return text


def of_another_instance(_sandbox: RunningSandbox) -> str:
    with RunningSandbox(**SANDBOX) as other:
        return other.token("gatehouse")


def of_a_service_account(sandbox: RunningSandbox) -> str:
    return sandbox.world.create_service_account_token({"platform": 30}, scopes=("read_api",))


def of_a_group(sandbox: RunningSandbox) -> str:
    return sandbox.world.create_group_token(sandbox.world.group("platform"), 30, scopes=("read_user",))


def of_a_project(sandbox: RunningSandbox) -> str:
    project = sandbox.world.project("platform/handbook")
    return sandbox.world.create_project_token(project, 30, scopes=("read_repository",))


def in_a_group_that_requires_fine_grained(sandbox: RunningSandbox) -> str:
    sandbox.world.settings.groups_requiring_fine_grained = tuple(
        group.full_path for group in sandbox.world.top_level_groups()
    )
    return sandbox.token("gatehouse", "read_api", "read_repository")


# Judged by GitLab: version -> (how the token is made, what is said).
YESTERDAY = date.today() - timedelta(days=1)
REFUSED: dict[str, dict[str, tuple[Callable[[RunningSandbox], str], str]]] = {
    "12.5.0": {
        "unknown": (lambda _: "A" * 20, "GitLab does not know this token."),
        "read_user": (made_for("gatehouse", "read_user"), "One scope is missing: api"),
        "read_repository": (made_for("gatehouse", "read_repository"), "2 scopes are missing: read_user, api"),
    },
    "15.4.0": {
        "read_user": (made_for("gatehouse", "read_user"), "One scope is missing: read_api"),
        "read_repository": (made_for("gatehouse", "read_repository"), "2 scopes are missing: read_user, read_api"),
    },
    "17.11.0": {
        "unknown": (lambda _: "glpat-" + "a" * 20, "GitLab does not know this token."),
        "another instance": (of_another_instance, "made in this GitLab and not in another one"),
        "expired": (made_for("gatehouse", expires_at=YESTERDAY), "This token has expired."),
        "revoked": (revoked, "This token was revoked in GitLab."),
        "read_user": (made_for("gatehouse", "read_user"), "2 scopes are missing: read_api, read_repository"),
        "read_api": (made_for("gatehouse", "read_api"), "One scope is missing: read_repository"),
        "no scope to read with": (made_for("gatehouse", "self_rotate"), "3 scopes are missing: read_user"),
        "administrator": (made_for("root", "api"), "belongs to an administrator"),
        "external": (of_user(external=True), "belongs to an external user"),
        "blocked": (of_user(state="blocked"), "The service user is blocked"),
        "deactivated": (of_user(state="deactivated"), "The service user is deactivated"),
        "unconfirmed": (of_user(confirmed=False), "The e-mail address of the service user is not confirmed"),
        "password": (of_user(password_expired=True), "The password of the service user has expired"),
        "group": (of_a_group, "2 scopes are missing: read_api, read_repository"),
        "project": (of_a_project, "2 scopes are missing: read_user, read_api"),
        "service account": (of_a_service_account, "One scope is missing: read_repository"),
    },
    "19.5.0": {
        "no permission": (lambda sandbox: fine_grained(sandbox, ["read_badge"]), "missing: User: Read, Project: Read"),
        "merge requests": (without("read_merge_request"), "One permission is missing: Merge Request: Read"),
        "issues": (without("read_work_item"), "One permission is missing: Work Item: Read"),
        "code": (without("read_repository"), "One permission is missing: Repository: Read"),
        "groups": (without("read_group"), "One permission is missing: Group: Read"),
        "owner": (without("read_user"), "One permission is missing: User: Read"),
        "two": (without("read_work_item", "read_group"), "2 permissions are missing: Group: Read, Work Item: Read"),
        "enforced": (in_a_group_that_requires_fine_grained, "GitLab accepts only fine-grained ones for what"),
    },
}


@pytest.fixture(autouse=True)
def many_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test paste more tokens than a person may in a minute."""
    monkeypatch.setitem(limits.PER_MINUTE, limits.TOKENS, 100)


def stored(runtime: Runtime) -> int:
    """Return how many tokens the portal holds."""
    with runtime.database.reading() as session:
        return sum(session.exec(select(func.count()).select_from(table)).one() for table in (Credential, RetiredToken))


def refuse(owner: Visitor, slug: str, text: str, sentence: str, do: str = "link") -> str:
    """Paste a token; return what is wrong with the answer, empty if it is refused with the sentence."""
    answer = owner.post(f"/connections/{slug}/setup/token", {"access_token": text, "do": do})
    page = unescape(answer.text)
    if answer.status_code != 422 or sentence not in page:
        return f"{answer.status_code}, without “{sentence}”: {why_no_token(text)}"
    return "repeats the token" if len(text) > 12 and text in page else ""


def test_other_secrets_are_recognised_and_sent_nowhere(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    sandbox.requests.clear()

    found = {text: refuse(owner, slug, text, sentence) for text, sentence in NO_TOKENS.items()}

    assert {text: problem for text, problem in found.items() if problem} == {}
    assert len(NO_TOKENS) > 25
    assert sandbox.requests.count("/api/v4/*") == 0
    assert stored(runtime) == 0


@pytest.mark.parametrize("version", REFUSED)
def test_tokens_that_lack_something_are_refused_by_its_name(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, version: str
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)

    found = {name: refuse(owner, slug, make(sandbox), sentence) for name, (make, sentence) in REFUSED[version].items()}

    assert {name: problem for name, problem in found.items() if problem} == {}
    assert stored(runtime) == 0


@pytest.mark.parametrize("status", [403, 404, 418])
def test_token_whose_user_is_not_told_is_not_linked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, status: int
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    sandbox.faults.add("/api/v4/user", "GET", status=status, body={"message": "no"}, times=None)

    problem = refuse(owner, slug, sandbox.token("gatehouse"), "GitLab does not say whose token this is")

    assert problem == ""
    assert stored(runtime) == 0
