"""The switches of the sandbox: what an administrator of a real GitLab, or chance, may change at any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from portal.sandbox.options import Edition, SandboxOptions


@dataclass
class SandboxSettings:
    """All switches; assign directly in tests, or use `World.change_settings`.

    Attributes:
        external_url: what links and `issuer` say, relative root included, without a slash at the end.
        admin_mode: an administrator's token needs the scope `admin_mode` to act as one.
        terms_enforced: people who have not accepted the terms get 403 from the API.
        personal_tokens_enabled: off, the page is 404 and tokens are unknown.
        token_prefix: what new personal access tokens begin with.
        instance_token_prefix: what every new token begins with, before its own prefix (17.10).
        token_expiry_required: personal access tokens must expire (16.0; can be switched off since 17.3).
        service_token_expiry_required: those of service accounts must, too.
        longer_token_lifetimes: tokens may live for 400 days instead of 365 (17.6, behind a flag).
        max_token_lifetime_days: an administrator's own limit.
        fine_grained_required_after: from this day on, people can neither create nor rotate legacy tokens (19.2).
        groups_requiring_fine_grained: paths of top-level groups that refuse people's legacy tokens, as GitLab.com lets
            their owners decide.
        owners_create_service_accounts: owners of top-level groups may create service accounts there (17.6).
        user_oauth_applications: off, people cannot register their own applications.
        disable_admin_oauth_scopes: administrators cannot authorize untrusted applications that have strong scopes.
        maintenance: writes answer 503.
        read_only: a Geo secondary; writes answer 403.
        token_type: the casing at `/oauth/token`; `bearer` in very old versions.
        lazy_refresh: the old pair lives until the new one is first used (no real GitLab does this).
        refuse_good_refreshes: this many good refresh tokens are answered with `invalid_grant`, then they are accepted,
            as if a database replica lags behind (https://gitlab.com/gitlab-org/gitlab/-/issues/599181).
        refuse_good_clients: this many correct client credentials are answered with `invalid_client` at `/oauth/token`.
        refuse_fresh_tokens_seconds: an OAuth access token is unknown for this long after its issue, as if a database
            replica lags behind.
        token_lifetime_seconds: how long new access tokens live, and what `expires_in` says; refreshes keep the old one.
        end_tokens_after_seconds: new access tokens end after this long, whatever `expires_in` says.
        bare_refusals: a dead token is refused without a reason, like an unknown one.
        iam: applications without their own setting get their tokens from GitLab's IAM service.
        iam_token_prefix: what its access tokens begin with; GitLab has used `giat_` and `gliamat-` so far.
        revokes_expired: whether `/oauth/revoke` kills the refresh token of an expired access token; None follows the
            version: Doorkeeper has done so since 5.8.1.
        coop_same_origin: pages send `Cross-Origin-Opener-Policy: same-origin`.
        allow_local_hooks: hooks may go to loopback and private addresses.
        allow_local_system_hooks: system hooks may.
        outbound_allowlist: names, addresses and ranges that hooks may go to in any case.
        block_other_outbound: hooks may go nowhere else (15.10).
        max_project_hooks: hooks one project may have.
        group_hooks: the licence includes hooks of groups (Premium).
        unresolvable_hosts: names this GitLab's resolver does not know, besides `*.invalid`.
        resolver: the address that this GitLab's resolver gives for a name.
        silent_mode: GitLab sends nothing to anyone.
        auto_disable_hooks: hooks that keep failing are switched off; None follows the version: self-managed GitLab has
            not done so since 15.10, unless the flag `auto_disabling_web_hooks` is on.
        push_hooks_limit: a push that changes more branches or tags than this fires no hook.
        hook_workers_cut_off: background workers, which send deliveries, reach no receiver; web servers, which test and
            resend, do.
        hook_tests_cut_off: the other way round.
        hook_timeout_seconds: how long a receiver may take.
        hook_delay_seconds: how long deliveries wait in the queue.
        hook_copies: how often each delivery is sent, as after a crash of a worker.
        lose_hooks: this many deliveries vanish from the queue.
        hold_hooks: deliveries stay in the queue until `Deliveries.release`.
        proxy_decodes_slashes: a reverse proxy turns `%2F` into `/`, so encoded paths are not found.
        proxy_drops_authorization: a reverse proxy removes the header `Authorization`.
        rate_limit_per_minute: requests one user may make; None switches throttling and its headers off.
        gzip: compress JSON for clients that accept it, as the web server in front of a real GitLab does.
        max_per_page: the largest page a list returns, whatever was requested.
        max_offset: the offset at which lists answer 405.
        hide_totals_above: the number of records above which totals are left out.
    """

    external_url: str
    relative_root: str = ""
    version: str = "18.5.0"
    edition: Edition = "ee"
    admin_mode: bool = False
    terms_enforced: bool = False
    personal_tokens_enabled: bool = True
    token_prefix: str = "glpat-"
    instance_token_prefix: str = ""
    token_expiry_required: bool = True
    service_token_expiry_required: bool = True
    longer_token_lifetimes: bool = False
    max_token_lifetime_days: int | None = None
    fine_grained_required_after: date | None = None
    groups_requiring_fine_grained: frozenset[str] = frozenset()
    owners_create_service_accounts: bool = False
    user_oauth_applications: bool = True
    disable_admin_oauth_scopes: bool = False
    impersonation_enabled: bool = True
    maintenance: bool = False
    read_only: bool = False
    token_type: str = "Bearer"
    lazy_refresh: bool = False
    refuse_good_refreshes: int = 0
    refuse_good_clients: int = 0
    refuse_fresh_tokens_seconds: float = 0.0
    token_lifetime_seconds: int = 7200
    end_tokens_after_seconds: float | None = None
    bare_refusals: bool = False
    iam: bool = False
    iam_token_prefix: str = "giat_"
    revokes_expired: bool | None = None
    coop_same_origin: bool = False
    allow_local_hooks: bool = False
    allow_local_system_hooks: bool = True
    outbound_allowlist: frozenset[str] = frozenset()
    block_other_outbound: bool = False
    max_project_hooks: int = 100
    group_hooks: bool = True
    unresolvable_hosts: frozenset[str] = frozenset()
    resolver: dict[str, str] = field(default_factory=dict)
    silent_mode: bool = False
    auto_disable_hooks: bool | None = None
    push_hooks_limit: int = 3
    hook_workers_cut_off: bool = False
    hook_tests_cut_off: bool = False
    hook_timeout_seconds: float = 10.0
    hook_delay_seconds: float = 0.0
    hook_copies: int = 1
    lose_hooks: int = 0
    hold_hooks: bool = False
    proxy_decodes_slashes: bool = False
    proxy_drops_authorization: bool = False
    rate_limit_per_minute: int | None = None
    gzip: bool = False
    max_per_page: int = 100
    max_offset: int = 50_000
    hide_totals_above: int = 10_000

    @classmethod
    def from_options(cls, options: SandboxOptions) -> SandboxSettings:
        """Start with the defaults of a GitLab of this version."""
        external_url = options.external_url.rstrip("/") or f"http://localhost:{options.port}{options.relative_root}"
        return cls(
            external_url=external_url,
            relative_root=options.relative_root,
            version=options.version,
            edition=options.edition,
            iam=options.iam,
        )

    @property
    def version_text(self) -> str:
        """The version as the API reports it: with `-ee` on the Enterprise edition, unless it is a pre-release."""
        return f"{self.version}-ee" if self.edition == "ee" and "-" not in self.version else self.version
