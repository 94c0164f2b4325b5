"""Pages that show every component, served with the portal's security headers: for tests, and for designing.

Run `python -m tests.ui.gallery` and open the printed address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from flask import Flask, Response, make_response, redirect, render_template, request, session
from jinja2 import FileSystemLoader, StrictUndefined

from portal import CAPABILITIES, errors
from portal.accounts.views import initials
from portal.web import assets
from portal.web.charts import Column, draw_bars

HERE = Path(__file__).parent
PAGES = ("walkthrough", "form", "selection", "details", "sign_in", "empty", "popup", "behaviours")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
ENDPOINTS = (
    "connections.index",
    "repositories.index",
    "sites.index",
    "reports.index",
    "jobs.index",
    "accounts.members",
    "accounts.profile",
    "audit.index",
    "accounts.sign_out",
    "theme.choose",
)
STEPS = ("Purpose", "Instance", "Application", "Service user", "Authorize", "Repositories")
THEIRS = {"Application", "Service user"}


@dataclass
class Node:
    """One group of the tree."""

    path: str
    total: int
    enabled: int
    below: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def has_children(self) -> bool:
        return bool(self.below)

    @property
    def children(self) -> Level | None:
        return Level(self.below) if self.below else None


@dataclass
class Level:
    """Groups directly below another one."""

    nodes: list[Node]
    after: str = ""


TREE = [
    Node(
        "payments",
        214,
        61,
        [
            Node(
                "payments/core",
                88,
                40,
                [Node("payments/core/ledger", 12, 12), Node("payments/core/settlement-and-reconciliation", 31, 20)],
            ),
            Node("payments/gateways", 76, 21),
        ],
    ),
    Node("platform", 340, 112, [Node("platform/infrastructure", 140, 80)]),
    Node("research", 58, 0),
    Node("web", 120, 4),
]
ROWS = [
    SimpleNamespace(
        name=name, path=f"payments/core/{name}", state=state, visibility=seen, role=role, activity=when, reason=why
    )
    for name, state, seen, role, when, why in (
        ("ledger", "Enabled", "Private", "Maintainer", "2 hours ago", ""),
        ("settlement-engine", "Enabling", "Private", "Maintainer", "5 hours ago", ""),
        ("reconciliation-reports", "Available", "Internal", "Developer", "yesterday", ""),
        (
            "card-scheme-adapters-for-regional-acquirers",
            "Needs attention",
            "Private",
            "Maintainer",
            "today",
            "Hook missing",
        ),
        ("legacy-batch", "Unavailable", "Private", "Reporter", "2 years ago", "Archived"),
        ("fx-rates", "Available", "Public", "Reporter", "last week", ""),
        ("fraud-rules", "Enabled", "Private", "Maintainer", "20 minutes ago", ""),
        ("statement-pdf", "Enabled", "Private", "Maintainer", "4 days ago", ""),
        ("new-experiment", "Unavailable", "Private", "Maintainer", "today", "Empty"),
        ("dunning", "Available", "Private", "Maintainer", "today", ""),
    )
]
CARD = errors.Card(
    "tls_unknown_ca", words="unable to get local issuer certificate", request_id="01JD3V5Q7X9K2M4N6P8R0T2W4Y"
)
WAYS = [
    errors.CardAction("Enter the CA certificate", "/form"),
    errors.CardAction("How to find it", "https://docs.example.com", external=True),
]


def rail(current: int) -> list[SimpleNamespace]:
    """Return the six steps with the given one as current."""
    return [
        SimpleNamespace(
            number=number,
            label=label,
            is_in_gitlab=label in THEIRS,
            is_for_administrator=label in THEIRS,
            url="/form" if number < current else None,
            state="done" if number < current else "current" if number == current else "todo",
        )
        for number, label in enumerate(STEPS, start=1)
    ]


def common_context() -> dict[str, object]:
    """Return what the portal's context processors provide to every template."""
    return {
        "principal": SimpleNamespace(
            user_id=1,
            name="Ada Lovelace",
            email="ada.lovelace@example-engineering.com",
            organization_name="Example Engineering GmbH",
            role="administrator",
            may=lambda right: True,
        ),
        "settings": SimpleNamespace(
            support_contact="platform-team@example.com", documentation_url="https://docs.example.com/"
        ),
        "theme": request.cookies.get("theme", "auto"),
        "request_id": "01JD3V5Q7X9K2M4N6P8R0T2W4Y",
        "navigation": CAPABILITIES.navigation,
        "stylesheets": CAPABILITIES.stylesheets,
        "is_opened_over_http": lambda: False,
        "proxy_problem": lambda: "",
    }


