"""Who may do what at which address: one row per route. The tests compare it with the application, both ways.

A missing row, or one that differs from the view's declaration, fails; so does any response that contradicts its row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from portal.actor import Right, Role

PUBLIC = "public"
SIGNED_IN = "signed_in"
MANAGERS = frozenset({Role.OWNER, Role.ADMINISTRATOR})
EVERYONE_BUT_LEADS = frozenset(Role) - {Role.TEAM_LEAD}


class Kind(StrEnum):
    """What kind of object an address names; the value is the placeholder in the rule."""

    CONNECTION = "slug"
    ATTEMPT = "public_id"
    JOB = "job"
    CHANGE = "change"
    MEMBERSHIP = "membership_id"


@dataclass(frozen=True)
class Row:
    """One route.

    Attributes:
        path: `{slug}`, `{public_id}`, `{job}`, `{change}`, `{membership_id}`, `{group}`, `{repository}` stand for an
            object.
        status: the answer to someone who may, for their own object organization.
        form: what is sent, with the same placeholders.
        only: roles that the view narrows its right to, by the object; None if the right alone decides.
        foreign: the answer for an object of another organization, or none at all.
        visitor: of a public address, the answer to someone who is not signed in; None if it is the same.
        query: after the path, with the same placeholders.
        is_machine: whether it is for programs, without session, cookie and token (`portal.web.machine`).
    """

    method: str
    path: str
    endpoint: str
    right: Right | str
    status: int
    form: dict[str, str] = field(default_factory=dict)
    only: frozenset[Role] | None = None
    foreign: int = 404
    visitor: int | None = None
    query: str = ""
    is_machine: bool = False

    @property
    def names_object(self) -> bool:
        """Whether the request names an object that belongs to an organization."""
        return "{" in self.path + self.query + "".join(self.form.values())


CHANGE = "/repositories/changes/{change}"
SEE, MANAGE = Right.SEE_CONNECTIONS, Right.MANAGE_CONNECTIONS
SETUP = "/connections/{slug}/setup"
AUTHORIZATION = "/connections/{slug}/authorization"
HEALTH = "/connections/{slug}/health"
BUDGET = "/connections/{slug}/budget"
HOOKS = "/connections/{slug}/webhooks"
SITE = "/sites/{site}"
ENVIRONMENTS = "/repositories/{repository}/environments"

ROWS = (
    Row("GET", "/", "accounts.home", PUBLIC, 303),
    Row("GET", "/healthz", "healthz", PUBLIC, 200),
    Row("GET", "/readyz", "readyz", PUBLIC, 200),
    Row("GET", "/static/css/base.css", "static", PUBLIC, 200),
    Row("GET", "/restored", "backup.show", SIGNED_IN, 200),
    Row("POST", "/restored", "backup.confirm", Right.CONFIRM_RESTORED, 303),
    Row("POST", "/theme", "theme.choose", PUBLIC, 303, {"theme": "dark"}),
    Row("GET", "/sign-in", "accounts.sign_in", PUBLIC, 303, visitor=200),
    Row("POST", "/sign-in", "accounts.sign_in", PUBLIC, 422, {"email": "nobody@example.com", "password": "x" * 2000}),
    Row("POST", "/sign-out", "accounts.sign_out", PUBLIC, 303),
    Row("POST", "/entries", "accounts.take_up_entries", SIGNED_IN, 303, {"next": "/profile", "kept": "name=Another"}),
    Row("GET", "/setup/wrong", "accounts.setup", PUBLIC, 404),
    Row("POST", "/setup/wrong", "accounts.setup", PUBLIC, 404),
    Row("GET", "/invitations/wrong", "accounts.accept_invitation", PUBLIC, 404),
    Row("POST", "/invitations/wrong", "accounts.accept_invitation", PUBLIC, 404),
    Row("GET", "/hand-over/wrong", "handover.sealed", PUBLIC, 404),
    Row("POST", "/hand-over/wrong", "handover.open_link", PUBLIC, 404),
    Row("GET", "/hand-over/step/wrong", "handover.step", PUBLIC, 404),
    Row("POST", "/hand-over/step/wrong/application", "handover.send_application", PUBLIC, 404),
    Row("POST", "/hand-over/step/wrong/decline", "handover.decline", PUBLIC, 404),
    Row("POST", "/hand-over/step/wrong/authorization", "handover.start", PUBLIC, 404),
    Row("GET", "/hand-over/step/wrong/authorization/wrong/leave", "handover.leave", PUBLIC, 404),
    Row("GET", "/hand-over/step/wrong/authorization/wrong/go", "handover.go", PUBLIC, 404),
    Row("GET", "/hand-over/step/wrong/status", "handover.status", PUBLIC, 303),
    Row("GET", "/hand-over/step/wrong/done", "handover.done", PUBLIC, 200),
    Row("GET", "/prove", "accounts.prove", SIGNED_IN, 200),
    Row("POST", "/prove", "accounts.prove", SIGNED_IN, 422, {"password": "x" * 2000}),
    Row("GET", "/profile", "accounts.profile", SIGNED_IN, 200),
    Row("POST", "/profile/name", "accounts.rename", SIGNED_IN, 303, {"name": "Another"}),
    Row("POST", "/profile/password", "accounts.change_password", SIGNED_IN, 422, {"password": "x" * 2000}),
    Row("POST", "/profile/sessions/end", "accounts.end_sessions", SIGNED_IN, 303),
    Row("GET", "/members", "accounts.members", Right.SEE_MEMBERS, 200),
    Row("GET", "/members/invitations", "accounts.invite", Right.MANAGE_MEMBERS, 200),
    Row(
        "POST", "/members/invitations", "accounts.invite", Right.MANAGE_MEMBERS, 422, {"email": "no", "role": "auditor"}
    ),
    Row(
        "POST",
        "/members/invitations/{invitation_id}/withdrawal",
        "accounts.withdraw_invitation",
        Right.MANAGE_MEMBERS,
        303,
    ),
    Row(
        "POST",
        "/members/{membership_id}/role",
        "accounts.change_role",
        Right.MANAGE_MEMBERS,
        303,
        {"role": "auditor"},
    ),
    Row("POST", "/members/{membership_id}/removal", "accounts.remove", Right.MANAGE_MEMBERS, 303),
    Row("GET", "/members/{membership_id}/groups", "grants.index", Right.GRANT_GROUPS, 200),
    Row("POST", "/members/{membership_id}/groups", "grants.grant", Right.GRANT_GROUPS, 303, {"group_id": "{group}"}),
    # A missing grant counts as taken back; a lead that may not be seen is not found.
    Row(
        "POST",
        "/members/{membership_id}/groups/revocation",
        "grants.revoke",
        Right.GRANT_GROUPS,
        303,
        {"grant_id": "1"},
    ),
    Row("GET", "/audit", "audit.index", Right.SEE_AUDIT, 200),
    Row("GET", "/audit/{audit_number}", "audit.show", Right.SEE_AUDIT, 200),
    Row("POST", "/audit/export", "audit.export", Right.SEE_AUDIT, 200, {"format": "csv"}),
    Row("GET", "/audit/verification", "audit.verification", Right.SEE_AUDIT, 303),
    Row("POST", "/audit/verification", "audit.verify", Right.SEE_AUDIT, 303),
    Row("GET", "/jobs", "jobs.index", Right.SEE_JOBS, 200),
    Row("GET", "/jobs/{job}", "jobs.show", Right.SEE_JOBS, 200),
    Row("GET", "/jobs/{job}/details", "jobs.details", Right.SEE_JOBS, 200),
    Row("POST", "/jobs/{job}/stop", "jobs.stop", Right.SEE_JOBS, 303, only=MANAGERS),
    Row("GET", "/connections/", "connections.index", SEE, 200),
    Row("GET", "/servers/", "servers.index", SEE, 200),
    Row("GET", "/servers/{server_id}", "servers.show", MANAGE, 200),
    Row("POST", "/servers/{server_id}", "servers.show", MANAGE, 422, {"header_name": "Cookie", "header_value": "x"}),
    Row("GET", "/connections/new", "connections.new", MANAGE, 200),
    Row(
        "POST",
        "/connections/new",
        "connections.create",
        MANAGE,
        422,
        {"services": "repositories", "method": "oauth", "display_name": ""},
    ),
    Row("POST", "/connections/sandbox", "connections.try_sandbox", MANAGE, 404),
    Row("GET", "/connections/{slug}", "connections.show", SEE, 200),
    Row("GET", "/connections/{slug}/activity", "connections.activity", SEE, 200),
    Row("GET", "/connections/{slug}/settings", "connections.settings", SEE, 200),
    Row("POST", "/connections/{slug}/name", "connections.rename", MANAGE, 303, {"display_name": "Another {slug}"}),
    Row("GET", SETUP, "connections.resume", MANAGE, 303),
    Row("GET", SETUP + "/purpose", "connections.setup_purpose", MANAGE, 303),
    Row("POST", SETUP + "/purpose", "connections.save_purpose", MANAGE, 303),
    Row("GET", SETUP + "/instance", "connections.setup_instance", MANAGE, 200),
    Row("POST", SETUP + "/instance", "connections.save_instance", MANAGE, 422, {"domain": ""}),
    Row("GET", SETUP + "/instance/checks", "connections.checks", MANAGE, 200),
    Row("POST", SETUP + "/instance/checks", "connections.check_again", MANAGE, 303),
    Row("GET", SETUP + "/application", "connections.setup_application", MANAGE, 200),
    Row("POST", SETUP + "/application", "connections.save_application", MANAGE, 303),
    Row("POST", SETUP + "/application/check", "connections.check_application", MANAGE, 303),
    Row("GET", SETUP + "/service-user", "connections.setup_service_user", MANAGE, 200),
    Row("POST", SETUP + "/service-user", "connections.save_service_user", MANAGE, 303, {"service_username": "bot"}),
    Row("GET", SETUP + "/credentials", "connections.setup_credentials", MANAGE, 200),
    Row("POST", SETUP + "/credentials", "connections.save_credentials", MANAGE, 422),
    Row("GET", SETUP + "/create", "provisioning.show", MANAGE, 303),
    Row("POST", SETUP + "/create", "provisioning.create", MANAGE, 303),
    Row("GET", SETUP + "/create-own", "provisioning.show_own", MANAGE, 303),
    Row("POST", SETUP + "/create-own", "provisioning.create_own", MANAGE, 303),
    Row("GET", SETUP + "/create/plan", "provisioning.show_plan", MANAGE, 303),
    Row("POST", SETUP + "/create/groups", "provisioning.show_groups", MANAGE, 303),
    Row("GET", SETUP + "/create/progress", "provisioning.progress", MANAGE, 303),
    Row("GET", "/connections/{slug}/application", "provisioning.application", MANAGE, 200),
    Row("POST", "/connections/{slug}/application", "provisioning.use_application", MANAGE, 422, {"do": "verify"}),
    Row("GET", SETUP + "/token", "access_tokens.show", MANAGE, 200),
    Row("POST", SETUP + "/token", "access_tokens.submit", MANAGE, 422, {"do": "test"}),
    Row("GET", SETUP + "/services", "connections.setup_services", MANAGE, 200),
    Row("POST", SETUP + "/services", "connections.save_services", MANAGE, 303, {"services": "repositories"}),
    Row("GET", SETUP + "/cancel", "connections.ask_cancel", MANAGE, 200),
    Row("POST", SETUP + "/cancel", "connections.cancel", MANAGE, 409),
    Row("GET", SETUP + "/authorize", "authorization.show", MANAGE, 200),
    Row("GET", "/connections/{slug}/credential", "credentials.show", SEE, 200),
    Row("POST", "/connections/{slug}/credential/rotation", "credentials.rotation", MANAGE, 409),
    Row("POST", "/connections/{slug}/credential/rotate", "credentials.rotate", MANAGE, 409),
    Row("GET", AUTHORIZATION + "/status", "authorization.status", MANAGE, 303),
    Row("POST", AUTHORIZATION, "authorization.start", MANAGE, 303),
    Row("GET", AUTHORIZATION + "/{public_id}/leave", "authorization.leave", MANAGE, 200),
    # Without the cookie of the browser that began it: refused, whoever asks.
    Row("GET", AUTHORIZATION + "/{public_id}/go", "authorization.go", MANAGE, 404),
    Row("GET", AUTHORIZATION + "/{public_id}", "authorization.done", MANAGE, 200),
    Row("POST", AUTHORIZATION + "/expected-user", "authorization.expect", MANAGE, 400),
    # Without that cookie the answer of GitLab counts for no one, signed in or not, whoever's attempt it is.
    Row(
        "GET",
        "/oauth/callback/{slug}",
        "authorization.callback",
        PUBLIC,
        400,
        foreign=400,
        visitor=401,
        query="?state={state}&code=code",
    ),
    Row("GET", "/connections/{slug}/hand-over/application", "handover.show", MANAGE, 200),
    Row("POST", "/connections/{slug}/hand-over/application", "handover.show", MANAGE, 422),
    Row("POST", "/connections/{slug}/hand-over/authorize/withdrawal", "handover.withdraw", MANAGE, 303),
    Row("GET", "/connections/{slug}/disconnect", "disconnection.ask", MANAGE, 200),
    Row("POST", "/connections/{slug}/disconnect", "disconnection.disconnect", MANAGE, 422),
    Row("GET", "/connections/{slug}/disconnection", "disconnection.status", SEE, 303),
    Row("POST", "/connections/{slug}/disconnection/revocation", "disconnection.try_again", MANAGE, 303),
    Row("POST", "/connections/{slug}/disconnection/revoked-by-hand", "disconnection.revoked_by_hand", MANAGE, 422),
    Row("GET", "/connections/{slug}/reauthorize", "disconnection.reauthorize", MANAGE, 303),
    Row("GET", "/connections/{slug}/narrowing", "disconnection.narrow", MANAGE, 303),
    Row("GET", HEALTH, "health.show", SEE, 200),
    Row("GET", HEALTH + "/upgrade", "health.upgrade", SEE, 200),
    Row("GET", HEALTH + "/progress", "health.progress", SEE, 303),
    Row("POST", HEALTH + "/checks", "health.check_again", MANAGE, 303),
    Row("POST", HEALTH + "/support-bundle", "health.bundle", MANAGE, 200),
    Row("GET", BUDGET, "budgets.show", SEE, 200),
    Row("POST", BUDGET, "budgets.save", MANAGE, 303, {"per_second": "10", "at_once": "4", "row_version": "0"}),
    Row("POST", BUDGET + "/usual", "budgets.drop", MANAGE, 303),
    Row("GET", "/reports", "reports.index", Right.SEE_REPOSITORIES, 200),
    Row("POST", "/reports/export", "reports.export", Right.SEE_REPOSITORIES, 200, {"format": "csv"}),
    Row("POST", "/reports/settings/{slug}", "reports.save", MANAGE, 303, {"months": "12", "row_version": "0"}),
    Row("GET", HOOKS, "webhooks.index", SEE, 200),
    Row("GET", HOOKS + "/deliveries", "webhooks.deliveries", SEE, 200),
    Row("GET", HOOKS + "/deliveries/{delivery}", "webhooks.delivery", SEE, 200, only=EVERYONE_BUT_LEADS),
    Row("GET", HOOKS + "/deliveries/{delivery}/both", "webhooks.both_ends", SEE, 200, only=EVERYONE_BUT_LEADS),
    Row("POST", "/webhooks/gitlab/0", "webhooks.receive", PUBLIC, 415, is_machine=True),
    Row("GET", HOOKS + "/{hook}", "webhooks.show", SEE, 200, only=EVERYONE_BUT_LEADS),
    Row("POST", HOOKS + "/compare", "webhooks.compare", MANAGE, 303),
    Row("POST", HOOKS + "/settings", "webhooks.settings", MANAGE, 303, {"level": "project"}),
    Row("POST", HOOKS + "/rotate", "webhooks.rotate_all", MANAGE, 303),
    Row("POST", HOOKS + "/{hook}/repair", "webhooks.repair", MANAGE, 303),
    Row("GET", HOOKS + "/{hook}/log", "webhooks.show_log", Right.SEE_CONNECTIONS, 200, only=EVERYONE_BUT_LEADS),
    Row("POST", HOOKS + "/{hook}/log/1", "webhooks.resend", MANAGE, 409),
    Row("POST", HOOKS + "/{hook}/rotate", "webhooks.rotate", MANAGE, 303),
    Row("POST", HOOKS + "/{hook}/mode", "webhooks.mode", MANAGE, 303, {"mode": "automatic"}),
    Row("POST", HOOKS + "/{hook}/forget", "webhooks.forget", MANAGE, 409),
    Row("POST", HOOKS + "/{hook}/by-hand", "webhooks.by_hand", MANAGE, 200),
    Row("GET", "/sites/", "sites.index", Right.SEE_REPOSITORIES, 200),
    Row("GET", "/sites/new", "sites.new", Right.ENABLE_REPOSITORIES, 200),
    Row("POST", "/sites/new", "sites.new", Right.ENABLE_REPOSITORIES, 422),
    # The lead of this table has no group.
    Row("GET", SITE, "sites.show", Right.SEE_REPOSITORIES, 200, only=EVERYONE_BUT_LEADS),
    Row("GET", SITE + "/file", "sites.show_file", Right.SEE_REPOSITORIES, 404, only=EVERYONE_BUT_LEADS),
    Row("GET", SITE + "/raw", "sites.raw", Right.SEE_REPOSITORIES, 404, only=EVERYONE_BUT_LEADS),
    Row("GET", SITE + "/edit", "sites.edit", Right.ENABLE_REPOSITORIES, 200, only=MANAGERS),
    Row("POST", SITE + "/edit", "sites.edit", Right.ENABLE_REPOSITORIES, 422, only=MANAGERS),
    Row(
        "POST", SITE + "/delete-file", "sites.delete_file", Right.ENABLE_REPOSITORIES, 409, {"path": "a"}, only=MANAGERS
    ),
    Row("POST", SITE + "/upload", "sites.upload", Right.ENABLE_REPOSITORIES, 303, only=MANAGERS),
    Row("GET", SITE + "/history", "sites.history", Right.SEE_REPOSITORIES, 200, only=EVERYONE_BUT_LEADS),
    Row("GET", SITE + "/conflicts", "sites.list_conflicts", Right.SEE_REPOSITORIES, 200, only=EVERYONE_BUT_LEADS),
    Row("GET", SITE + "/conflicts/999999", "sites.conflict", Right.SEE_REPOSITORIES, 404),
    Row("POST", SITE + "/conflicts/999999/decide", "sites.decide", Right.ENABLE_REPOSITORIES, 404, {"all": "here"}),
    Row("GET", SITE + "/settings", "sites.settings", Right.SEE_REPOSITORIES, 200, only=EVERYONE_BUT_LEADS),
    Row("POST", SITE + "/settings/name", "sites.rename", Right.ENABLE_REPOSITORIES, 422, only=MANAGERS),
    Row("POST", SITE + "/settings/delete", "sites.delete", Right.ENABLE_REPOSITORIES, 422, only=MANAGERS),
    Row("GET", SITE + "/connect/gitlab", "sites.pick", Right.ENABLE_REPOSITORIES, 200, only=MANAGERS),
    Row("GET", SITE + "/connect/gitlab/new", "sites.new_repository", Right.ENABLE_REPOSITORIES, 200, only=MANAGERS),
    Row("POST", SITE + "/connect/gitlab/new", "sites.new_repository", Right.ENABLE_REPOSITORIES, 404, only=MANAGERS),
    Row("GET", SITE + "/connect/repository/999999", "sites.target", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", SITE + "/connect/repository/999999", "sites.target", Right.ENABLE_REPOSITORIES, 404),
    Row("GET", SITE + "/connect/preview/none", "sites.preview", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", SITE + "/connect/preview/none", "sites.connect", Right.ENABLE_REPOSITORIES, 404, {"digest": "0"}),
    Row("POST", SITE + "/disconnect", "sites.disconnect", Right.ENABLE_REPOSITORIES, 303, only=MANAGERS),
    Row("POST", SITE + "/sync", "sites.sync", Right.ENABLE_REPOSITORIES, 409, only=MANAGERS),
    Row("POST", SITE + "/use-gitlab", "sites.use_gitlab", Right.ENABLE_REPOSITORIES, 409, only=MANAGERS),
    # The repository of this table is not enabled: these pages have nothing to show, whoever asks.
    Row("GET", ENVIRONMENTS, "environments.index", Right.SEE_REPOSITORIES, 404),
    Row("GET", ENVIRONMENTS + "/new", "environments.new", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", ENVIRONMENTS + "/new", "environments.new", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", ENVIRONMENTS + "/promote", "environments.promote", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", ENVIRONMENTS + "/1/stop", "environments.stop", Right.ENABLE_REPOSITORIES, 404),
    Row("POST", ENVIRONMENTS + "/1/delete", "environments.delete", Right.ENABLE_REPOSITORIES, 404),
    Row("GET", "/repositories/", "repositories.index", Right.SEE_REPOSITORIES, 200),
    Row("GET", "/connections/{slug}/rules", "rules.show", MANAGE, 200),
    Row("POST", "/connections/{slug}/rules", "rules.change", MANAGE, 200),
    Row("GET", "/repositories/requests", "requests.index", Right.SEE_REPOSITORIES, 200),
    Row(
        "GET",
        "/repositories/{repository}/request",
        "requests.ask",
        Right.SEE_REPOSITORIES,
        200,
        only=frozenset({Role.AUDITOR}),
    ),
    Row(
        "POST",
        "/repositories/{repository}/request",
        "requests.ask",
        Right.SEE_REPOSITORIES,
        303,
        {"reason": "It is needed."},
        only=frozenset({Role.AUDITOR}),
    ),
    Row("POST", "/repositories/requests/999999", "requests.answer", Right.SEE_REPOSITORIES, 404, {"do": "withdraw"}),
    Row("GET", "/repositories/review", "review.index", Right.ENABLE_REPOSITORIES, 200),
    Row("POST", "/repositories/review", "review.answer", Right.ENABLE_REPOSITORIES, 303, {"keep": "999999"}),
    Row("POST", "/repositories/review/schedule", "review.schedule", MANAGE, 303, {"months": "6"}),
    Row(
        "POST",
        "/repositories/review/again/999999",
        "review.created_again",
        Right.ENABLE_REPOSITORIES,
        404,
        {"do": "leave"},
    ),
    Row("POST", "/repositories/review/export", "review.export", Right.ENABLE_REPOSITORIES, 200, {"format": "csv"}),
    Row("GET", "/connections/{slug}/unseen", "unseen.show", MANAGE, 200),
    Row("POST", "/connections/{slug}/unseen", "unseen.answer", MANAGE, 409, {"do": "keep", "count": "3"}),
    Row("GET", "/repositories/groups", "repositories.groups", Right.SEE_REPOSITORIES, 303),
    Row("GET", "/repositories/missing", "missing.index", Right.SEE_REPOSITORIES, 200),
    Row("POST", "/repositories/export", "repositories.export", Right.SEE_REPOSITORIES, 200, {"format": "csv"}),
    Row("GET", "/repositories/change", "bulk.ask", Right.ENABLE_REPOSITORIES, 200, query="?do=enable"),
    Row("POST", "/repositories/change", "bulk.start", Right.ENABLE_REPOSITORIES, 400),
    # The lead of this table has no group.
    Row(
        "GET",
        "/repositories/{repository}",
        "services.show",
        Right.SEE_REPOSITORIES,
        200,
        only=EVERYONE_BUT_LEADS,
    ),
    Row(
        "POST",
        "/repositories/{repository}",
        "services.save",
        Right.ENABLE_REPOSITORIES,
        409,
        {"services": "repositories"},
        only=EVERYONE_BUT_LEADS,
    ),
    Row("GET", CHANGE, "bulk.show", Right.SEE_REPOSITORIES, 200),
    Row("POST", CHANGE + "/undo", "bulk.undo", Right.ENABLE_REPOSITORIES, 303),
    Row("POST", CHANGE + "/export", "bulk.export", Right.SEE_REPOSITORIES, 200, {"format": "json"}),
    Row("GET", SETUP + "/repositories", "repositories.setup", MANAGE, 200),
    Row("POST", SETUP + "/repositories", "repositories.finish", MANAGE, 303),
    Row("GET", SETUP + "/finished", "repositories.finished", MANAGE, 200),
    Row("GET", "/connections/{slug}/catalogue", "repositories.progress", Right.SEE_REPOSITORIES, 303),
    Row("POST", "/connections/{slug}/catalogue", "repositories.read", MANAGE, 303),
    # Ids this person may not see are ignored like ids that do not exist.
    Row(
        "POST",
        "/repositories/enable",
        "repositories.enable",
        Right.ENABLE_REPOSITORIES,
        303,
        {"repository_id": "{repository}"},
        foreign=303,
    ),
    Row(
        "POST",
        "/repositories/disable",
        "repositories.disable",
        Right.ENABLE_REPOSITORIES,
        303,
        {"repository_id": "{repository}"},
        foreign=303,
    ),
)
PAGES = tuple(row for row in ROWS if not row.is_machine)
