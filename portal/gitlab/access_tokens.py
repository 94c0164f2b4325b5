"""Access tokens that a person made in GitLab: personal, project, group and service-account tokens.

They are told apart from other secrets by how they look, and from each other by what GitLab says about them. Since 15.5
GitLab describes a token to whoever holds it; older versions do not, and neither does a fine-grained token that lacks
the permission for it. If nothing describes a token, one request for each thing it is wanted for shows what it can do
(docs/gitlab.md, "Access tokens").

They are sent as `PRIVATE-TOKEN`: every version takes that, and GitLab takes an OAuth token only as `Authorization`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum

import msgspec

from portal.foreign import Scopes
from portal.gitlab.answers import (
    API,
    TOKEN_HEADER,
    ForbiddenByRole,
    GitLabError,
    GitLabNotFound,
    InsufficientPermission,
    InsufficientScope,
    Metadata,
    Project,
    TokenSelf,
    UnexpectedStatus,
    User,
    failure_of,
    read_answer,
    read_page,
)
from portal.gitlab.client import SELF_PATH
from portal.gitlab.identification import GRANULAR, Service, missing_scopes
from portal.net import Answer, HostSession
from portal.vault import Secret

SECONDS = 15.0
# Projects in which a right is tried until one of them shows it: a project may have no code, or issues switched off.
TRIED_PROJECTS = 3
# GitLab's tokens were 20 characters long before they had prefixes.
MIN_LENGTH, MAX_LENGTH = 20, 2000


class TokenKind(StrEnum):
    """Whose token it is; GitLab treats all of them as personal access tokens, of a person or of a bot user."""

    PERSONAL = "personal"
    PROJECT = "project"
    GROUP = "group"
    SERVICE_ACCOUNT = "service_account"


class Need(StrEnum):
    """What a connection needs of a token; the services have the names they have everywhere."""

    OWNER = "owner"
    CATALOGUE = "catalogue"
    REPOSITORIES = Service.REPOSITORIES
    MERGE_REQUESTS = Service.MERGE_REQUESTS
    ISSUES = Service.ISSUES
    WEBHOOKS = "webhooks"


@dataclass(frozen=True)
class Requirement:
    """The scope and the fine-grained permission that something needs, in GitLab's words, and a call that shows it."""

    scope: str
    permission: str
    path: str


# https://docs.gitlab.com/auth/tokens/fine_grained_access_tokens_rest/ names the permissions.
REQUIREMENTS = {
    Need.OWNER: Requirement("read_user", "User: Read", "/user"),
    Need.CATALOGUE: Requirement("read_api", "Project: Read", "/projects"),
    Need.REPOSITORIES: Requirement("read_repository", "Repository: Read", "/projects/{id}/repository/tree"),
    Need.MERGE_REQUESTS: Requirement("read_api", "Merge Request: Read", "/projects/{id}/merge_requests"),
    Need.ISSUES: Requirement("read_api", "Work Item: Read", "/projects/{id}/issues"),
    Need.WEBHOOKS: Requirement("api", "Webhook: Read", "/projects/{id}/hooks"),
}
LIST_GROUPS = Requirement("read_api", "Group: Read", "/groups")


class Outcome(StrEnum):
    """What trying something showed."""

    WORKS = "works"
    REFUSED = "refused"
    # Nothing could show it: no project to try it in, a role that is too low there, or a scope GitLab does not report.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Trial:
    """Whether a token can do one thing.

    Attributes:
        missing: the scope or the permission, in GitLab's word.
        call: the request that showed it, with the path of the project in `project`; empty if the scopes did.
        failure: GitLab's answer to it; None if it worked or was not made.
    """

    need: Need
    outcome: Outcome
    missing: str = ""
    call: str = ""
    project: str = ""
    failure: GitLabError | None = None


