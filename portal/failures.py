"""Every failure there is: what it is called, where it is shown, what it says there, what to do, and who can do it.

What is stored of a failure is its code and its parameters (`portal.errors.Card`); what a person reads is made from this
catalogue when it is shown, because what can be done depends on where it is read. A form waits for someone to press its
button again; the health page tries again by itself; a job that has given up does neither. `tests/test_failures.py` puts
every failure in every one of its places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Layer(StrEnum):
    """Where on the way to GitLab something failed; the value is the word people read."""

    POLICY = "Network policy"
    DNS = "Name resolution"
    TCP = "Connection"
    TLS = "TLS"
    PROXY = "Proxy"
    HTTP = "HTTP"
    GITLAB = "GitLab"
    OAUTH = "OAuth"
    SCOPE = "Scope"
    ROLE = "Role"
    PORTAL = "Gatehouse"


class Responsible(StrEnum):
    """Who can fix a failure."""

    YOU = "You"
    MANAGER = "An owner or administrator of your organization"
    GITLAB_ADMIN = "Your GitLab administrator"
    NETWORK = "Your network team"
    OPERATOR = "The operator of this portal"
    NO_ONE = "No one needs to: it resolves itself"


class Way(StrEnum):
    """Where a failure can be fixed; the page that shows it builds the link."""

    AUTHORIZE = "authorize"
    REPLACE_TOKEN = "replace_token"
    SECRET = "secret"
    INSTANCE = "instance"
    GATEWAY = "gateway"
    APPLICATION = "application"
    SERVICES = "services"
    SETUP = "setup"
    RESTORED = "restored"
    REPOSITORIES = "repositories"
    UNSEEN = "unseen"
    # In GitLab.
    APPLICATIONS = "applications"
    AUTHORIZED_APPLICATIONS = "authorized_applications"
    OUTBOUND_REQUESTS = "outbound_requests"


class Surface(StrEnum):
    """Where a failure is read."""

    CHECKS = "checks"  # Step Instance: the checklist.
    APPLICATION = "application"  # Step Application, also if it is handed over: what GitLab says to ID and Secret.
    CREDENTIALS = "credentials"  # The page that replaces ID and Secret.
    PROVISIONING = "provisioning"  # What a one-time token is used for.
    TOKEN = "token"  # Step Access token: what GitLab says to a pasted token.
    START = "start"  # The answer to *Authorize*, if GitLab's address is in doubt.
    AUTHORIZE = "authorize"  # Step Authorize, back from GitLab.
    OVERVIEW = "overview"  # The connection's own page, and the list of connections.
    HEALTH = "health"  # Health page, alarms on every page, and mails about them.
    CREDENTIAL = "credential"  # The page about the token pair.
    REPOSITORIES = "repositories"  # The list, when the newest read has given up.
    HOOKS = "hooks"  # The page about the webhooks of a connection.
    SITE = "site"  # The page of a site.
    REVOCATION = "revocation"  # The panel about tokens that must end at GitLab.
    PAGE = "page"  # Any page that cannot be answered, or whose form cannot be kept.
    JOB_WAITING = "job_waiting"  # A job that is tried again.
    JOB_READ = "job_read"  # A job that has given up, by what starts its work again.
    JOB_CHECK = "job_check"
    JOB_MAIL = "job_mail"
    JOB_ERASE = "job_erase"
    JOB_CHANGE = "job_change"
    JOB_PERIODIC = "job_periodic"
    JOB_PREVIEW = "job_preview"  # The comparison before a site is connected.


@dataclass(frozen=True)
class Means:
    """What happens next at a place.

    Attributes:
        again: how the same is tried once more; `{when}` is filled with GitLab's wish or "in a minute".
        then: what is left to do here once someone elsewhere has fixed the cause; empty if the portal notices.
        is_automatic: whether the portal tries again by itself.
        leads_to: links that would only lead to this very page.
    """

    again: str
    then: str = ""
    is_automatic: bool = False
    leads_to: frozenset[Way] = frozenset()


_READ_AGAIN = "Press Read again on the Repositories page"
MEANS: dict[Surface, Means] = {
    Surface.CHECKS: Means("Press Check again {when}.", "Then press Check again.", leads_to=frozenset({Way.INSTANCE})),
    Surface.APPLICATION: Means(
        "Try again {when}.",
        "Then try again.",
        leads_to=frozenset({Way.SECRET, Way.AUTHORIZE, Way.SERVICES}),
    ),
    Surface.CREDENTIALS: Means(
        "Press Save again {when}.", "Then press Save again.", leads_to=frozenset({Way.SECRET, Way.AUTHORIZE})
    ),
    Surface.PROVISIONING: Means("Press the button again {when}.", "Then press the button again."),
    Surface.TOKEN: Means(
        "Press Test connection again {when}.",
        "Then press Test connection again.",
        leads_to=frozenset({Way.AUTHORIZE, Way.SECRET, Way.SERVICES}),
    ),
    Surface.START: Means(
        "Go to the step Instance and press Check again there {when}.",
        "Then press Check again in the step Instance, and authorize.",
    ),
    Surface.AUTHORIZE: Means(
        "Nothing was stored. Authorize again {when}.", "Then authorize again.", leads_to=frozenset({Way.AUTHORIZE})
    ),
    Surface.OVERVIEW: Means("Gatehouse checks again automatically every few minutes.", is_automatic=True),
    Surface.HEALTH: Means("Gatehouse checks again automatically every minute.", is_automatic=True),
    Surface.CREDENTIAL: Means("Gatehouse tries again automatically until GitLab answers.", is_automatic=True),
    Surface.REPOSITORIES: Means(
        "This read has failed; the list is from the previous one. Press Read again {when}.",
        "Then press Read again.",
        leads_to=frozenset({Way.REPOSITORIES}),
    ),
    Surface.HOOKS: Means(
        "Gatehouse tries again by itself whenever it compares; Compare now does so at once.", is_automatic=True
    ),
    Surface.SITE: Means("Gatehouse tries again by itself; Sync now does so at once.", is_automatic=True),
    Surface.REVOCATION: Means(
        "Gatehouse tries again by itself, less and less often. Try again now asks GitLab at once.", is_automatic=True
    ),
    Surface.PAGE: Means("Try again in a few seconds.", "Then try again."),
    Surface.JOB_WAITING: Means("Gatehouse tries it again, up to five times.", is_automatic=True),
    Surface.JOB_READ: Means(f"This job has failed. {_READ_AGAIN} {{when}}.", f"Then press {_READ_AGAIN[6:]}."),
    Surface.JOB_CHECK: Means(
        "This job has failed. Gatehouse checks the connection again by itself; Check again on its Health page does so "
        "at once.",
        is_automatic=True,
    ),
    Surface.JOB_MAIL: Means(
        "This job has failed. Gatehouse starts another by itself, less and less often, for a day.", is_automatic=True
    ),
    Surface.JOB_ERASE: Means(
        "This job has failed. Gatehouse starts another by itself once GitLab has revoked the token.",
        is_automatic=True,
    ),
    Surface.JOB_CHANGE: Means(
        "This job has failed; what it has done stays done. Start it again on the Repositories page {when}.",
        "Then start it again on the Repositories page.",
    ),
    Surface.JOB_PREVIEW: Means(
        "This job has failed. Compare the files again on the Settings page of the site {when}.",
        "Then compare the files again on the Settings page of the site.",
    ),
    Surface.JOB_PERIODIC: Means(
        "This job has failed. Gatehouse starts another by itself when it is next due.", is_automatic=True
    ),
}
# For a read that ended because GitLab was unreachable: another starts automatically (`repositories.take_up_reads`).
_TAKEN_UP = Means(
    "This read has failed; the list is from the previous one. Gatehouse begins another by itself every ten minutes, "
    "for a day.",
    is_automatic=True,
)
# What starts the work of a job again that has given up; all others are started by the clock.
_GIVEN_UP = {
    "repositories.read_catalogue": Surface.JOB_READ,
    # The clock starts another.
    "repositories.read_updates": Surface.JOB_PERIODIC,
    # A read applies the rules too.
    "repositories.apply_rules": Surface.JOB_READ,
    "health.check_one": Surface.JOB_CHECK,
    "health.mail_alarm": Surface.JOB_MAIL,
    "disconnection.erase": Surface.JOB_ERASE,
    # Also started by the clock.
    "ingestion.read": Surface.JOB_PERIODIC,
    "webhooks.reconcile": Surface.JOB_PERIODIC,
    "webhooks.read_projects": Surface.JOB_PERIODIC,
    "repositories.change_all": Surface.JOB_CHANGE,
    # Also started by the clock.
    "sync.site": Surface.JOB_PERIODIC,
    "sync.preview": Surface.JOB_PREVIEW,
}


def surface_of_job(name: str, *, has_given_up: bool) -> Surface:
    """Return where a job's failure is read."""
    return _GIVEN_UP.get(name, Surface.JOB_PERIODIC) if has_given_up else Surface.JOB_WAITING


@dataclass(frozen=True)
class Told:
    """What one place says instead; an empty text is the general one."""

    remedy: str = ""
    sentence: str = ""
    who: Responsible | None = None


@dataclass(frozen=True)
class Failure:
    """One entry. Texts may name parameters; `{again}` is how the place tries once more.

    Attributes:
        who: None if it is whoever tries again at the place: a person, or the portal by itself.
        is_done_there: the remedy is complete: nothing is left to do at the place afterwards.
        is_taken_up: whether a read that ended with it is started again automatically.
    """

    layer: Layer
    sentence: str
    remedy: str
    who: Responsible | None
    places: frozenset[Surface]
    ways: tuple[Way, ...] = ()
    is_done_there: bool = False
    is_taken_up: bool = False
    at: Mapping[Surface, Told] = field(default_factory=dict)

    def told_at(self, place: Surface | None) -> Told:
        """Return sentence, remedy and who can apply it, worded for a place."""
        own = self.at.get(place, Told()) if place else Told()
        remedy = own.remedy or self.remedy
        means = self.means_at(place) if place else Means("Try again {when}.")
        who = own.who or self.who or (Responsible.NO_ONE if means.is_automatic else Responsible.YOU)
        if means.then and not self.is_done_there and "{again}" not in remedy:
            remedy = f"{remedy} {means.then}"
        return Told(remedy.replace("{again}", means.again), own.sentence or self.sentence, who)

    def means_at(self, place: Surface) -> Means:
        """Return what happens next at a place."""
        return _TAKEN_UP if self.is_taken_up and place in {Surface.REPOSITORIES, Surface.JOB_READ} else MEANS[place]

    def ways_at(self, place: Surface | None) -> tuple[Way, ...]:
        """Return where else it can be fixed: not on the page that shows it."""
        here = MEANS[place].leads_to if place else frozenset()
        return tuple(way for way in self.ways if way not in here)


