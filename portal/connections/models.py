"""Tables of a GitLab server, of a connection to it and of its OAuth application; why a connection needs a person."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint, event
from sqlmodel import Field, Session, SQLModel

from portal.audit import Target
from portal.db import BigId, UTCDateTime, utc_now
from portal.errors import Card
from portal.vault import sealed_field

MAX_NAME_KEY = 400


class ConnectionState(StrEnum):
    """The state of a connection as people read it; the value is the word."""

    DRAFT = "Draft"
    AWAITING_AUTHORIZATION = "Awaiting authorization"
    CONNECTED = "Connected"
    NEEDS_ATTENTION = "Needs attention"
    DISCONNECTED = "Disconnected"


class Method(StrEnum):
    """How the portal gets access to GitLab."""

    OAUTH = "oauth"
    ACCESS_TOKEN = "access_token"


class GitLabServer(SQLModel, table=True):
    """How one GitLab is reached: set up once, shared by any number of the organization's connections.

    Each connection has a copy of the first four fields: they decide which server its credentials belong to, so a change
    is applied to every connection in one transaction (`instance.save_instance`).
    """

    __tablename__ = "gitlab_server"
    # Audit rows outlive it: its id is never reused.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", index=True, sa_type=BigId)
    external_url: str = Field(max_length=500)
    api_url: str = Field(max_length=500)
    ca_certificate: str = Field(default="")
    proxy: str = Field(default="", max_length=500)
    # Hosts and networks that are reached without the proxy.
    proxy_exceptions: str = Field(default="", max_length=2000)
    # For a gateway in front: a client certificate (PEM) with its key, and one header with its value. Both secrets are
    # sealed by the vault for `origin`, the API's scheme, host and port; no other origin ever gets them (S32).
    client_certificate: str = Field(default="")
    client_key_sealed: bytes | None = sealed_field(origin_column="origin")
    header_name: str = Field(default="", max_length=100)
    header_value_sealed: bytes | None = sealed_field(origin_column="origin")
    origin: str = Field(default="", max_length=300)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)

    @property
    def name(self) -> str:
        """What people call it: its address without the scheme."""
        return self.external_url.partition("://")[2]

    @property
    def has_gateway(self) -> bool:
        """Whether anything is shown to a gateway in front of it."""
        return bool(self.client_certificate or self.header_name)

    @property
    def target(self) -> Target:
        """Its name in the audit log."""
        return Target(self.organization_id, "gitlab_server", self.id, self.name)


class Connection(SQLModel, table=True):
    """One GitLab instance of one organization.

    `external_url` is where browsers reach GitLab, `api_url` where this server does; both include the sub-path and
    have no trailing slash. `slug` is in addresses and in the redirect URI and never changes; `display_name` may.
    """

    __tablename__ = "connection"
    # Audit rows and jobs outlive a connection: its id is never reused.
    __table_args__ = (UniqueConstraint("organization_id", "name_key"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", index=True, sa_type=BigId)
    slug: str = Field(unique=True, max_length=64)
    display_name: str = Field(max_length=100)
    # What makes two names the same to a person; kept by a listener below.
    name_key: str = Field(default="", max_length=MAX_NAME_KEY)
    method: str = Field(default=Method.OAUTH, max_length=20)
    state: str = Field(default=ConnectionState.DRAFT, max_length=40)
    # A Card as JSON: why the connection needs attention; null if it does not.
    attention: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # How its GitLab is reached; null until step 2. The four fields after it are copies.
    server_id: int | None = Field(default=None, foreign_key="gitlab_server.id", index=True, sa_type=BigId)
    external_url: str = Field(default="", max_length=500)
    api_url: str = Field(default="", max_length=500)
    ca_certificate: str = Field(default="")
    proxy: str = Field(default="", max_length=500)
    service_username: str = Field(default="", max_length=255)
    services: list[str] = Field(
        default_factory=lambda: ["repositories", "merge_requests", "issues"], sa_column=Column(JSON, nullable=False)
    )
    hooks_wanted: bool = False
    version_seen: str = Field(default="", max_length=64)
    edition_seen: str = Field(default="", max_length=8)
    # Results of the instance checklist as last run, and when.
    checks: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    steps_done: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # Grows whenever an endpoint or the application changes: an authorization started before then is void (S21).
    row_version: int = Field(default=1)
    created_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    authorized_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # How the GitLab that issued the pair is reached (`way_of`). It follows edits within the same scheme, host and port;
    # after a move to another server it is the only record of the previous one's path, proxy and CA.
    authorized_via: dict[str, str] | None = Field(default=None, sa_column=Column(JSON))
    # When the catalogue was last read completely.
    last_read_at: datetime | None = Field(default=None, sa_type=UTCDateTime)

    @property
    def target(self) -> Target:
        """Its name in the audit log."""
        return Target(self.organization_id, "connection", self.id, self.display_name)


def way_of(connection: Connection) -> dict[str, str]:
    """Return everything that decides which server answers, and how it is reached."""
    names = ("external_url", "api_url", "ca_certificate", "proxy")
    return {name: getattr(connection, name) for name in names}


class OutboundTry(SQLModel, table=True):
    """One check of an address or a Secret that someone asked for: they are limited (S53)."""

    __tablename__ = "outbound_try"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(index=True, sa_type=BigId)
    kind: str = Field(max_length=20)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


def name_key_of(display_name: str) -> str:
    """Return the same text for names that look the same to people: case, width and composition do not count."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", display_name).casefold())