def page_context() -> dict[str, object]:
    """Return what the views of the gallery's pages would provide."""
    return {
        "rail": rail(3),
        "connection": SimpleNamespace(
            display_name="Example GitLab", slug="example", external_url="https://gitlab.example.com"
        ),
        "cancel_url": "/x",
        "card": CARD,
        "tree": Level(TREE),
        "rows": ROWS,
        "chart": draw_bars(
            [Column("00:00", (1, 4), has_tick=True), Column("01:00", (2, 1), is_gap=True)], width=390, limit=5
        ),
        "url": lambda group: f"/selection?group={group}",
        "errors": {},
        "v": "",
    }


def create_gallery() -> Flask:
    """Build the application: one address per page, a few that return fragments, and a stand-in for each endpoint."""
    app = Flask("gallery", static_folder=None, template_folder=str(HERE / "gallery"))
    app.config["SECRET_KEY"] = "only the gallery's"
    app.jinja_options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    app.jinja_loader = FileSystemLoader([HERE / "gallery", assets.TEMPLATES])
    app.context_processor(common_context)
    assets.register(app)
    app.add_template_filter(initials)
    app.add_template_global(lambda: "token", "csrf_token")
    app.add_template_global(lambda card, connection=None: WAYS, "ways_of")
    app.add_template_global(lambda card: card.responsible, "who_can")
    app.add_template_global(lambda name: name in app.view_functions, "has_endpoint")
    for endpoint in ENDPOINTS:
        app.add_url_rule(f"/x/{endpoint}", endpoint, _stand_in, methods=["GET", "POST"])
    app.add_url_rule("/x", "x", _stand_in, methods=["GET", "POST"])
    app.add_url_rule("/<name>", "page", _page)
    app.add_url_rule("/error/<int:status>", "error", _error)
    _add_fragments(app)
    app.after_request(_with_policy)
    return app


def _add_fragments(app: Flask) -> None:
    app.add_url_rule("/form", "refuse", _refuse_form, methods=["POST"])
    app.add_url_rule("/refused", "refused", _refuse_action, methods=["POST"])
    app.add_url_rule("/undo", "undo", lambda: render_template("_undo.html"), methods=["POST"])
    app.add_url_rule("/popup", "start_popup", _start_popup, methods=["POST"])
    app.add_url_rule("/pressed", "pressed", lambda: '<p id="started">waiting</p>')
    app.add_url_rule("/said/<word>", "said", lambda word: f"{word} {session.get('in_popup', '')}")


def _stand_in() -> str:
    return "<!doctype html><title>stand-in</title>"


def _page(name: str) -> str | tuple[str, int]:
    if name not in (*PAGES, "chosen"):
        return "none", 404
    return render_template(f"{name}.html", **page_context())


def _error(status: int) -> Response:
    kinds = {
        404: errors.NotFound,
        403: errors.Forbidden,
        429: errors.RateLimited,
        500: errors.PortalError,
        503: errors.Unavailable,
    }
    error = errors.UpstreamFailed(CARD) if status == 502 else kinds[status]()
    return make_response(render_template("errors/page.html", error=error, card=getattr(error, "card", None)), status)


def _refuse_form() -> Response:
    found = {"client_id": "GitLab does not know this Application ID.", "client_secret": "Enter the secret."}
    return make_response(render_template("_form.html", errors=found, v=request.form["client_id"]), 422)


def _refuse_action() -> Response:
    response = make_response(render_template("errors/_alert.html", error=errors.Conflict(), card=None), 409)
    response.headers["HX-Retarget"] = "#alerts"
    response.headers["HX-Reswap"] = "innerHTML"
    return response


def _start_popup() -> Response:
    session["in_popup"] = request.form.get("in_popup", "no")
    return make_response(redirect("/popup", 303))


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    return response


if __name__ == "__main__":
    print("Pages: " + ", ".join(f"http://127.0.0.1:8100/{name}" for name in PAGES))
    create_gallery().run(port=8100)
