"""GitLab repeats every secret it ever saw, in names, versions, headers, errors and redirects, and no one gets to read
one.

A connection goes through its whole life with such a GitLab; then every page as every role, every column, the logs, the
support bundle, the audit export, a backup and the mails are searched for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import inspect, text
from sqlmodel import col, select

from portal import redaction
from portal.audit.models import AuditEvent
from portal.authorization.attempts import AuthorizationAttempt
from portal.connections import applications, checklist, instance, store, walkthrough
from portal.connections.models import Connection, Method
from portal.credentials import AccessUnavailable
from portal.db import utc_now
from portal.health.alarms import enqueue_due_mails
from portal.health.checks import check_connection
from portal.jobs.models import Job
from portal.jobs.testing import run_pending
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.operation.backup.make import make_backup
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.mailbox import Mailbox, running_mailbox
from tests.security.logged import catching_lines
from tests.security.rights_matrix import ROWS
from tests.support.gossip import Gossip, forms_of, gossiping
from tests.support.paired import Paired
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import come_back, pass_gitlab, principal_of, start

pytestmark = pytest.mark.usefixtures("no_known_secrets")
SLUG = "gitlab"
RENEWALS = 5
# Responses to the person's own browser that lead to GitLab: they contain the state, as they must.
TO_GITLAB = {"authorization.go", "authorization.callback"}
READERS = ("owner", "administrator", "lead", "auditor")


@pytest.fixture
def gossip(runtime: Runtime, sandbox: RunningSandbox, mailbox: Mailbox) -> Iterator[Gossip]:
    """It sits between the portal and the sandbox; the portal sends its alarms to the mailbox."""
    with gossiping(sandbox.url) as gossip:
        changed = {"smtp_host": "127.0.0.1", "smtp_port": mailbox.port, "smtp_security": "none"}
        object.__setattr__(runtime, "settings", runtime.settings.model_copy(update=changed))
        policy = NetworkPolicy(exempt=parse_address(gossip.url, allow_http=True), own_origin=runtime.settings.base_url)
        object.__setattr__(runtime, "outbound", OutboundClient(policy))
        yield gossip


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as box:
        yield box


class Life:
    """What happens to one connection, with such a GitLab."""

    def __init__(self, runtime: Runtime, sandbox: RunningSandbox, gossip: Gossip, cast: Cast, owner: Visitor) -> None:
        self.runtime, self.sandbox, self.gossip, self.owner = runtime, sandbox, gossip, owner
        self.principal = principal_of(runtime, cast.owner)
        self.now = utc_now()
        self.application_id = 0

    def prepare(self) -> None:
        """Go through the steps before the popup."""
        runtime, principal = self.runtime, self.principal
        assert store.create_draft(runtime, principal, SLUG, Method.OAUTH).slug == SLUG
        connection = instance.save_instance(runtime, principal, SLUG, instance.Entered(self.gossip.url))
        assert checklist.run_checklist(runtime, principal, SLUG).is_passed
        uri = store.redirect_uri_of(runtime, connection)
        scopes = tuple(checklist.wanted_scopes(connection))
        application, secret = self.sandbox.world.oauth.create_application("Gatehouse", uri, scopes, trusted=True)
        self.application_id = application.id
        _, card = applications.save_credentials(runtime, principal, SLUG, application.uid, str(secret))
        assert card is None
        walkthrough.save_service_user(runtime, principal, SLUG, "gatehouse")

    def authorize(self, username: str = "gatehouse") -> None:
        address = start(self.owner, SLUG).replace(self.gossip.url, self.sandbox.url)
        location = pass_gitlab(self.sandbox, address, username)
        self.gossip.learn(*(parse_qs(urlsplit(location).query)[name][0] for name in ("state", "code")))
        assert come_back(self.owner, location).status_code == 303

    def come_back_refused(self, error: str) -> None:
        (state,) = parse_qs(urlsplit(start(self.owner, SLUG)).query)["state"]
        self.gossip.learn(state)
        query = {"state": state, "error": error, "error_description": self.gossip.talk()[:1900]}
        assert self.owner.get(f"/oauth/callback/{SLUG}", query_string=query).status_code == 303

    def look(self, times: int = 3) -> None:
        with self.runtime.database.reading() as session:
            connection_id = session.exec(select(Connection.id)).one()
        for _ in range(times):
            self.now += timedelta(minutes=1)
            check_connection(self.runtime, connection_id, now=self.now)
        enqueue_due_mails(self.runtime, self.now)

    def read(self) -> None:
        self.owner.post(f"/connections/{SLUG}/catalogue")
        run_pending(self.runtime)

    def renew(self) -> None:
        with self.runtime.database.reading() as session:
            connection_id = session.exec(select(Connection.id)).one()
        paired = Paired(self.runtime, self.sandbox, connection_id, self.application_id)
        for _ in range(RENEWALS):
            paired.make_due()
            paired.demand()

    def renew_refused(self) -> None:
        with self.runtime.database.reading() as session:
            connection_id = session.exec(select(Connection.id)).one()
        paired = Paired(self.runtime, self.sandbox, connection_id, self.application_id)
        paired.make_due()
        with suppress(AccessUnavailable):
            paired.demand()

    def go_on_in_another_process(self) -> None:
        """Be a process that never held the connection's other secrets: GitLab repeats the live ones to it."""
        with self.runtime.database.reading() as session:
            connection = session.exec(select(Connection)).one()
            secret = store.open_client_credentials(self.runtime, connection).client_secret.reveal()
        paired = Paired(self.runtime, self.sandbox, connection.id, self.application_id)
        self.gossip.tells = [*paired.stored_pair(), secret]
        for known in (redaction._values, redaction._pieces, redaction._blank_pieces):
            known.clear()
        self.look()
        self.read()