def _at(
    places: Iterable[Surface], remedy: str = "", who: Responsible | None = None, sentence: str = ""
) -> dict[Surface, Told]:
    return {place: Told(remedy, sentence, who) for place in places}


def _among(*places: Iterable[Surface] | Surface) -> frozenset[Surface]:
    return frozenset(one for item in places for one in ([item] if isinstance(item, Surface) else item))


_SETUP = (
    *(Surface.CHECKS, Surface.APPLICATION, Surface.CREDENTIALS, Surface.PROVISIONING),
    *(Surface.TOKEN, Surface.START),
)
_READS = (Surface.REPOSITORIES, Surface.JOB_READ)
_HOOK_PAGES = _among(Surface.HOOKS, Surface.HEALTH)
# Whoever demands a token hears what is stored of the credential.
_TOKEN = _among(Surface.CREDENTIAL, Surface.HEALTH, Surface.HOOKS, Surface.SITE, Surface.JOB_WAITING, _READS)
_IN_USE = _among(_TOKEN, Surface.OVERVIEW)
_AS_USER = _among(Surface.AUTHORIZE, _IN_USE, Surface.REVOCATION)
_ASKS = _among(_SETUP, _AS_USER)
_IDENTIFIES = _among(_SETUP, Surface.HEALTH)
_JOBS = _among(
    _READS,
    Surface.JOB_WAITING,
    Surface.JOB_CHECK,
    Surface.JOB_MAIL,
    Surface.JOB_ERASE,
    Surface.JOB_CHANGE,
    Surface.JOB_PERIODIC,
    Surface.JOB_PREVIEW,
)
_OAUTH = _among(
    *(Surface.APPLICATION, Surface.CREDENTIALS, Surface.PROVISIONING, Surface.AUTHORIZE, Surface.REVOCATION), _TOKEN
)

_BY_HAND = "Revoke it in GitLab: sign in as the service user, Applications, Authorized applications, Revoke."
_AGAIN_AS_SERVICE_USER = (
    "Authorize the connection again as the service user; repositories and settings stay as they are."
)
_PERSISTS = "{again} If it persists, give GitLab's administrator the request id, or the time if there is none."
_PROXY_IN_FRONT = "Have whoever runs the proxy or gateway in front of GitLab"


def _address(
    sentence: str, remedy: str = "Enter the address of your GitLab.", who: Responsible = Responsible.YOU
) -> Failure:
    return Failure(Layer.POLICY, sentence, remedy, who, _ASKS, (Way.INSTANCE,))


def _tls(sentence: str, remedy: str, who: Responsible = Responsible.GITLAB_ADMIN, *ways: Way) -> Failure:
    return Failure(Layer.TLS, sentence, remedy, who, _ASKS, ways)


def _proxy(sentence: str, remedy: str) -> Failure:
    return Failure(Layer.PROXY, sentence, remedy, Responsible.NETWORK, _ASKS, (Way.INSTANCE,), is_taken_up=True)


