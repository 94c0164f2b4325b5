"""Write what is stored as a file that `plan` reads: no secret, not even a sealed one, is in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import null, select
from sqlmodel import Session, col

from portal.accounts.models import GroupGrant, Membership, User
from portal.actor import Principal, Role
from portal.configuration.document import ADDRESS, VERSION
from portal.connections.instance import entered_of
from portal.connections.models import Connection, GitLabServer, Method
from portal.connections.store import application_of, list_connections
from portal.repositories.models import Enablement, GitLabGroup, HeldBack, Repository
from portal.repositories.rules import list_rules
from portal.runtime import Runtime

Entry = str | int | list[str]

HEAD = f"""\
# The configuration of Gatehouse. `gatehouse plan FILE` says what a change to this file would do, and
# `gatehouse apply FILE` does it.
# What is left out stays as it is. Ids are GitLab's: they follow a rename, and the path beside one is for people.
# No secret is in this file.
version = {VERSION}
"""


def export(runtime: Runtime, principal: Principal) -> str:
    """Return the configuration of the principal's organization, always in the same order."""
    found = sorted(list_connections(runtime, principal), key=lambda connection: connection.slug)
    return "\n".join([HEAD, *(_connection(runtime, connection) for connection in found)])


def _connection(runtime: Runtime, connection: Connection) -> str:
    entered = entered_of(runtime, connection)
    lines = [
        "[[connection]]",
        f"slug = {_text(connection.slug)}",
        f"name = {_text(connection.display_name)}",
        f"method = {_text(connection.method)}",
        f"services = [{', '.join(_text(service) for service in connection.services)}]",
        f"webhooks = {str(connection.hooks_wanted).lower()}",
    ]
    if connection.service_username:
        lines.append(f"service_user = {_text(connection.service_username)}")
    values = (entered.domain, entered.api_url, entered.ca_certificate, entered.proxy, entered.proxy_exceptions)
    lines += [f"{key} = {_text(value)}" for key, value in zip(ADDRESS, values, strict=True) if value]
    with runtime.database.reading() as session:
        lines += _hints(session, connection)
        rules = [
            ["action", rule.action, "path", rule.pattern]
            + [
                part
                for name in ("visibility", "archived")
                if getattr(rule, name)
                for part in (name, getattr(rule, name))
            ]
            + (["active_months", rule.active_months] if rule.active_months else [])
            for rule in list_rules(session, connection.id or 0)
        ]
        lines += _list("rules", "The first rule that matches a repository decides. This is the whole list.", rules)
        grants = session.execute(
            select(col(User.email), col(GroupGrant.gitlab_group_id), col(GitLabGroup.full_path))
            .join(Membership, col(Membership.id) == col(GroupGrant.membership_id))
            .join(User, col(User.id) == col(Membership.user_id))
            .outerjoin(
                GitLabGroup,
                (col(GitLabGroup.connection_id) == col(GroupGrant.connection_id))
                & (col(GitLabGroup.gitlab_group_id) == col(GroupGrant.gitlab_group_id)),
            )
            .where(col(GroupGrant.connection_id) == connection.id, col(Membership.role) == Role.TEAM_LEAD)
            .order_by(col(User.email), col(GroupGrant.gitlab_group_id))
        )
        groups = [["lead", email, "id", number, *(("path", path) if path else ())] for email, number, path in grants]
        lines += _list("grants", "Groups that team leads work in.", groups)
        by_people = (Enablement, col(Enablement.rule_id).is_(None))
        for key, (table, *which), comment in (
            ("enabled", by_people, "Enabled by people. What rules enable is not here."),
            ("disabled", (HeldBack,), "Disabled by people: no rule enables these."),
        ):
            named = session.execute(
                select(
                    col(Repository.gitlab_project_id),
                    col(Repository.path_with_namespace),
                    col(Enablement.services) if table is Enablement else null(),
                )
                .join(table, col(table.repository_id) == col(Repository.id))
                .where(col(Repository.connection_id) == connection.id, *which)
                .order_by(col(Repository.gitlab_project_id))
            )
            entries: list[list[Entry]] = [
                ["id", number, "path", path, *(("services", chosen) if chosen is not None else ())]
                for number, path, chosen in named
            ]
            lines += _list(key, comment, entries)
    return "\n".join(lines) + "\n"


def _hints(session: Session, connection: Connection) -> Iterable[str]:
    application = application_of(session, connection.id)
    server = session.get(GitLabServer, connection.server_id) if connection.server_id else None
    if connection.method == Method.OAUTH and application:
        yield f"# Application ID {application.client_id}, secret: kept in Gatehouse"
    elif connection.method == Method.ACCESS_TOKEN:
        yield "# access token: kept in Gatehouse"
    if server and server.has_gateway:
        yield "# client certificate or header for a gateway, secret: kept in Gatehouse"


def _list(name: str, comment: str, entries: Sequence[Sequence[Entry]]) -> list[str]:
    if not entries:
        return []
    lines = []
    for entry in entries:
        pairs = zip(entry[::2], entry[1::2], strict=True)
        words = (f"{key} = {_value(value)}" for key, value in pairs)
        lines.append(f"  {{ {', '.join(words)} }},")
    return [f"# {comment}", f"{name} = [", *lines, "]"]


def _value(value: Entry) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(part) for part in value)}]"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    """Return a TOML string: JSON's escapes are also TOML's, which wants one more character escaped."""
    if "\n" in value and not {'"', "\\", "\r"} & set(value):
        return f'"""\n{value}"""'
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