@dataclass(frozen=True)
class Examined:
    """An access token as GitLab described it a moment ago.

    Attributes:
        is_fine_grained: it has permissions instead of scopes (`granular`, 18.10).
        user_id: 0 if GitLab does not say whose token it is; it is not linked then.
        scopes: empty if GitLab does not say (before 15.5): see `are_scopes_known`.
        permissions: of a fine-grained token, as far as GitLab says which; empty if it does not.
        expires_at: the start of the day (UTC) on which it ends; None if it never ends, or if that is not known.
        is_expiry_known: GitLab says so since 15.5.
        created_at: None if GitLab does not say.
        is_administrator, is_external: of its user; False if GitLab does not say.
        projects, groups: how many it reaches; None if GitLab does not count them.
        metadata: GitLab's version; None if the token may not read it.
        trials: of everything that was wanted, in that order.
        calls: how many requests it took.
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
    are_scopes_known: bool = True
    is_administrator: bool = False
    is_external: bool = False
    projects: int | None = None
    groups: int | None = None
    metadata: Metadata | None = None
    trials: tuple[Trial, ...] = ()
    calls: int = 0

    @property
    def refused(self) -> tuple[Trial, ...]:
        """What it cannot do of all that was wanted."""
        return tuple(trial for trial in self.trials if trial.outcome == Outcome.REFUSED)


@dataclass
class _Asker:
    """Asks GitLab with one token, once for each question; counts the calls."""

    http: HostSession
    token: Secret
    calls: int = field(default=0)

    def get(self, path: str, **query: str | int) -> Answer | GitLabError:
        """Return the answer, or the refusal of this one thing.

        Raises:
            GitLabError, OutboundError: nothing is known about the token, or it gives no access at all.
        """
        self.calls += 1
        headers = {TOKEN_HEADER: self.token.reveal()}
        answer = self.http.fetch("GET", API + path, query=query, headers=headers, deadline_seconds=SECONDS)
        if answer.status == 200:
            return answer
        failure = failure_of(answer)
        is_of_user = isinstance(failure, ForbiddenByRole) and "case" in failure.params
        if is_of_user or not isinstance(
            failure, (InsufficientScope, ForbiddenByRole, GitLabNotFound, UnexpectedStatus)
        ):
            raise failure
        return failure


def examine(http: HostSession, token: Secret, services: Collection[str], *, hooks_wanted: bool) -> Examined:
    """Find out what a token is and whether it can do what is wanted; changes nothing in GitLab.

    A fine-grained token may refuse every single question and still be good: each refusal is only about itself.

    Raises:
        GitLabError: GitLab does not accept the token at all, or does not say.
        OutboundError: GitLab cannot be reached.
    """
    asker = _Asker(http, token)
    described = asker.get(SELF_PATH)
    about = read_answer(described, TokenSelf) if isinstance(described, Answer) else TokenSelf()
    scopes = tuple(about.scopes) if about.scopes is not None else None
    owner = asker.get(REQUIREMENTS[Need.OWNER].path)
    user = read_answer(owner, User) if isinstance(owner, Answer) else None
    projects_answer = asker.get(REQUIREMENTS[Need.CATALOGUE].path, membership="true", simple="true", per_page=20)
    projects = read_page(projects_answer, Project, per_page=20) if isinstance(projects_answer, Answer) else None
    groups_answer = asker.get(LIST_GROUPS.path, all_available="false", per_page=1)
    refusals = [one for one in (described, owner, projects_answer, groups_answer) if isinstance(one, GitLabError)]
    # A legacy token gets the same refusal where only fine-grained ones are allowed.
    is_refused_so = scopes is None and any(isinstance(one, InsufficientPermission) for one in refusals)
    is_fine_grained = is_refused_so or bool(about.granular) or GRANULAR in (scopes or ())
    metadata = asker.get("/metadata")
    if isinstance(metadata, GitLabNotFound):
        metadata = asker.get("/version")

    names = None if scopes is None or is_fine_grained else scopes
    # Anyone may read what is public: only another project shows whether a fine-grained token has the permission.
    shown = [one for one in projects.items if not (is_fine_grained and one.visibility == "public")] if projects else []
    places = shown[:TRIED_PROJECTS]
    trials = [_judged(Need.OWNER, owner, names)]
    listed = _judged(Need.CATALOGUE, projects_answer, names)
    if listed.outcome == Outcome.WORKS and isinstance(groups_answer, GitLabError):
        listed = _judged(Need.CATALOGUE, groups_answer, names, LIST_GROUPS)
    trials.append(listed)
    wanted = [Need(service) for service in Service if service in services] + [Need.WEBHOOKS] * hooks_wanted
    trials += [_tried(asker, need, places, names, is_fine_grained=is_fine_grained) for need in wanted]

    permissions = [name for item in about.granular_scopes or [] for name in item.permissions or ()]
    total = groups_answer.headers.get("x-total", "") if isinstance(groups_answer, Answer) else ""
    return Examined(
        kind=_kind_of(user),
        is_fine_grained=is_fine_grained,
        name=about.name,
        user_id=user.id if user else 0,
        username=user.username if user else "",
        user_name=user.name if user else "",
        scopes=scopes or (),
        permissions=tuple(dict.fromkeys(permissions[: Scopes.limit])),
        expires_at=datetime.combine(about.expires_at, time(), UTC) if isinstance(about.expires_at, date) else None,
        is_expiry_known=about.expires_at is not msgspec.UNSET,
        created_at=about.created_at,
        are_scopes_known=scopes is not None,
        is_administrator=bool(user and user.is_admin),
        is_external=bool(user and user.external),
        projects=projects.total if projects else None,
        groups=int(total) if total.isascii() and total.isdigit() and len(total) < 10 else None,
        metadata=read_answer(metadata, Metadata) if isinstance(metadata, Answer) else None,
        trials=tuple(trials),
        calls=asker.calls,
    )


def _tried(
    asker: _Asker, need: Need, places: list[Project], names: tuple[str, ...] | None, *, is_fine_grained: bool
) -> Trial:
    """Try one thing in a few projects until one of them gives a clear answer."""
    if missing := missing_scopes(names or (), [REQUIREMENTS[need].scope] if names is not None else []):
        return Trial(need, Outcome.REFUSED, missing[0])
    found = Trial(need, Outcome.UNKNOWN)
    for project in places:
        path = REQUIREMENTS[need].path.format(id=project.id)
        found = _judged(need, asker.get(path, per_page=1), names, path=path, project=project.path_with_namespace)
        if found.outcome != Outcome.UNKNOWN:
            break
    # Reading shows neither whether git may be used nor whether a hook may be created: only the scope does.
    is_told = names is not None or is_fine_grained or need not in {Need.REPOSITORIES, Need.WEBHOOKS}
    if found.outcome == Outcome.WORKS and not is_told:
        return Trial(need, Outcome.UNKNOWN, REQUIREMENTS[need].scope)
    return found


def _judged(
    need: Need,
    answer: Answer | GitLabError,
    names: tuple[str, ...] | None,
    requirement: Requirement | None = None,
    *,
    path: str = "",
    project: str = "",
) -> Trial:
    requirement = requirement or REQUIREMENTS[need]
    call = f"GET {path or requirement.path}"
    if isinstance(answer, Answer):
        return Trial(need, Outcome.WORKS, call=call, project=project)
    if not isinstance(answer, InsufficientScope):
        return Trial(need, Outcome.UNKNOWN, call=call, project=project, failure=answer)
    if isinstance(answer, InsufficientPermission):
        # "…requires a fine-grained personal access token with the following project permissions: [Project: Read]."
        named = re.search(r"\[([^\[\]]+)\]", answer.words)
        missing = named[1] if named else requirement.permission
    else:
        missing = requirement.scope
        if answer.scopes and missing not in answer.scopes:
            missing = answer.scopes[0]  # An older GitLab has no scope that is as narrow.
    return Trial(need, Outcome.REFUSED, missing, call, project, answer)


def _kind_of(user: User | None) -> TokenKind:
    """Tell the kind by GitLab's names for bot users (user/project/settings/project_access_tokens); older versions
    do not say which users are bots.
    """
    if user is None or user.bot is False:
        return TokenKind.PERSONAL
    named = re.match(r"(project|group)_\d+_bot(?:\d*|_[0-9a-f]+)$", user.username)
    if named:
        return TokenKind(named[1])
    is_account = user.bot or re.match(r"service_account_(?:(?:group|project)_\d+_)?[0-9a-f]+$", user.username)
    return TokenKind.SERVICE_ACCOUNT if is_account else TokenKind.PERSONAL


# What else looks like a secret of GitLab, by how it begins (https://docs.gitlab.com/security/tokens/).
PREFIXES = {
    "gloas-": "This is the Secret of an OAuth application. An access token usually begins with glpat-.",
    "gldt-": "This is a deploy token: it reads code and packages, but cannot use GitLab's API.",
    "glft-": "This is a feed token: it only opens calendars and feeds.",
    "glimt-": "This is a token for incoming e-mail.",
    "glrt-": "This is the token of a runner.",
    "glrtr-": "This is a registration token of runners.",
    "GR1348941": "This is a registration token of runners.",
    "glcbt-": "This is the token of one CI job; it ends with the job.",
    "glptt-": "This is a pipeline trigger token: it can only start pipelines.",
    "glagent-": "This is the token of a Kubernetes agent.",
    "glsoat-": "This is a SCIM token, for an identity provider.",
    "glffct-": "This is the token of a feature flags client.",
    "glwt-": "This is the token of a workspace.",
    "giat_": "This is an OAuth access token: it ends within hours. Make a personal access token instead.",
    "eyJ": "This is a signed token (JWT), such as an OAuth or an ID token. Make a personal access token instead.",
    "ghp_": "This is a GitHub token, not a GitLab token.",
    "github_pat_": "This is a GitHub token, not a GitLab token.",
    "ssh-": "This is an SSH key. GitLab's API takes access tokens only.",
    "ecdsa-": "This is an SSH key. GitLab's API takes access tokens only.",
    "sk-ssh-": "This is an SSH key. GitLab's API takes access tokens only.",
    "-----BEGIN": "This is a key or a certificate in PEM format. GitLab's API takes access tokens only.",
}


def why_no_token(text: str) -> str:
    """Say why a text cannot be an access token, before it is sent anywhere; empty if it may be one.

    Prefixes are hints: an administrator can change the one for access tokens, and nothing limits length or alphabet.
    """
    if not text:
        return "Paste the token. GitLab shows it once, right after it is made."
    if set(text) <= set("*•●·.…_-"):
        return "These are only the marks that stand for a hidden token. Use GitLab's copy button beside them."
    if text[0] in "\"'`“‘«<" or text[-1] in "\"'`”’»>":
        return "There are quotation marks around it. Paste the token without them."
    scheme, _, rest = text.partition(" ")
    if rest and scheme.rstrip(":").lower() in {"bearer", "token", "basic", "private-token", "authorization"}:
        return f"“{scheme}” belongs to the header of a request. Paste only what comes after it."
    for prefix, sentence in PREFIXES.items():
        if text.startswith(prefix):
            return sentence
    if "://" in text:
        return "This is an address. Paste the token that GitLab shows on that page."
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return (
            "This looks like an Application ID, a Secret or an OAuth token. An access token has other characters too."
        )
    if re.search(r"\s", text):
        return "There is a space or a line break in the middle of it. Copy the token once more."
    if not (text.isascii() and text.isprintable()):
        return "There is a special or invisible character in it. Copy the token once more."
    if re.fullmatch(r"[^@]+@[^@]+\.[^@]+", text):
        return "This is an e-mail address. Paste an access token; GitLab's API takes no passwords."
    if len(text) < MIN_LENGTH:
        return f"This is too short: GitLab's tokens have at least {MIN_LENGTH} characters. Copy the whole token."
    if len(text) > MAX_LENGTH:
        return "This is too long for a token. Copy only the token."
    return ""