_NO_GITLAB_THERE = "If the address is right, its DNS entry is wrong: your network team can correct it."
_WAY: dict[str, Failure] = {
    "http_failed": Failure(Layer.HTTP, "The request failed.", _PERSISTS, Responsible.GITLAB_ADMIN, _ASKS),
    "address_loopback": _address(
        "This name leads back to the portal's own machine.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_unspecified": _address("This name does not lead to any address.", _NO_GITLAB_THERE, Responsible.NETWORK),
    "address_link_local": _address(
        "This name leads to a link-local address, where no GitLab is.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_multicast": _address(
        "This name leads to a multicast address, where no GitLab is.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_broadcast": _address(
        "This name leads to a broadcast address, where no GitLab is.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_reserved": _address(
        "This name leads to a reserved address, where no GitLab is.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_metadata": _address(
        "This name leads to the metadata service of a cloud machine.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_documentation": _address(
        "This name leads to an address reserved for documentation.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_benchmarking": _address(
        "This name leads to an address reserved for measurements.", _NO_GITLAB_THERE, Responsible.NETWORK
    ),
    "address_private": _address(
        "This name leads to a private network, which the operator of this portal has not allowed.",
        "If that is your GitLab, ask the operator to allow its network (GATEHOUSE_NETWORK_POLICY).",
        Responsible.OPERATOR,
    ),
    "address_not_listed": _address(
        "This name leads to a network that the operator of this portal has not allowed.",
        "If that is your GitLab, ask the operator to allow its network (GATEHOUSE_NETWORK_POLICY).",
        Responsible.OPERATOR,
    ),
    "address_port": _address(
        "This portal may not connect to that port; its operator can allow it.",
        "If that is your GitLab, ask the operator to allow its port (GATEHOUSE_OUTBOUND_PORTS).",
        Responsible.OPERATOR,
    ),
    "address_own_address": _address("This is the portal's own address, not GitLab's."),
    "name_not_resolved": Failure(
        Layer.DNS,
        "The host name cannot be resolved from this portal's network.",
        "Have your network team make the name known to the name servers that this portal asks.",
        Responsible.NETWORK,
        _ASKS,
        is_taken_up=True,
        at=_at(
            [Surface.CHECKS],
            "Check the spelling. If only your own network knows the name, have your network team make it known to the "
            "name servers that this portal asks.",
        ),
    ),
    "connect_failed": Failure(
        Layer.TCP,
        "No connection: the port is closed, or something in between blocks this portal.",
        "Have your network team check whether GitLab is running, and the firewall between this portal and GitLab.",
        Responsible.NETWORK,
        _ASKS,
        is_taken_up=True,
        at=_at([Surface.CHECKS], "Check the port and the firewall between this portal and GitLab."),
    ),
    "tls_expired": _tls("The certificate has expired.", "Renew the certificate on the GitLab server."),
    "tls_not_yet_valid": _tls("The certificate is not valid yet.", "Check the clocks of both servers."),
    "tls_wrong_name": _tls(
        "The certificate belongs to another host name.",
        "Have it reissued for this name, or enter the name the certificate is for.",
        Responsible.GITLAB_ADMIN,
        Way.INSTANCE,
    ),
    "tls_self_signed": replace(
        _tls(
            "The certificate is self-signed, so no authority confirms it.",
            "If its fingerprint matches the one from GitLab's administrator, trust it in the step Instance, or paste "
            "it there as CA certificate.",
            Responsible.YOU,
            Way.INSTANCE,
        ),
        at=_at([Surface.CHECKS], "If its fingerprint matches the one from GitLab's administrator, trust it below."),
    ),
    "tls_unknown_ca": replace(
        _tls(
            "The certificate was issued by an authority this portal does not know.",
            "If it is your company's authority, compare its fingerprint and trust it in the step Instance, or paste "
            "its certificate there as CA certificate.",
            Responsible.YOU,
            Way.INSTANCE,
        ),
        at=_at(
            [Surface.CHECKS],
            "If it is your company's authority, compare its fingerprint below and trust it, or paste its certificate "
            "as CA certificate.",
        ),
    ),
    "tls_incomplete_chain": _tls(
        "The server sent only its own certificate, without that of the authority that issued it.",
        "If an intermediate authority issued it, have GitLab's administrator install the full chain (fullchain.pem): "
        "browsers find the missing certificate by themselves, programs do not. If your company's own authority did, "
        "paste that authority's certificate as CA certificate.",
        Responsible.GITLAB_ADMIN,
        Way.INSTANCE,
    ),
    "tls_weak": _tls(
        "The certificate uses a key or a signature too weak to be trusted.",
        "Have it reissued with a key of at least 2048 bits (RSA) and a SHA-256 signature.",
    ),
    "tls_old_protocol": _tls("The server speaks only TLS versions older than 1.2.", "Enable TLS 1.2 or newer."),
    "tls_not_tls": _tls(
        "This port does not speak TLS; perhaps it is plain HTTP.",
        "Have whoever runs the server enable TLS on this port, or enter the https address.",
        Responsible.GITLAB_ADMIN,
        Way.INSTANCE,
    ),
    "tls_authority_expired": _tls(
        "The certificate of the authority that issued GitLab's certificate has expired.",
        "Have whoever runs the authority renew its certificate, and enter the new one as CA certificate.",
        Responsible.GITLAB_ADMIN,
        Way.INSTANCE,
    ),
    "tls_other_authority": _tls(
        "GitLab's certificate no longer comes from the authority trusted here. That one has SHA-256 {expected}; GitLab "
        "now shows {seen}.",
        "Ask GitLab's administrator whether the authority was changed. If it was, compare the fingerprint and trust "
        "the new one. If not, someone may be intercepting the connection: leave it as it is.",
        Responsible.GITLAB_ADMIN,
        Way.INSTANCE,
    ),
    "tls_client_certificate_required": _tls(
        "A gateway in front of GitLab demands a client certificate.",
        "Get one from whoever runs the gateway, and enter it under Gateway.",
        Responsible.NETWORK,
        Way.GATEWAY,
    ),
    "tls_client_certificate_refused": _tls(
        "The gateway in front of GitLab refuses the client certificate.",
        "Ask whoever runs the gateway whether it has expired, was revoked, or comes from an authority that the "
        "gateway does not accept.",
        Responsible.NETWORK,
        Way.GATEWAY,
    ),
    "tls_failed": _tls("The TLS handshake failed.", "Ask whoever runs the server; mention the time."),
    "proxy_failed": _proxy(
        "The proxy did not open a connection to GitLab.",
        "Check the proxy's address, and whether it lets this portal CONNECT to GitLab's IP address and port.",
    ),
    "proxy_failed/unreachable": _proxy(
        "The proxy cannot be reached: its name is unknown, or nothing listens on its port.",
        "Check the proxy's address and port, and the firewall between this portal and the proxy.",
    ),
    "proxy_failed/authentication": _proxy(
        "The proxy asks for a user name and a password (407), and Gatehouse has none for it.",
        "Have the proxy let this portal's address through without signing in.",
    ),
    "proxy_failed/denied": _proxy(
        "The proxy does not allow a connection to GitLab (403).",
        "Have whoever runs the proxy allow CONNECT from this portal to GitLab's name, IP address and port.",
    ),
    "proxy_failed/name": _proxy(
        "Neither this portal nor the proxy can resolve GitLab's host name.",
        "Have whoever runs the proxy check whether its name servers know GitLab's host name.",
    ),
    "proxy_failed/target": _proxy(
        "The proxy answers, but cannot connect to GitLab.",
        "Check whether GitLab is running, and the firewall between the proxy and GitLab.",
    ),
    "proxy_failed/not_a_proxy": _proxy(
        "What listens at the proxy's address is not an HTTP proxy that opens tunnels.",
        "Check the proxy's address and port. It must support CONNECT (RFC 9110 §9.3.6).",
    ),
    "deadline_passed": Failure(
        Layer.HTTP,
        "The server did not answer in time.",
        "{again} GitLab may be busy.",
        None,
        _ASKS,
        is_taken_up=True,
    ),
    "deadline_passed/dns": Failure(
        Layer.DNS,
        "The name servers did not answer in time.",
        "Check the name servers this portal asks.",
        Responsible.NETWORK,
        _ASKS,
        is_taken_up=True,
    ),
    "deadline_passed/tcp": Failure(
        Layer.TCP,
        "No one answered at that port in time.",
        "Check the firewall between this portal and GitLab; it may drop what this portal sends.",
        Responsible.NETWORK,
        _ASKS,
        is_taken_up=True,
    ),
    "deadline_passed/tls": Failure(
        Layer.TLS,
        "The TLS handshake was not finished in time.",
        "Check that the port is the one of the https address.",
        Responsible.GITLAB_ADMIN,
        _ASKS,
        is_taken_up=True,
    ),
    "deadline_passed/proxy": Failure(
        Layer.PROXY,
        "The proxy did not answer in time.",
        "Check the proxy's address and its load.",
        Responsible.NETWORK,
        _ASKS,
        (Way.INSTANCE,),
        is_taken_up=True,
    ),
    "answer_too_large": Failure(
        Layer.HTTP, "The answer was far larger than any answer of GitLab's.", _PERSISTS, Responsible.GITLAB_ADMIN, _ASKS
    ),
    "answer_broken": Failure(
        Layer.HTTP,
        "The connection broke before the answer was complete, or what came was not HTTP.",
        _PERSISTS,
        Responsible.GITLAB_ADMIN,
        _ASKS,
        is_taken_up=True,
    ),
    "answer_encoding": Failure(
        Layer.HTTP,
        "The answer is compressed in a way that this portal did not ask for.",
        f"{_PROXY_IN_FRONT} make it compress only in the ways that a request allows (Accept-Encoding).",
        Responsible.NETWORK,
        _ASKS,
    ),
    "answer_encoding/known": Failure(
        Layer.HTTP,
        "The answer is compressed as “{encoding}”, which this portal did not ask for: something in front of GitLab "
        "compresses answers.",
        f"{_PROXY_IN_FRONT} make it compress only in the ways that a request allows (Accept-Encoding).",
        Responsible.NETWORK,
        _ASKS,
    ),
    "redirect_refused": Failure(
        Layer.HTTP,
        "The server sends this portal to another address instead of answering.",
        "If GitLab has moved, enter its new address. If it is a sign-in page, have whoever runs it let /api/ and "
        "/oauth/ through for programs.",
        Responsible.YOU,
        _ASKS,
        (Way.INSTANCE,),
        at=_at(
            [Surface.CHECKS],
            "If that is your GitLab, enter it as the domain. A sign-in page must let /api/ and /oauth/ through.",
        ),
    ),
}

_NOT_THE_DOMAIN = f"{_PROXY_IN_FRONT} let /api/v4/ through for programs, too: without a sign-in page or a challenge."
_DIFFERENT_ANSWER = (
    f"{_PROXY_IN_FRONT} let /api/v4/ and /.well-known/openid-configuration through. If GitLab has moved, enter its new "
    "address."
)
_LET_PROOF_THROUGH = (
    "Have the proxy in front of GitLab pass on the response header X-Request-Id or the path "
    "/.well-known/openid-configuration."
)
_USER_ADMIN = "the service user in GitLab's Admin area"


def _user_state(sentence: str, remedy: str, who: Responsible = Responsible.GITLAB_ADMIN) -> Failure:
    return Failure(Layer.ROLE, sentence, remedy, who, _among(_AS_USER, Surface.TOKEN))


def _pasted(sentence: str, remedy: str) -> Failure:
    return Failure(Layer.GITLAB, sentence, remedy, Responsible.YOU, frozenset({Surface.TOKEN}))


_MAKE_ANOTHER = "Make another one, as described on this page."
_BY_SIGNING_IN = "In a browser, sign in to GitLab once as the service user"
_GITLAB: dict[str, Failure] = {
    "gitlab_failed": Failure(
        Layer.GITLAB, "GitLab could not do what was asked.", _PERSISTS, Responsible.GITLAB_ADMIN, _ASKS
    ),
    "not_gitlab": Failure(
        Layer.HTTP,
        "Something answered, but it was not GitLab's API.",
        _NOT_THE_DOMAIN,
        Responsible.NETWORK,
        _ASKS,
        at=_at(
            [Surface.CHECKS],
            "Check the domain and the sub-path. A sign-in page or gateway in front of GitLab must let the API through.",
            Responsible.YOU,
        ),
    ),
    "not_gitlab/root_found": Failure(
        Layer.HTTP,
        "Something answered, but it was not GitLab's API.",
        "GitLab answers at {root}. Use that address.",
        Responsible.YOU,
        _IDENTIFIES,
        (Way.INSTANCE,),
        is_done_there=True,
    ),
    "other_api": Failure(
        Layer.HTTP,
        "An API answered, but not the way GitLab's does.",
        _DIFFERENT_ANSWER,
        Responsible.NETWORK,
        _IDENTIFIES,
        (Way.INSTANCE,),
        at=_at(
            [Surface.CHECKS],
            "Check the domain and the sub-path. If a gateway stands in front of GitLab, it must let /api/v4/ and "
            "/.well-known/openid-configuration through.",
            Responsible.YOU,
        ),
    ),
    "gitlab_unproved": Failure(
        Layer.HTTP,
        "This could be GitLab, but the answer had nothing that only GitLab sends: no X-Request-Id header, and no "
        "discovery document that names this address. Until then no Secret is sent there.",
        _LET_PROOF_THROUGH,
        Responsible.NETWORK,
        _IDENTIFIES,
        (Way.INSTANCE,),
        at=_at(
            [Surface.CHECKS],
            f"{_LET_PROOF_THROUGH} If GitLab has another address for browsers, enter that one as Domain and this one "
            f"as API URL.",
        ),
    ),
    "malformed_answer": Failure(
        Layer.GITLAB,
        "GitLab's answer was not in the form its API promises. None of it was used.",
        "{again} If it persists, something between this portal and GitLab may be changing answers: ask whoever "
        "runs it.",
        Responsible.NETWORK,
        _ASKS,
    ),
    "gitlab_unavailable": Failure(
        Layer.GITLAB,
        "GitLab is not available at the moment.",
        "{again}",
        None,
        _ASKS,
        is_taken_up=True,
    ),
    "gitlab_rate_limited": Failure(
        Layer.GITLAB,
        "GitLab asks this portal to slow down.",
        "{again} GitLab's administrator can raise the limit for this portal.",
        None,
        _ASKS,
        is_taken_up=True,
    ),
    "unauthorized": Failure(
        Layer.OAUTH,
        "GitLab does not accept the token and gives no reason.",
        "If GitLab's application was deleted or its database was restored, authorize again. Otherwise a proxy in front "
        "of GitLab probably drops the Authorization header, and authorizing again does not help: have whoever runs the "
        "proxy pass the header on.",
        Responsible.GITLAB_ADMIN,
        _AS_USER,
        (Way.AUTHORIZE,),
    ),
    "unauthorized/expired": Failure(
        Layer.OAUTH,
        "GitLab says that the token has expired.",
        _AGAIN_AS_SERVICE_USER,
        Responsible.YOU,
        _AS_USER,
        (Way.AUTHORIZE,),
    ),
    "unauthorized/revoked": Failure(
        Layer.OAUTH,
        "GitLab says that the token was revoked.",
        _AGAIN_AS_SERVICE_USER,
        Responsible.YOU,
        _AS_USER,
        (Way.AUTHORIZE,),
    ),
    "unauthorized/impersonation_disabled": Failure(
        Layer.OAUTH,
        "The token is an impersonation token, and impersonation is switched off in this GitLab.",
        "Authorize the connection again, signed in as the service user instead of impersonating it.",
        Responsible.YOU,
        _AS_USER,
        (Way.AUTHORIZE,),
    ),
    "token_refused": _pasted(
        "GitLab does not know this token.",
        "Check that the whole token was copied, and that it was made in this GitLab and not in another one. GitLab may "
        "take a few seconds to know a new token.",
    ),
    "token_refused/expired": _pasted("This token has expired.", _MAKE_ANOTHER),
    "token_refused/revoked": _pasted("This token was revoked in GitLab.", _MAKE_ANOTHER),
    "token_refused/impersonation_disabled": _pasted(
        "This is an impersonation token, and impersonation is switched off in this GitLab.",
        "Use a token that the service user made itself.",
    ),
    "token_must_be_fine_grained": _pasted(
        "This is a legacy token, and GitLab accepts only fine-grained ones for what this connection needs.",
        "Make a fine-grained token, as described on this page. Tokens of OAuth applications are not affected.",
    ),
    "token_of_administrator": _pasted(
        "This token belongs to an administrator, so it could do anything in GitLab.",
        "Use a token of a service user without administrator rights.",
    ),
    "token_of_external_user": _pasted(
        "This token belongs to an external user, which sees only the projects it was added to one by one.",
        "Have a GitLab administrator untick External for that user, or use a token of another one.",
    ),
    "token_of_unknown_user": _pasted(
        "GitLab does not say whose token this is.",
        "Have someone check that a gateway in front of GitLab lets /api/v4/user through, then test it again.",
    ),
    "insufficient_permission": Failure(
        Layer.SCOPE,
        "The authorization does not include a fine-grained permission that this needs.",
        "Add the permission that GitLab names to the application in GitLab, then authorize the connection again.",
        Responsible.GITLAB_ADMIN,
        _AS_USER,
        (Way.AUTHORIZE,),
        at=_at([Surface.AUTHORIZE], "Add the permission that GitLab names to the application in GitLab."),
    ),
    "insufficient_scope": Failure(
        Layer.SCOPE,
        "The token lacks a scope for this; one of these would do: {scopes}.",
        "Tick one of them in the application in GitLab, then authorize the connection again.",
        Responsible.GITLAB_ADMIN,
        _AS_USER,
        (Way.AUTHORIZE,),
        at=_at([Surface.AUTHORIZE], "Tick one of them in the application in GitLab."),
    ),
    "insufficient_scope/none_named": Failure(
        Layer.SCOPE,
        "The token lacks a scope for this; GitLab does not say which.",
        "In GitLab, tick the scopes that the step Application lists, then authorize the connection again.",
        Responsible.GITLAB_ADMIN,
        _AS_USER,
        (Way.AUTHORIZE,),
        at=_at([Surface.AUTHORIZE], "In GitLab, tick the scopes that the step Application lists."),
    ),
    "insufficient_scope/not_asked": Failure(
        Layer.SCOPE,
        "This GitLab requires one of these scopes for that: {scopes}. Gatehouse asks for none of them for what this "
        "connection is used for.",
        "Tick Webhooks under what the connection is used for: that asks for the scope api. Then tick api in the "
        "application in GitLab.",
        Responsible.YOU,
        frozenset({Surface.AUTHORIZE}),
        (Way.SERVICES,),
    ),
    "forbidden_by_role": _user_state(
        "GitLab does not let this user do that.",
        f"Check the role of the service user in the group, and {_USER_ADMIN}.",
    ),
    "forbidden_by_role/terms": _user_state(
        "The service user has not accepted GitLab's Terms of Service.",
        f"{_BY_SIGNING_IN} and accept them.",
        Responsible.YOU,
    ),
    "forbidden_by_role/password": _user_state(
        "The password of the service user has expired, and until it is changed GitLab refuses its tokens.",
        f"{_BY_SIGNING_IN} and change it.",
        Responsible.YOU,
    ),
    "forbidden_by_role/email": _user_state(
        "The e-mail address of the service user is not confirmed, so GitLab refuses its tokens.",
        f"Open the link in GitLab's e-mail to the service user, or have a GitLab administrator confirm {_USER_ADMIN}.",
        Responsible.YOU,
    ),
    "forbidden_by_role/deactivated": _user_state(
        "The service user is deactivated, so GitLab refuses its tokens.",
        f"{_BY_SIGNING_IN}, which reactivates it, or activate {_USER_ADMIN}.",
        Responsible.YOU,
    ),
    "forbidden_by_role/blocked": _user_state(
        "The service user is blocked, so GitLab refuses its tokens.", f"Unblock {_USER_ADMIN}."
    ),
    "forbidden_by_role/pending": _user_state(
        "The service user is still waiting for a GitLab administrator's approval, so GitLab refuses its tokens.",
        f"Approve {_USER_ADMIN}.",
    ),
    "forbidden_by_role/internal": _user_state(
        "This is one of GitLab's own internal users, for which GitLab refuses this.",
        "Use an ordinary user as the service user.",
        Responsible.YOU,
    ),
    "gitlab_not_found": Failure(
        Layer.GITLAB,
        "GitLab says that an address every GitLab has does not exist.",
        f"{_PROXY_IN_FRONT} let all of /api/v4/ through: it seems to pass on only a part of it.",
        Responsible.NETWORK,
        _AS_USER,
    ),
    "unexpected_status": Failure(
        Layer.GITLAB,
        "GitLab answered with the unexpected status {status}.",
        _PERSISTS,
        Responsible.GITLAB_ADMIN,
        _ASKS,
    ),
    "oauth_blocked": Failure(
        Layer.HTTP,
        "GitLab's {path} cannot be reached: something else answered ({status}).",
        f"{_PROXY_IN_FRONT} let /oauth/ through as well as /api/, for programs too: without a sign-in page, a "
        "challenge or a redirect.",
        Responsible.NETWORK,
        _OAUTH,
        at=_at(
            [Surface.APPLICATION, Surface.CREDENTIALS],
            sentence="GitLab's API can be reached, but {path} cannot: something else answered ({status}).",
        ),
    ),
    "oauth_invalid_client": Failure(
        Layer.OAUTH,
        "GitLab does not accept this Application ID with this Secret.",
        "Compare both with the application in GitLab. If the Secret was renewed there, enter the new one under Replace "
        "ID and Secret.",
        Responsible.YOU,
        _OAUTH,
        (Way.SECRET,),
        at={
            **_at(
                [Surface.PROVISIONING],
                "If it was renewed in GitLab in the meantime, the new one is needed. {again}",
            ),
            **_at(
                [Surface.APPLICATION, Surface.CREDENTIALS],
                "Compare both with the application in GitLab. The Secret is shown there only once: if in doubt, press "
                "Renew secret and paste the new one here. Make sure it is the application of this GitLab.",
            ),
            **_at(
                [Surface.REVOCATION],
                "Enter the current Secret, and Gatehouse tries again by itself. Or revoke the token in GitLab by hand.",
            ),
        },
    ),
    "oauth_invalid_grant": Failure(
        Layer.OAUTH,
        "GitLab does not accept the authorization code: it was used, is too old, or belongs to another redirect URI.",
        "If it happens a second time, compare the redirect URI in GitLab with the one in the step Application.",
        Responsible.YOU,
        frozenset({Surface.AUTHORIZE, Surface.REVOCATION}),
        at=_at(
            [Surface.AUTHORIZE],
            "{again} If it happens a second time, compare the redirect URI in GitLab with the one "
            "in the step Application.",
        ),
    ),
    "oauth_invalid_scope": Failure(
        Layer.OAUTH,
        "GitLab does not allow the application one of the scopes asked for.",
        "In GitLab, tick the scopes that the step Application lists.",
        Responsible.GITLAB_ADMIN,
        _OAUTH,
        (Way.APPLICATIONS,),
    ),
    "oauth_access_denied": Failure(
        Layer.OAUTH,
        "The authorization was denied in GitLab.",
        "{again} Press Authorize on GitLab's page.",
        Responsible.YOU,
        frozenset({Surface.AUTHORIZE}),
    ),
    "oauth_unauthorized_client": Failure(
        Layer.OAUTH,
        "GitLab does not let this application do that.",
        "Check in GitLab that the application is confidential and not blocked.",
        Responsible.GITLAB_ADMIN,
        _OAUTH,
        (Way.APPLICATIONS,),
    ),
    "oauth_other": Failure(
        Layer.OAUTH,
        "GitLab's OAuth endpoint refused the request.",
        "Compare the application's values in GitLab with those in the step Application.",
        Responsible.GITLAB_ADMIN,
        _OAUTH,
        (Way.APPLICATIONS,),
    ),
}

_WRONG_PERSON = frozenset({Surface.AUTHORIZE})


def _at_callback(
    code_layer: Layer,
    sentence: str,
    remedy: str,
    who: Responsible | None = Responsible.YOU,
    *ways: Way,
    is_done: bool = False,
) -> Failure:
    return Failure(code_layer, sentence, remedy, who, frozenset({Surface.AUTHORIZE}), ways, is_done)


_AUTHORIZATION: dict[str, Failure] = {
    "wrong_person_other_user": _at_callback(
        Layer.OAUTH,
        "Someone else was signed in to GitLab.",
        "Sign in to GitLab as the service user, or impersonate it.",
    ),
    "wrong_person_administrator": _at_callback(
        Layer.OAUTH,
        "This GitLab user is an administrator, so its tokens could do anything in GitLab.",
        "Use a service user without administrator rights, or remove them in GitLab's Admin area.",
        Responsible.GITLAB_ADMIN,
    ),
    "wrong_person_blocked": _at_callback(
        Layer.OAUTH,
        "This GitLab user is not active, so GitLab would refuse its tokens.",
        f"Unblock or activate {_USER_ADMIN}.",
        Responsible.GITLAB_ADMIN,
    ),
    "wrong_person_external": _at_callback(
        Layer.OAUTH,
        "This GitLab user is external and only sees projects it was added to one by one.",
        f"Untick External for {_USER_ADMIN}.",
        Responsible.GITLAB_ADMIN,
    ),
    "scopes_missing": _at_callback(
        Layer.SCOPE,
        "GitLab granted less than was asked for. Missing: {scopes}.",
        "Tick {scopes} in the application's scopes in GitLab and save.",
        Responsible.GITLAB_ADMIN,
        Way.APPLICATIONS,
    ),
    "connection_changed": _at_callback(
        Layer.PORTAL,
        "The connection was changed or disconnected while you were in GitLab. Nothing was stored.",
        "Authorize again if you still want to.",
        is_done=True,
    ),
    "authorization_denied": _at_callback(
        Layer.OAUTH,
        "The authorization was denied in GitLab.",
        "Authorize again, and press Authorize on GitLab's page as @{username}. Nothing was stored.",
        is_done=True,
    ),
    "exchange_lost": _at_callback(
        Layer.PORTAL,
        "{because} GitLab may have issued a token all the same, which Gatehouse does not know.",
        "In GitLab, signed in as whoever authorized, open Authorized applications and revoke this application. "
        "Then authorize again: revoking ends every token of it, the one in use as well.",
        Responsible.YOU,
        Way.AUTHORIZED_APPLICATIONS,
        is_done=True,
    ),
    "exchange_lost/interrupted": _at_callback(
        Layer.PORTAL,
        "Gatehouse was interrupted while it asked GitLab for the token. GitLab may have issued one all the same, "
        "which Gatehouse does not know.",
        "In GitLab, signed in as whoever authorized, open Authorized applications and revoke this application. "
        "Then authorize again: revoking ends every token of it, the one in use as well.",
        Responsible.YOU,
        Way.AUTHORIZED_APPLICATIONS,
        is_done=True,
    ),
    "authorization_interrupted": _at_callback(
        Layer.PORTAL,
        "Gatehouse was interrupted before it could store the token that GitLab issued. Nothing was stored.",
        "Authorize again.",
        is_done=True,
    ),
    "fresh_token_refused": _at_callback(
        Layer.HTTP,
        "GitLab issued a token and did not accept it a moment later, three times within a few seconds. A proxy in "
        "front of GitLab probably drops the Authorization header. Nothing was stored.",
        "Have GitLab's administrator, or whoever runs the proxy, pass the Authorization header on to GitLab.",
        Responsible.GITLAB_ADMIN,
    ),
    "no_bearer_token": _at_callback(
        Layer.OAUTH,
        "GitLab issued a kind of token that cannot be used: not a bearer token. Nothing was stored.",
        "Check what is between Gatehouse and GitLab: GitLab itself only issues bearer tokens.",
        Responsible.GITLAB_ADMIN,
    ),
    "no_access_token": _at_callback(
        Layer.OAUTH,
        "GitLab's answer held a refresh token but no usable access token. Nothing was stored.",
        "{again} If it persists, have whoever runs it check whether something between Gatehouse and GitLab changes "
        "answers.",
        Responsible.GITLAB_ADMIN,
    ),
    "secret_unreadable/exchange": _at_callback(
        Layer.PORTAL,
        "The application's Secret is not stored, or cannot be used for this address. GitLab was not asked for a token.",
        "Enter Application ID and Secret again.",
        Responsible.YOU,
        Way.SECRET,
    ),
    "right_lost": _at_callback(
        Layer.PORTAL,
        "The person who started this authorization has lost the right to manage connections since. Nothing was stored.",
        "Someone who may manage connections can authorize it.",
        Responsible.MANAGER,
        is_done=True,
    ),
    "issuer_missing": _at_callback(
        Layer.OAUTH,
        "The answer does not say which GitLab it comes from, although yours announces that its answers do."
        " Nothing was sent to GitLab and nothing was stored.",
        "{again} If it persists, something between the browser and GitLab changes addresses: ask GitLab's "
        "administrator.",
        Responsible.GITLAB_ADMIN,
    ),
    "issuer_wrong": _at_callback(
        Layer.OAUTH,
        "The answer came from a different GitLab than the one asked. Nothing was stored.",
        "{again} If it persists, in the step Instance, compare the domain with the address that GitLab uses for "
        "itself.",
        Responsible.YOU,
        Way.INSTANCE,
    ),
}


def _verdict(sentence: str, remedy: str, *ways: Way, layer: Layer = Layer.OAUTH) -> Failure:
    return Failure(layer, sentence, remedy, Responsible.YOU, _IN_USE, ways)


_CREDENTIAL: dict[str, Failure] = {
    "credential_revoked": _verdict(
        "GitLab has ended this authorization: someone revoked it, or the user or the application is gone.",
        _AGAIN_AS_SERVICE_USER,
        Way.AUTHORIZE,
    ),
    "application_gone": Failure(
        Layer.OAUTH,
        "GitLab accepts neither the application nor the token that it issued for it. The application was probably "
        "deleted there, so a new application is needed.",
        "Create a new application in GitLab, enter its Application ID and Secret, then authorize again; repositories "
        "and "
        "settings stay as they are. If the old one is still in GitLab, enter its current Secret first.",
        Responsible.YOU,
        _among(_IN_USE, Surface.START),
        (Way.APPLICATION,),
        is_done_there=True,
    ),
    "credential_lost": _verdict(
        "GitLab renewed the token, but its answer never arrived here, so the new one is not known.",
        f"{_AGAIN_AS_SERVICE_USER} GitLab's tokens are single use, so there is no other way.",
        Way.AUTHORIZE,
    ),
    "client_secret_changed": _verdict(
        "GitLab no longer accepts the application's Secret. The authorization itself is kept.",
        "Enter the current Secret under Replace ID and Secret; no one has to authorize again.",
        Way.SECRET,
    ),
    "secret_unreadable": _verdict(
        "The stored token cannot be read: it was issued for another address, or its encryption key is gone.",
        "Authorize the connection again, or have the operator put the key back.",
        Way.AUTHORIZE,
        layer=Layer.PORTAL,
    ),
    "secret_unreadable/both": _verdict(
        "The application's Secret and the token of this connection cannot be read: the key that sealed them is not in "
        "the key ring.",
        "Have the operator put the key back, or enter the Secret and then authorize again. GitLab shows a Secret only "
        "once: renew it there.",
        Way.SECRET,
        Way.AUTHORIZE,
        layer=Layer.PORTAL,
    ),
    "secret_unreadable/secret": _verdict(
        "The application's Secret of this connection cannot be read: the key that sealed it is not in the key ring.",
        "Have the operator put the key back, or enter the Secret. GitLab shows a Secret only once: renew it there.",
        Way.SECRET,
        layer=Layer.PORTAL,
    ),
    "secret_unreadable/token": _verdict(
        "The token of this connection cannot be read: the key that sealed it is not in the key ring.",
        "Have the operator put the key back, or authorize again.",
        Way.AUTHORIZE,
        layer=Layer.PORTAL,
    ),
    "not_authorized": _verdict("This connection is not authorized.", "Authorize it on its page.", Way.AUTHORIZE),
    "portal_restored": Failure(
        Layer.PORTAL,
        "This portal's database may be a copy: no token is renewed until an owner confirms that it is the only one.",
        "An owner confirms it on the page Restored portal, linked at the top of every page.",
        Responsible.YOU,
        _TOKEN,
        (Way.RESTORED,),
    ),
    "spool_unwritable": Failure(
        Layer.PORTAL,
        "The portal's data folder cannot be written, so the token was not renewed: the answer could have been lost.",
        "Free disk space or give the portal's user the right to write there.",
        Responsible.OPERATOR,
        _TOKEN,
    ),
    "application_changed": Failure(
        Layer.OAUTH,
        "Another Application ID was entered. GitLab only renews a token for the application it was issued to.",
        "Authorize the connection again with the new application, or enter the old one. Repositories and settings stay "
        "as they are.",
        Responsible.YOU,
        _IN_USE,
        (Way.AUTHORIZE,),
    ),
    "refresh_under_way": Failure(
        Layer.OAUTH,
        "The token is being renewed, and GitLab has not answered yet.",
        "{again}",
        None,
        _TOKEN,
    ),
    "refresh_refused": Failure(
        Layer.OAUTH,
        "GitLab refused to renew the token. That can pass, so Gatehouse tries several more times before it counts.",
        "{again} Within 15 minutes after the token expires, either it works again or the connection's page says what "
        "to do.",
        None,
        _TOKEN,
    ),
    "client_refused": Failure(
        Layer.OAUTH,
        "GitLab did not accept the Application ID and Secret. That can pass, so Gatehouse tries several more times.",
        "If the Secret was renewed in GitLab, enter the new one under Replace ID and Secret.",
        Responsible.YOU,
        _TOKEN,
        (Way.SECRET,),
    ),
    "token_not_accepted": Failure(
        Layer.OAUTH,
        "GitLab does not accept the token at the moment and gives no reason.",
        "{again} If this persists, have GitLab's administrator check whether a proxy in front of GitLab drops the "
        "Authorization header.",
        Responsible.GITLAB_ADMIN,
        _TOKEN,
    ),
    "portal_stopping": Failure(
        Layer.PORTAL,
        "This part of the portal is shutting down, so it does not start to renew a token.",
        "{again}",
        None,
        _among(_TOKEN, Surface.AUTHORIZE),
        at=_at(
            [Surface.AUTHORIZE],
            sentence="This part of Gatehouse is shutting down, so it did not ask GitLab for the token.",
        ),
    ),
    "credential_expires": Failure(
        Layer.OAUTH,
        "The credential expires on {at}, and GitLab gave nothing to renew it with.",
        "Authorize the connection again before then.",
        Responsible.YOU,
        frozenset({Surface.HEALTH, Surface.OVERVIEW}),
        (Way.AUTHORIZE,),
    ),
}

_REPLACE = "Make a token in GitLab and replace this one with it; repositories and settings stay as they are."
_BY_HAND_TOKEN = (
    "Revoke it in GitLab: sign in as its owner, then Access tokens, Revoke. A group or project token "
    "is revoked in its group or project."
)


def _of_token(sentence: str, remedy: str, layer: Layer = Layer.GITLAB) -> Failure:
    by_hand = _at([Surface.REVOCATION], _BY_HAND_TOKEN, Responsible.GITLAB_ADMIN)
    places = _among(_IN_USE, Surface.REVOCATION)
    return Failure(layer, sentence, remedy, Responsible.YOU, places, (Way.REPLACE_TOKEN,), at=by_hand)


# An entry `code@method` is the one for connections whose credential is of that method.
_ACCESS_TOKEN: dict[str, Failure] = {
    "access_token_revoked": _of_token(
        "GitLab no longer accepts the access token: someone revoked it, or its user is gone.", _REPLACE
    ),
    "access_token_expired": _of_token("The access token expired on {at}.", _REPLACE),
    "access_token_lost": _of_token(
        "GitLab rotated the access token, but its answer never arrived here, so the new one is not known.",
        f"{_REPLACE} In GitLab, also revoke the token of the same name that was never used.",
    ),
    "access_token_missing": _of_token("This connection has no access token.", "Enter one on the page Access token."),
    "access_token_expires": _of_token("The access token expires on {at}, in {days}.", f"Before then: {_REPLACE}"),
    "rotation_unknown": _of_token(
        "Gatehouse asked GitLab to rotate the access token and got no usable answer. The token still works.",
        f"Gatehouse doesn't ask again: a second rotation could end every token that came from this one. {_REPLACE}",
    ),
    "rotation_refused": _of_token(
        "GitLab did not rotate the access token. It still works.", f"Before it expires: {_REPLACE}"
    ),
    "secret_unreadable/access_token": _of_token(
        "The stored access token cannot be read: it was entered for another address, or its encryption key is gone.",
        "Enter the token again or a new one, or have the operator put the key back.",
        Layer.PORTAL,
    ),
    "secret_unreadable/token@access_token": _of_token(
        "The access token of this connection cannot be read: the key that sealed it is not in the key ring.",
        "Have the operator put the key back, or enter the token again. GitLab shows a token only once: make a new one.",
        Layer.PORTAL,
    ),
    "secret_unreadable/revocation@access_token": _of_token(
        "The token cannot be read here, so GitLab was not asked to revoke it.", _BY_HAND_TOKEN, Layer.PORTAL
    ),
    "unauthorized@access_token": _of_token(
        "GitLab does not accept the access token and gives no reason.",
        "If its user was deleted or GitLab's database was restored, replace the token. Otherwise a proxy in front of "
        "GitLab probably drops the header with the token: have whoever runs the proxy pass it on.",
    ),
    "unauthorized/expired@access_token": _of_token("GitLab says that the access token has expired.", _REPLACE),
    "unauthorized/revoked@access_token": _of_token("GitLab says that the access token was revoked.", _REPLACE),
    "unauthorized/impersonation_disabled@access_token": _of_token(
        "The token is an impersonation token, and impersonation is switched off in this GitLab.",
        "Sign in to GitLab as the service user, make a token there, and replace this one with it.",
    ),
    "token_not_accepted@access_token": _of_token(
        "GitLab does not accept the access token at the moment and gives no reason.",
        "{again} If this persists, replace the token, or have GitLab's administrator check whether a proxy in front of "
        "GitLab drops the header with it.",
    ),
    "insufficient_permission@access_token": _of_token(
        "The access token lacks a fine-grained permission that this needs.",
        "In GitLab, make a token that also has the permission that GitLab names, and replace this one with it.",
        Layer.SCOPE,
    ),
    "insufficient_scope@access_token": _of_token(
        "The access token lacks a scope for this; one of these would do: {scopes}.",
        "A token's scopes never change: make one in GitLab that has them, and replace this one with it.",
        Layer.SCOPE,
    ),
    "insufficient_scope/none_named@access_token": _of_token(
        "The access token lacks a scope for this; GitLab does not say which.",
        "Make a token with the scopes that the page Access token lists, and replace this one with it.",
        Layer.SCOPE,
    ),
    "gitlab_not_found@access_token": Failure(
        Layer.GITLAB,
        "GitLab says that an address every GitLab has does not exist.",
        f"{_PROXY_IN_FRONT} let all of /api/v4/ through: it seems to pass on only a part of it.",
        Responsible.NETWORK,
        _among(_IN_USE, Surface.REVOCATION),
        at=_at(
            [Surface.REVOCATION],
            _BY_HAND_TOKEN,
            Responsible.GITLAB_ADMIN,
            "This GitLab does not let a token revoke itself; that came with 15.0.",
        ),
    ),
    "revocation_ignored@access_token": _of_token(
        "GitLab answered that the token is revoked, but still accepts it.", _BY_HAND_TOKEN
    ),
    "revocation_unproved@access_token": _of_token(
        "GitLab answered that the token is revoked, but does not say so when asked.", _BY_HAND_TOKEN
    ),
    "address_unknown@access_token": _of_token(
        "The token belongs to a GitLab at {origin}, and its path there is no longer known, so GitLab was not asked.",
        _BY_HAND_TOKEN,
        Layer.PORTAL,
    ),
    "address_changed@access_token": Failure(
        Layer.GITLAB,
        "The address was changed. A token is only ever sent to the address that it was entered for.",
        "Check the new address, then enter the token again.",
        Responsible.YOU,
        frozenset({Surface.OVERVIEW}),
        (Way.SETUP,),
    ),
    "wrong_user@access_token": _of_token(
        "The token belongs to @{actual}, but this connection acts as @{expected}.",
        "Replace the token with one of @{expected}.",
        Layer.ROLE,
    ),
    "wrong_user/changed@access_token": _of_token(
        "The connection is now meant to act as @{expected}, but its token belongs to someone else.",
        "Replace the token with one of @{expected}. Until then it works as before.",
    ),
    "missing_scopes@access_token": _of_token(
        "The chosen services need scopes that the access token lacks: {scopes}.",
        "A token's scopes never change: make one in GitLab that also has {scopes}, and replace this one with it. "
        "Everything else keeps working.",
        Layer.SCOPE,
    ),
}

_INCOMPLETE = (
    "Anything that did not arrive stays in the list as it was. {read_again} If it happens again, something between "
    "Gatehouse "
    "and GitLab, such as a proxy, changes GitLab's lists; whoever runs it can fix that."
)
_GONE = (
    "They stay in the list, marked No longer seen. If they were not deleted, the service user has lost its membership: "
    "add it to their group in GitLab again. {read_again}"
)


def _read_ended(sentence: str, remedy: str) -> Failure:
    general, here, waiting = (
        remedy.replace("{read_again}", text) for text in (f"{_READ_AGAIN}.", "Press Read again.", "{again}")
    )
    at = {**_at([Surface.REPOSITORIES], here), **_at([Surface.JOB_WAITING], waiting)}
    return Failure(
        Layer.GITLAB,
        sentence,
        general,
        Responsible.GITLAB_ADMIN,
        _among(Surface.OVERVIEW, Surface.HEALTH, Surface.REPOSITORIES, Surface.JOB_WAITING),
        (Way.REPOSITORIES,),
        is_done_there=True,
        at=at,
    )


_CONNECTION: dict[str, Failure] = {
    "address_changed": Failure(
        Layer.OAUTH,
        "The address was changed. Secret and tokens are only ever sent to the address they are for.",
        "Check the new address, enter the Secret, then authorize again.",
        Responsible.YOU,
        frozenset({Surface.OVERVIEW}),
        (Way.SETUP,),
    ),
    "wrong_user": Failure(
        Layer.ROLE,
        "The token belongs to @{actual}, but this connection is meant to act as @{expected}.",
        "Authorize again as the service user, or enter the other user as the service user.",
        Responsible.YOU,
        frozenset({Surface.OVERVIEW, Surface.HEALTH}),
        (Way.AUTHORIZE,),
    ),
    "wrong_user/changed": Failure(
        Layer.OAUTH,
        "The connection is now meant to act as @{expected}, but was authorized before that.",
        "Authorize it again as the new service user. Until then it works as before.",
        Responsible.YOU,
        frozenset({Surface.OVERVIEW}),
        (Way.AUTHORIZE,),
    ),
    "missing_scopes": Failure(
        Layer.SCOPE,
        "The chosen services need scopes that were not granted: {scopes}.",
        "Tick {scopes} in the application in GitLab, save, and authorize again. Everything else keeps working.",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.OVERVIEW, Surface.HEALTH}),
        (Way.AUTHORIZE,),
    ),
    "version_too_old": Failure(
        Layer.GITLAB,
        "This GitLab is {version}; Gatehouse needs 9.0 or newer.",
        "Upgrade GitLab.",
        Responsible.GITLAB_ADMIN,
        _among(_IDENTIFIES, _READS, Surface.OVERVIEW),
    ),
    "catalogue_incomplete": _read_ended(
        "The last read was incomplete: some rows of GitLab's list of projects could not be read.", _INCOMPLETE
    ),
    "catalogue_incomplete/counted": _read_ended(
        "The last read was incomplete: GitLab counts {counted} repositories, and {seen} arrived.", _INCOMPLETE
    ),
    "catalogue_incomplete/empty": _read_ended(
        "The last read was incomplete: GitLab's list was empty, but GitLab did not say that there are none.",
        _INCOMPLETE,
    ),
    "repositories_gone": _read_ended("{lost} of {known} repositories are gone since the last read.", _GONE),
    "repositories_unseen": Failure(
        Layer.GITLAB,
        "The last read no longer saw {lost} of {known} repositories. They were kept as they are.",
        "Say whether they are gone: press Decide in the list of repositories. If they were not deleted, the service "
        "user has lost its membership: add it to their group in GitLab again, then have the list read again.",
        Responsible.YOU,
        _among(Surface.OVERVIEW, Surface.HEALTH, Surface.REPOSITORIES),
        (Way.UNSEEN, Way.REPOSITORIES),
        is_done_there=True,
    ),
    "rules_would_disable": Failure(
        Layer.PORTAL,
        "After the last read, the rules would disable {count} repositories at once. Nothing was disabled.",
        "Look at the rules of this connection, under Repositories. Saving them disables those repositories.",
        Responsible.YOU,
        _among(Surface.OVERVIEW, Surface.HEALTH),
        (Way.REPOSITORIES,),
    ),
    "certificate_expires": Failure(
        Layer.TLS,
        "GitLab's certificate expires on {at}, in {days} days.",
        "Renew it on the GitLab server before then; afterwards nothing can be read.",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HEALTH}),
    ),
    "authority_expires": Failure(
        Layer.TLS,
        "The certificate of the authority trusted for GitLab expires on {at}, in {days} days.",
        "Get the authority's next certificate from GitLab's administrator, and add it below the current one as CA "
        "certificate before then; afterwards nothing can be read.",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HEALTH}),
        (Way.INSTANCE,),
    ),
    "rate_limited": Failure(
        Layer.PORTAL,
        "{sentence}",
        "What you typed is still here. Press the button again in a minute.",
        Responsible.YOU,
        frozenset({Surface.CHECKS, Surface.APPLICATION, Surface.CREDENTIALS, Surface.TOKEN}),
        is_done_there=True,
    ),
}

_REVOCATION: dict[str, Failure] = {
    "revocation_unknown": Failure(
        Layer.OAUTH,
        "Gatehouse does not know whether the token is dead. Its access token had expired, Gatehouse tried the refresh "
        "token to find out, and GitLab's answer was lost: GitLab may hold a token that Gatehouse does not know.",
        _BY_HAND,
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.REVOCATION}),
        (Way.AUTHORIZED_APPLICATIONS,),
    ),
    "revocation_leaves": Failure(
        Layer.GITLAB,
        "Gatehouse is still removing the webhooks of this connection. Its token is revoked after that.",
        "{again}",
        None,
        frozenset({Surface.REVOCATION}),
    ),
    "revocation_ignored": Failure(
        Layer.OAUTH,
        "GitLab answered that the token is revoked, but still accepts it.",
        "{again} To end it at once, revoke it in GitLab by hand.",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.REVOCATION}),
        (Way.AUTHORIZED_APPLICATIONS,),
    ),
    "revocation_unproved": Failure(
        Layer.OAUTH,
        "GitLab answered that the token is revoked, but does not yet treat it as dead.",
        "{again} To be sure at once, revoke it in GitLab by hand.",
        None,
        frozenset({Surface.REVOCATION}),
        (Way.AUTHORIZED_APPLICATIONS,),
    ),
    "secret_unreadable/revocation": Failure(
        Layer.PORTAL,
        "The token or the Secret that revokes it cannot be read here, so GitLab was not asked.",
        _BY_HAND,
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.REVOCATION}),
        (Way.AUTHORIZED_APPLICATIONS,),
    ),
    "address_unknown": Failure(
        Layer.PORTAL,
        "The token was issued by a GitLab at {origin}, and its path there is no longer known, so GitLab was not asked.",
        _BY_HAND,
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.REVOCATION}),
    ),
    "revocation_pending": Failure(
        Layer.OAUTH,
        "The token is not revoked at GitLab yet, so nothing was erased. {because}",
        "{again} On the connection's page you can try it at once, or confirm that you revoked it by hand.",
        None,
        frozenset({Surface.JOB_ERASE, Surface.JOB_WAITING}),
    ),
}


