"""Tables of credentials: what the portal uses at a GitLab, what happened to it, and what must still be revoked."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Index, text
from sqlmodel import Field, SQLModel

from portal.connections.models import Method
from portal.db import BigId, UTCDateTime, utc_now
from portal.vault import sealed_field


class CredentialState(StrEnum):
    """Whether a credential gives access; every state but the first needs a person."""

    ALIVE = "alive"
    # GitLab keeps saying `invalid_client`: the application's Secret must be entered again. The pair is unaffected, and
    # its access token is used as long as it is valid.
    SECRET_CHANGED = "secret_changed"
    # GitLab permanently refuses the stored pair: someone has to authorize again.
    REVOKED = "revoked"
    # The same for a pair with a request whose answer never reached us: the pair is spent.
    LOST = "lost"
    # The key ring lacks the key, or the ciphertext is damaged.
    UNREADABLE = "unreadable"
    # Disconnected: the tokens are erased.
    ERASED = "erased"


class Credential(SQLModel, table=True):
    """The access a connection uses: an OAuth token pair, or an access token that a person made in GitLab.

    Such a token has no other half: it renews itself (rotation), and only if someone wants that.
    """

    __tablename__ = "credential"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    method: str = Field(default=Method.OAUTH, max_length=20)
    access_token_sealed: bytes | None = sealed_field(origin_column="origin")
    refresh_token_sealed: bytes | None = sealed_field(origin_column="origin")
    # The API origin both tokens are bound to.
    origin: str = Field(max_length=300)
    scopes: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # When the access token ends, by our clock: the moment the request was sent plus `expires_in`.
    expires_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    gitlab_user_id: int = Field(sa_type=BigId)
    gitlab_username: str = Field(max_length=255)
    gitlab_name: str = Field(default="", max_length=255)
    # Counts the pairs: it grows with every new pair and with nothing else, so comparing it shows whether the pair is
    # still the one that was spent (S37). Sealing a pair again with another key does not change it.
    generation: int = Field(default=1)
    obtained_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    authorized_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    state: str = Field(default=CredentialState.ALIVE, max_length=20)
    # When the next refresh is planned; no one gets the token for longer (S42). Null: never, it does not expire.
    refresh_at: datetime | None = Field(default=None, sa_type=UTCDateTime, index=True)
    refreshed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # One process at a time: who it is, and until when by the database's clock (S36). `lease_holder` lets processes of
    # the same machine tell without that clock; see `store.py`.
    lease_owner: str = Field(default="", max_length=100)
    lease_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    lease_holder: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # Written before the refresh token of `generation` is spent, removed with its outcome (S40). If it remains, it is
    # unknown whether GitLab acted on the request.
    intent_id: str = Field(default="", max_length=40)
    intent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # There was such a request for this pair. It stays until another pair is stored: a verdict says *lost* then.
    may_be_spent: bool = Field(default=False)
    # GitLab refused the access token, or did not confirm it when asked: it is not used.
    is_access_refused: bool = Field(default=False)
    # From GitLab's IAM service: the access token outlives its refresh, and says nothing about the pair.
    is_stateless: bool = Field(default=False)
    # `invalid_grant` in a row and the first of them, the same for `invalid_client`; one alone is not a verdict (S38).
    refusals: int = Field(default=0)
    refused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    client_refusals: int = Field(default=0)
    client_refused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Requests without an answer that counts since the last one that had one; none before `cooldown_until` (S39).
    failures: int = Field(default=0)
    cooldown_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # A Card as JSON: the last refresh that failed; null after one that worked.
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    failed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Which Secret GitLab refused: when the application was stored, as text. A different one is tried (no clock
    # decides).
    refused_application: str = Field(default="", max_length=40)
    # The application the pair was issued to. Only that one may refresh or revoke it.
    client_id: str = Field(default="", max_length=255)
    client_secret_sealed: bytes | None = sealed_field(origin_column="origin")
    # Of an access token, as GitLab described it: `kind`, `name`, `is_fine_grained`, `permissions`, `is_expiry_known`,
    # `are_scopes_known`, and `lifetime_days` if its beginning and end are known. Null: a pair.
    token_details: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # Someone wants an access token rotated before it ends.
    is_rotated: bool = Field(default=False)

    @property
    def are_scopes_known(self) -> bool:
        """Whether GitLab said which scopes it has; of an access token it does since 15.5."""
        return bool((self.token_details or {}).get("are_scopes_known", True))


class CredentialEvent(SQLModel, table=True):
    """One line of the flight recorder: what happened to a credential, in which process, and why. No secret."""

    __tablename__ = "credential_event"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    credential_id: int = Field(foreign_key="credential.id", index=True, ondelete="CASCADE", sa_type=BigId)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # A key of `history.KINDS`.
    kind: str = Field(max_length=40)
    generation: int
    # Host name and process id of who did it.
    process: str = Field(default="", max_length=100)
    reason: str = Field(default="", max_length=200)
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


ALIVE = text("revoked_at IS NULL")


class RetiredToken(SQLModel, table=True):
    """A pair that must end at GitLab: kept, sealed, until it is proved dead there, then erased (S33).

    A pair that GitLab has just issued is one, too, until it is stored as the credential: held, with no attempt before
    `next_try_at`. Whatever happens to the process, the pair does not stay alive at GitLab without a record here.

    `connection_id` is no foreign key: a deleted connection may still have a token to be revoked.
    """

    __tablename__ = "retired_token"
    __table_args__ = (Index("ix_retired_token_due", "next_try_at", sqlite_where=ALIVE, postgresql_where=ALIVE),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(index=True, sa_type=BigId)
    connection_id: int = Field(index=True, sa_type=BigId)
    connection_name: str = Field(max_length=100)
    # The refresh token, which covers both; the access token if there is no other. Null: there is nothing to try.
    token_sealed: bytes | None = sealed_field(origin_column="origin")
    # With it GitLab is asked whether the pair is dead.
    access_token_sealed: bytes | None = sealed_field(origin_column="origin")
    # Written before the refresh token is spent to learn whether it is dead, removed with the outcome.
    refresh_sent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    method: str = Field(default=Method.OAUTH, max_length=20)
    # What the revocation needs, as it was: API URL, CA, proxy, client id; and the Secret, sealed.
    snapshot: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    client_secret_sealed: bytes | None = sealed_field(origin_column="origin")
    origin: str = Field(max_length=300)
    # `replaced`, `disconnected`, `stray`.
    reason: str = Field(max_length=40)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    tries: int = Field(default=0)
    next_try_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    revoked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # How it is known to be dead: a `Proof`, or `by_hand` if a person said so. Empty: GitLab only answered that it is.
    proof: str = Field(default="", max_length=40)