@event.listens_for(Connection, "before_insert")
@event.listens_for(Connection, "before_update")
def _keep_name_key(_mapper: object, _connection: object, row: Connection) -> None:
    row.name_key = name_key_of(row.display_name)


class Application(SQLModel, table=True):
    """The OAuth application that the GitLab administrator created for a connection (RFC 6749 §2.3.1)."""

    __tablename__ = "application"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    client_id: str = Field(max_length=255)
    # Sealed by the vault for `origin`; null until the secret is entered.
    client_secret_sealed: bytes | None = sealed_field(origin_column="origin")
    client_secret_hint: str = Field(default="", max_length=8)
    # The vault's HMAC of the secret: equal secrets can be recognised without showing either. Null: not known.
    client_secret_fingerprint: str | None = Field(default=None, max_length=16)
    # The API origin (scheme, host, port) that the secret was entered for; no other origin ever gets it (S32).
    origin: str = Field(default="", max_length=300)
    kind: str = Field(default="instance", max_length=20)
    # When GitLab last accepted client_id and secret; null if it never did.
    checked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)

    @property
    def short_fingerprint(self) -> str:
        """Eight hex characters for people to compare (`3f2a-91c0`); empty if it is not known."""
        known = self.client_secret_fingerprint or ""
        return f"{known[:4]}-{known[4:8]}" if known else ""


# Why a connection needs a person: one card at a time, set when it fails and cleared by whatever finds it has ended.
#
# Anything that sees a failure sets it (a refresh, a read, a check, an edit), but a new address or another application
# stays the reason until someone authorizes again. It ends with an authorization, with a refresh or a read that succeeds
# (`end_attention` with the codes that these disprove), when the health checks look for it and no longer find it, and
# when the connection is disconnected.

# Only another authorization ends these: anything else that fails until then follows from them.
UNTIL_AUTHORIZED = frozenset({"address_changed", "application_changed"})
# A read with the current credential says nothing about these.
NOT_DISPROVED_BY_READING = UNTIL_AUTHORIZED | {
    *("wrong_user", "missing_scopes", "rotation_unknown", "rotation_refused")
}
# What needs a person's attention but stops nothing.
WORKS_MEANWHILE = frozenset(
    {
        *("wrong_user", "missing_scopes", "catalogue_incomplete", "repositories_gone"),
        "repositories_unseen",
        *("rotation_unknown", "rotation_refused"),
    }
)


def attention_code(connection: Connection) -> str | None:
    """Return the code of why a connection needs a person; None if it does not."""
    return (connection.attention or {}).get("code")


def is_failing(connection: Connection) -> bool:
    """Return whether a connection cannot work, as opposed to one that works but needs a person's attention."""
    return attention_code(connection) not in {None, *WORKS_MEANWHILE}


def need_attention(session: Session, connection_id: int, card: Card) -> None:
    """Show a failure on a connection that no longer works; one that is disconnected is not meant to."""
    connection = session.get_one(Connection, connection_id)
    if connection.state == ConnectionState.DISCONNECTED:
        return
    if attention_code(connection) in UNTIL_AUTHORIZED - {card.code}:
        return
    if connection.state == ConnectionState.CONNECTED:
        connection.state = ConnectionState.NEEDS_ATTENTION
    connection.attention = card.to_json()


def end_attention(connection: Connection, codes: Collection[str] | None = None) -> bool:
    """Clear a connection's failure, if it is one of these; return whether it was."""
    if codes is not None and attention_code(connection) not in codes:
        return False
    connection.attention = None
    if connection.state == ConnectionState.NEEDS_ATTENTION:
        connection.state = ConnectionState.CONNECTED
    return True