def _one_time(
    layer: Layer, sentence: str, remedy: str, who: Responsible | None = Responsible.GITLAB_ADMIN, *ways: Way
) -> Failure:
    return Failure(layer, sentence, remedy, who, frozenset({Surface.PROVISIONING}), ways)


_ANOTHER_TOKEN = "Make another one in GitLab, and paste it."
_ANOTHER_USER = "Enter another service user."
_BY_HAND_INSTEAD = "Create the application by hand, or try again after an upgrade of GitLab."
_PROVISIONING: dict[str, Failure] = {
    "one_time_token": _one_time(
        Layer.GITLAB,
        "GitLab does not know this token.",
        "Copy the whole token once more, and make sure that it is from this GitLab.",
        Responsible.YOU,
    ),
    "one_time_token/expired": _one_time(Layer.GITLAB, "This token has expired.", _ANOTHER_TOKEN),
    "one_time_token/revoked": _one_time(Layer.GITLAB, "This token was revoked.", _ANOTHER_TOKEN),
    "one_time_token/impersonation_disabled": _one_time(
        Layer.GITLAB,
        "This is an impersonation token, and impersonation is switched off in this GitLab.",
        "Make a personal access token instead, and paste it.",
    ),
    "one_time_token/scope": _one_time(
        Layer.SCOPE,
        "This token lacks a scope; this one would do: {scopes}.",
        "Make one with the scope api, and paste it.",
    ),
    "one_time_token/fine_grained": _one_time(
        Layer.SCOPE,
        "This token has fine-grained permissions, but not the one that this needs.",
        "Make a legacy token with the scope api, and paste it.",
    ),
    "one_time_token/not_admin": _one_time(
        Layer.ROLE,
        "@{username} is not an administrator of this GitLab.",
        "Paste the token of an administrator. Without one, the service user can create its own application: "
        "the page says how.",
    ),
    "one_time_token/admin": _one_time(
        Layer.ROLE,
        "@{username} is an administrator of this GitLab, so it cannot be the service user.",
        "Paste the token of the service user.",
    ),
    "one_time_token/refused": _one_time(
        Layer.ROLE,
        "GitLab does not let this token do that.",
        "If Admin Mode is on, the token needs the scope admin_mode as well: make one with both, and paste it.",
    ),
    "provisioning_refused": _one_time(
        Layer.GITLAB,
        "GitLab did not accept what was sent.",
        "GitLab's words say what is wrong. {again}",
        Responsible.YOU,
    ),
    "provisioning_unknown": _one_time(
        Layer.GITLAB,
        "GitLab's answer was lost, and Gatehouse could not find out what GitLab did. {because}",
        "{again} Gatehouse first checks what exists, and continues from there.",
        None,
    ),
    "provisioning_stopped": _one_time(
        Layer.PORTAL,
        "The portal was stopped in the middle of this. The list shows how far it got.",
        "{again} Gatehouse first checks what exists, and continues from there.",
        Responsible.YOU,
    ),
    "provisioning_slow": _one_time(
        Layer.GITLAB,
        "GitLab took so long that Gatehouse stopped here.",
        "{again} Gatehouse continues from here.",
        Responsible.YOU,
    ),
    "provisioning_here": _one_time(Layer.PORTAL, "{sentence}", "{again}", Responsible.YOU),
    "no_applications_api": _one_time(
        Layer.GITLAB, "This GitLab cannot create applications through its API; that came with 10.5.", _BY_HAND_INSTEAD
    ),
    "no_applications_api/own": _one_time(
        Layer.GITLAB, "This GitLab cannot create a user's own applications through its API.", _BY_HAND_INSTEAD
    ),
    "secret_not_given_again": _one_time(
        Layer.GITLAB,
        "The application exists in GitLab, but its Secret is not known here, and GitLab's API cannot renew it.",
        "Enter Application ID and Secret by hand. Or delete the application in GitLab: nothing uses it yet.",
        Responsible.GITLAB_ADMIN,
        Way.APPLICATIONS,
    ),
    "application_not_listed": _one_time(
        Layer.GITLAB,
        "GitLab lists no application with this Application ID.",
        "It was deleted, or it belongs to a group or a user: GitLab's API shows an administrator only those of the "
        "instance.",
        Responsible.GITLAB_ADMIN,
        Way.APPLICATIONS,
    ),
    "service_user_unusable": _one_time(
        Layer.ROLE,
        "@{username} is {state} in GitLab.",
        "Activate it in GitLab's Admin area, or enter another service user.",
    ),
    "service_user_unusable/admin": _one_time(
        Layer.ROLE, "@{username} exists and is an administrator.", _ANOTHER_USER, Responsible.YOU
    ),
    "service_user_unusable/external": _one_time(
        Layer.ROLE, "@{username} exists and is external.", _ANOTHER_USER, Responsible.YOU
    ),
    "service_user_unusable/bot": _one_time(
        Layer.ROLE,
        "@{username} is a bot or a service account, which cannot sign in to a browser to authorize.",
        "Use an ordinary user.",
        Responsible.YOU,
    ),
    "service_user_email_taken": _one_time(
        Layer.GITLAB, "Another user of this GitLab has the e-mail address {email}.", _ANOTHER_USER, Responsible.YOU
    ),
    "group_not_there": _one_time(
        Layer.GITLAB, "GitLab has no group {path}.", "Correct the path, or leave it out.", Responsible.YOU
    ),
}