def lived(life: Life) -> None:
    gossip = life.gossip
    life.prepare()
    life.authorize()
    gossip.talks = True
    life.read()
    life.look()
    life.renew()
    for start_of_path, status in (
        ("/api/v4/user", 403),
        ("/api/v4/projects", 403),
        ("/api/v4/", 302),
        ("/api/v4/", 418),
        ("/.well-known", 404),
    ):
        gossip.failures = {start_of_path: status}
        life.look()
        life.read()
    gossip.failures = {"/oauth/revoke": 503}
    life.authorize()
    run_pending(life.runtime)
    gossip.failures = {}
    gossip.renames = True
    life.authorize("root")
    life.look(4)
    gossip.renames = False
    life.come_back_refused("access_denied")
    life.come_back_refused("server_error")
    gossip.failures = {"/oauth/token": 401}
    planted = "gloas-" + "4c1d" * 16
    gossip.learn(planted)
    form = {"application_id": "a" * 64, "secret": planted}
    life.owner.post(f"/connections/{SLUG}/setup/credentials", form)
    gossip.failures = {"/oauth/token": 400}
    life.renew_refused()
    gossip.failures = {}
    life.authorize()
    life.look()
    run_pending(life.runtime)
    life.go_on_in_another_process()


def test_thirty_secrets_that_gitlab_repeats_everywhere_are_read_by_nobody(
    app: Flask,
    runtime: Runtime,
    sandbox: RunningSandbox,
    gossip: Gossip,
    mailbox: Mailbox,
    cast: Cast,
    owner: Visitor,
    tmp_path: Path,
) -> None:
    with catching_lines() as lines:
        lived(Life(runtime, sandbox, gossip, cast, owner))
        pages = dict(pages_of(app, runtime, cast))
        make_backup(runtime, tmp_path / "backup")

    places = {
        **pages,
        "log": lines.text,
        **{f"mail {number}": content.decode("latin-1") for number, content in enumerate(mailbox.raw)},
        **{f"mail text {number}": mail.get_content() for number, mail in enumerate(mailbox.messages)},
        **{path.name: path.read_bytes().decode("latin-1") for path in (tmp_path / "backup").iterdir()},
        **dict(cells_of(runtime)),
    }
    assert len(gossip.secrets) >= 30
    assert mailbox.raw
    assert len([place for place, content in places.items() if "***" in content]) > 30
    assert found_in(places, gossip) == []


def found_in(places: dict[str, str], gossip: Gossip) -> list[str]:
    forms = {form.removesuffix("...").rstrip("=")[-60:] for secret in gossip.secrets for form in forms_of(secret)}
    forms |= {secret[:20] for secret in gossip.secrets}
    return [f"{place}: {form}" for place, content in places.items() for form in forms if form in content]


def pages_of(app: Flask, runtime: Runtime, cast: Cast) -> Iterator[tuple[str, str]]:
    """Open every page that reads, for the objects that GitLab named, as every role, and what only a form returns."""
    foreign = select(AuditEvent.number).where(col(AuditEvent.foreign_fields).is_not(None))
    with runtime.database.reading() as session:
        objects = {
            "public_id": list(session.exec(select(AuthorizationAttempt.public_id)))[-5:],
            "job": list(session.exec(select(Job.public_id).where(col(Job.failure).is_not(None))))[-4:],
            "audit_number": [str(number) for number in session.exec(foreign)][-6:],
            "membership_id": [str(cast.lead.membership_id)],
            "slug": [SLUG],
        }
    for role in READERS:
        visitor = Visitor(app).sign_in(getattr(cast, role))
        for row in ROWS:
            if row.method != "GET" or row.endpoint in TO_GITLAB:
                continue
            names = re.findall(r"{(\w+)}", row.path)
            for value in objects.get(names[-1], [""]) if names else [""]:
                path = row.path.format(**{**dict.fromkeys(names, value), "slug": SLUG})
                yield f"{role} {path}", visitor.get(path).text
        for path, form in (
            (f"/connections/{SLUG}/health/support-bundle", {}),
            ("/audit/export", {"format": "csv"}),
            ("/audit/export", {"format": "json"}),
        ):
            yield f"{role} {path} {form}", visitor.post(path, form).text


def cells_of(runtime: Runtime) -> Iterator[tuple[str, str]]:
    """Read every cell of every table, the engine's included."""
    engine = runtime.database.engine
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            for number, row in enumerate(connection.execute(text(f'SELECT * FROM "{table}"')).mappings()):
                for column, value in row.items():
                    told = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    yield f"{table}.{column} {number}", told