_NOTHING_STORED = _among(Surface.PAGE, _TOKEN, _JOBS)
_WORK: dict[str, Failure] = {
    "disk_full": Failure(
        Layer.PORTAL,
        "The disk with {where} is full, so nothing can be stored.",
        "Free some space on it. Nothing has to be restarted.",
        Responsible.OPERATOR,
        _NOTHING_STORED,
    ),
    "disk_read_only": Failure(
        Layer.PORTAL,
        "Nothing can be written to {where}: the disk is read-only, the portal may not write there, or the server is a "
        "standby.",
        "Make it writable. Nothing has to be restarted.",
        Responsible.OPERATOR,
        _NOTHING_STORED,
    ),
    "database_busy": Failure(Layer.PORTAL, "Another change keeps {where} busy.", "{again}", None, _NOTHING_STORED),
    "database_away": Failure(
        Layer.PORTAL,
        "There is no answer from {where}.",
        "Check that it runs and can be reached. {again}",
        Responsible.OPERATOR,
        _NOTHING_STORED,
    ),
    "job_refused": Failure(Layer.PORTAL, "{sentence}", "{again}", None, _JOBS),
    "job_error": Failure(
        Layer.PORTAL,
        "Gatehouse made a mistake while doing this. Nothing is half done.",
        "{again} The operator finds the cause in the log under {reference}.",
        Responsible.OPERATOR,
        _JOBS,
    ),
    "job_crashed": Failure(
        Layer.PORTAL,
        "The worker crashed in the middle of this, each time it was tried.",
        "The operator should check whether the machine ran out of memory. {again}",
        Responsible.OPERATOR,
        _JOBS - {Surface.JOB_WAITING},
    ),
    "job_unknown": Failure(
        Layer.PORTAL,
        "The worker does not know the job “{job}”.",
        "The workers have a different version than the web server: restart them with the same version. {again}",
        Responsible.OPERATOR,
        _JOBS,
    ),
    "mail_failed": Failure(
        Layer.PORTAL,
        "{reason}",
        "Check the SMTP settings of this portal and the mail server's log. {again}",
        Responsible.OPERATOR,
        frozenset({Surface.JOB_MAIL, Surface.JOB_WAITING}),
    ),
    "audit_head_unreadable": Failure(
        Layer.PORTAL,
        "The head file of the audit log cannot be read: missing events at the end would go unnoticed.",
        "Make the file of GATEHOUSE_AUDIT_HEAD_FILE readable for the portal. {again}",
        Responsible.OPERATOR,
        frozenset({Surface.JOB_PERIODIC}),
    ),
}

_SITES = _among(Surface.SITE, Surface.JOB_PREVIEW)


def _site(
    sentence: str, remedy: str, who: Responsible = Responsible.YOU, layer: Layer = Layer.PORTAL, *ways: Way
) -> Failure:
    return Failure(layer, sentence, remedy, who, frozenset({Surface.SITE}), ways)


_GIT: dict[str, Failure] = {
    "git_missing": Failure(
        Layer.PORTAL,
        "Git is not installed where this portal runs, or is older than {oldest}.",
        "Have the operator install git {oldest} or newer. {again}",
        Responsible.OPERATOR,
        _SITES,
    ),
    "git_slow": Failure(
        Layer.GITLAB,
        "Git did not finish in time.",
        "{again} If it persists, the repository is too large for the connection to GitLab, or GitLab is overloaded.",
        None,
        _SITES,
    ),
    "git_failed": Failure(
        Layer.GITLAB,
        "Git could not exchange data with GitLab.",
        "{again} If it persists, ask the operator of this portal for the reason in the log.",
        None,
        _SITES,
    ),
    "git_refused/credentials": Failure(
        Layer.GITLAB,
        "GitLab does not accept the connection's token for git.",
        "The connection needs the scope api or write_repository, and GitLab must allow git over HTTPS. {again}",
        Responsible.GITLAB_ADMIN,
        _SITES,
        (Way.AUTHORIZE,),
    ),
    "git_refused/role": Failure(
        Layer.ROLE,
        "The service user may not push to this repository.",
        "Give the service user the role Developer or higher in the project. {again}",
        Responsible.GITLAB_ADMIN,
        _SITES,
    ),
    "git_refused/hidden": Failure(
        Layer.ROLE,
        "GitLab does not show this repository to the service user: it is gone, or the role was taken away.",
        "If the repository is still there, give the service user the role Developer or higher in it. {again}",
        Responsible.GITLAB_ADMIN,
        _SITES,
    ),
    "git_sha256": Failure(
        Layer.GITLAB,
        "This repository uses SHA-256 ids, which a site cannot be synced with.",
        "Choose another repository: GitLab creates them with SHA-1 ids by default. {again}",
        Responsible.YOU,
        _SITES,
    ),
    "git_unsafe": Failure(
        Layer.GITLAB,
        "This repository contains what git considers broken or dangerous, so Gatehouse does not read it.",
        "Run git fsck in a clone to find it, and remove it from the history. {again}",
        Responsible.GITLAB_ADMIN,
        _SITES,
    ),
    "git_too_large": Failure(
        Layer.GITLAB,
        "This repository is larger than this portal accepts.",
        "Keep large files in Git LFS, or choose another repository. {again}",
        Responsible.YOU,
        _SITES,
    ),
    "site_disconnected": _site(
        "The connection to GitLab that this site uses is disconnected.",
        "Connect it again on the Connections page. {again}",
        Responsible.MANAGER,
    ),
    "site_repository_gone": _site(
        "The repository is gone, or the service user can no longer see it. The files here are complete.",
        "If it is still there, give the service user access again. Otherwise disconnect the site and connect it "
        "to another repository. {again}",
        Responsible.GITLAB_ADMIN,
        Layer.ROLE,
    ),
    "site_not_enabled": _site(
        "The repository is no longer enabled. The files here are complete.",
        "Enable it on the Repositories page. {again}",
        Responsible.YOU,
        Layer.PORTAL,
        Way.REPOSITORIES,
    ),
    "site_branch_gone": _site(
        "The branch {name} was deleted in GitLab. The files here are complete.",
        "Create the branch again in GitLab, or disconnect the site and connect it to another branch. {again}",
        Responsible.YOU,
        Layer.GITLAB,
    ),
    "site_branch_rewritten": _site(
        "The history of the branch {name} was rewritten in GitLab (force push). Nothing has changed here.",
        "Press Use GitLab's version; what is here is then kept on a branch. If the rewrite was a mistake, restore the "
        "branch in GitLab. {again}",
        Responsible.YOU,
        Layer.GITLAB,
    ),
    "site_branch_busy": _site(
        "Others push to the branch {name} faster than Gatehouse can merge.",
        "{again}",
        Responsible.NO_ONE,
        Layer.GITLAB,
    ),
    "site_push_refused": _site(
        "GitLab refuses changes of the branch {name}.",
        "GitLab's own words say which rule is in the way. The changes stay here. {again}",
        Responsible.GITLAB_ADMIN,
        Layer.GITLAB,
    ),
    "site_proposal_closed": _site(
        "The merge request {name} was closed without being merged. The changes stay here.",
        "Reopen it in GitLab, or change the files here again to open another one. {again}",
        Responsible.YOU,
        Layer.GITLAB,
    ),
    "site_proposal_moved": _site(
        "Someone else has pushed to the branch {name}, which belongs to this site.",
        "Merge or delete that branch in GitLab. {again}",
        Responsible.YOU,
        Layer.GITLAB,
    ),
}

_OUTBOUND_REQUESTS = "Admin area, Settings, Network, Outbound requests"
_HOOKS: dict[str, Failure] = {
    "hook_refused": Failure(
        Layer.GITLAB,
        "GitLab does not accept the webhook.",
        "GitLab's own words say what is wrong with it. {again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
    ),
    "hook_refused/limit": Failure(
        Layer.GITLAB,
        "There are already as many webhooks as GitLab allows for one project or group.",
        "Delete webhooks that no one needs in its settings in GitLab, or have a GitLab administrator raise the limit. "
        "{again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
    ),
    "hook_url_refused": Failure(
        Layer.GITLAB,
        "GitLab refuses this webhook (“Invalid url given”) and accepts others with the same address.",
        "Web servers make webhooks, and one of them cannot resolve the name: on each, run getent hosts {name}. If all "
        "of them can, add the line {host} to the list under " + _OUTBOUND_REQUESTS + ". {again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hooks_url_refused": Failure(
        Layer.GITLAB,
        "“Invalid url given” means: GitLab's web servers may not call {host}, or cannot resolve its name.",
        "In GitLab, under "
        + _OUTBOUND_REQUESTS
        + ", add the line {host} to the list of domains and addresses that hooks "
        "may access. If it is there already, a web server cannot resolve the name: on each, run getent hosts {name}. "
        "{again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hooks_url_refused/local": Failure(
        Layer.GITLAB,
        "“Invalid url given” means: webhooks of this GitLab may not call the local network, and {host} is in it.",
        "In GitLab, under "
        + _OUTBOUND_REQUESTS
        + ", add the line {host} to the list of domains and addresses that hooks "
        "may access, or tick Allow requests to the local network from webhooks and integrations. {again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hooks_url_refused/loopback": Failure(
        Layer.GITLAB,
        "“Invalid url given” means: this portal's address, {host}, would lead GitLab back to its own machine.",
        "Set GATEHOUSE_BASE_URL to an address at which GitLab reaches this portal. If both run on one machine, add the "
        "line {host} in GitLab under " + _OUTBOUND_REQUESTS + ". {again}",
        Responsible.OPERATOR,
        _HOOK_PAGES,
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hooks_url_expected/local": Failure(
        Layer.GITLAB,
        "{host} is in the local network, which webhooks of GitLab may not call unless an administrator allows it.",
        "In GitLab, under "
        + _OUTBOUND_REQUESTS
        + ", add the line {host} to the list of domains and addresses that hooks "
        "may access. {again}",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HOOKS}),
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hooks_url_expected/loopback": Failure(
        Layer.GITLAB,
        "{host} leads every machine back to itself: only a GitLab on this portal's own machine could deliver there.",
        "Set GATEHOUSE_BASE_URL to an address at which GitLab reaches this portal. If both run on one machine, add the "
        "line {host} in GitLab under " + _OUTBOUND_REQUESTS + ". {again}",
        Responsible.OPERATOR,
        frozenset({Surface.HOOKS}),
        (Way.OUTBOUND_REQUESTS,),
    ),
    "hook_role_too_low": Failure(
        Layer.ROLE,
        "The service user may not make webhooks here: that needs the role Maintainer, for a group the role Owner, and "
        "for the whole instance an administrator.",
        "Give the service user that role in GitLab, or set the webhook up by hand. {again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
    ),
    "hook_groups_missing": Failure(
        Layer.GITLAB,
        "This GitLab has no group webhooks, or the service user is not an Owner of the group.",
        "Group webhooks need GitLab Premium and the role Owner. Until then each repository has its own. {again}",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HOOKS}),
    ),
    "hook_project_hidden": Failure(
        Layer.ROLE,
        "GitLab does not show this project to the service user.",
        "Check the service user's role in the project. {again}",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HOOKS}),
    ),
    "hook_list_short": Failure(
        Layer.GITLAB,
        "GitLab's list of webhooks arrived incomplete, so nothing was made: there might be one already.",
        "{again}",
        None,
        frozenset({Surface.HOOKS}),
    ),
    "hook_left_over": Failure(
        Layer.ROLE,
        "It is no longer wanted, and the service user may not remove it. What it delivers is ignored.",
        "Delete it in the project's settings in GitLab, under Webhooks. {again}",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HOOKS}),
    ),
    "hook_left_hidden": Failure(
        Layer.ROLE,
        "GitLab does not show its project or group to the service user: either that is gone, or the user's role in it "
        "has ended. What it delivers is ignored.",
        "If it still exists, delete the webhook in its settings in GitLab, under Webhooks.",
        Responsible.GITLAB_ADMIN,
        frozenset({Surface.HOOKS}),
    ),
    "hook_disabled": Failure(
        Layer.GITLAB,
        "GitLab has stopped sending to this webhook after failures, and a test failed again.",
        "GitLab's own words say what its request met. Make sure that GitLab reaches this portal. {again}",
        Responsible.NETWORK,
        _HOOK_PAGES,
    ),
    "hook_waits_for_first": Failure(
        Layer.GITLAB,
        "This GitLab cannot send a test, so the first webhooks wait for a real event before the others are made.",
        "Push to one of those repositories. Without any event the others are made after a day. {again}",
        None,
        _HOOK_PAGES,
    ),
    "hook_test_lost": Failure(
        Layer.HTTP,
        "GitLab says that it delivered a test, but it did not arrive here within {seconds} seconds.",
        "Something else answers at {url}. Check that this portal's address leads to this portal from GitLab's network. "
        "{again}",
        Responsible.NETWORK,
        _HOOK_PAGES,
    ),
    "hooks_silent": Failure(
        Layer.GITLAB,
        "GitLab accepted the webhooks, but delivers nothing: repositories had activity that none of them reported.",
        "Web servers make webhooks, and background workers deliver them: make sure that the workers reach this portal, "
        "and that GitLab is not in Silent Mode. {again}",
        Responsible.NETWORK,
        _HOOK_PAGES,
    ),
    "hook_test_failed": Failure(
        Layer.GITLAB,
        "GitLab could not deliver a test to this portal.",
        "GitLab's own words say what its request met on the way. Make sure that GitLab's web servers and background "
        "workers reach this portal. {again}",
        Responsible.NETWORK,
        _HOOK_PAGES,
    ),
    "hook_test_failed/silent_mode": Failure(
        Layer.GITLAB,
        "GitLab is in Silent Mode, so it sends no webhooks at all.",
        "A GitLab administrator ends it in the Admin area, Settings, General, Silent Mode. {again}",
        Responsible.GITLAB_ADMIN,
        _HOOK_PAGES,
    ),
    "hook_test_failed/no_data": Failure(
        Layer.GITLAB,
        "GitLab cannot test the webhook: the repository has nothing that a test could report.",
        "The first commit proves it. {again}",
        None,
        _HOOK_PAGES,
    ),
    "hook_test_failed/too_many": Failure(
        Layer.GITLAB,
        "GitLab allows five tests a minute, and there were more.",
        "{again}",
        None,
        _HOOK_PAGES,
    ),
}

# An entry `code/case` is the one for cards whose parameter `case` has that value.
FAILURES: dict[str, Failure] = {
    **_WAY,
    **_GITLAB,
    **_AUTHORIZATION,
    **_CREDENTIAL,
    **_ACCESS_TOKEN,
    **_CONNECTION,
    **_REVOCATION,
    **_PROVISIONING,
    **_HOOKS,
    **_GIT,
    **_WORK,
}
# For what an older version stored and this one no longer knows.
UNKNOWN = Failure(Layer.PORTAL, "{sentence}", "{again}", None, frozenset(Surface))


def failure_of(code: str, case: str = "", method: str = "") -> Failure:
    """Return the entry of a code, the most special one that there is."""
    for key in (f"{code}/{case}@{method}", f"{code}/{case}", f"{code}@{method}", code):
        if found := FAILURES.get(key):
            return found
    return UNKNOWN
