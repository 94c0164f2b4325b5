"""Tables of webhooks: those that the portal wants at GitLab, how they are made, and what they deliver."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now
from portal.gitlab.hooks import Level, Owner
from portal.vault import sealed_field

WAITING = "verdict = 'waiting'"
READING = "verdict = 'reading'"
OVERLAPS = "occurrence IS NOT NULL"


class HookStatus(StrEnum):
    """How far a hook is."""

    WANTED = "wanted"
    # Made, and nothing has come from it yet.
    UNPROVED = "unproved"
    ACTIVE = "active"
    # GitLab does not let the portal make or keep it; the card says why.
    REFUSED = "refused"
    # No longer wanted: removed at GitLab as soon as possible. Until then it still accepts deliveries.
    RETIRING = "retiring"


class Mode(StrEnum):
    """Who makes a hook."""

    AUTOMATIC = "automatic"
    # A person with the right makes it in GitLab, with the URL and the secret that are shown here once.
    BY_HAND = "by_hand"
    OFF = "off"


class Hook(SQLModel, table=True):
    """A webhook: what the portal wants, and what GitLab last said about it.

    Deliveries name it by `public_id`, which is in its URL and never changes. While secrets change, both the new and
    the previous ones are accepted until `previous_until`.
    """

    __tablename__ = "hook"
    __table_args__ = (UniqueConstraint("connection_id", "level", "subject_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    public_id: str = Field(default_factory=lambda: secrets.token_urlsafe(24), unique=True, max_length=40)
    # A `gitlab.hooks.Level`, and GitLab's id of the project or group; 0 for the whole instance.
    level: str = Field(default=Level.PROJECT, max_length=10)
    subject_id: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    # Ours, of a project's hook.
    repository_id: int | None = Field(
        default=None, foreign_key="repository.id", index=True, ondelete="CASCADE", sa_type=BigId
    )
    mode: str = Field(default=Mode.AUTOMATIC, max_length=10)
    status: str = Field(default=HookStatus.WANTED, max_length=20, index=True)
    # A Card as JSON: why it is not as it should be; null if it is.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))

    # What it was made with. `events` are GitLab's names of those that are switched on.
    gitlab_hook_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    url: str = Field(default="", max_length=1500)
    events: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # The API origin that the secrets were made for; no other origin ever gets them (S32).
    origin: str = Field(default="", max_length=300)
    token_sealed: bytes | None = sealed_field(origin_column="origin")
    signing_token_sealed: bytes | None = sealed_field(origin_column="origin")
    previous_token_sealed: bytes | None = sealed_field(origin_column="origin")
    previous_signing_token_sealed: bytes | None = sealed_field(origin_column="origin")
    previous_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # GitLab confirmed the signing token: from `signed_from` on, a delivery without signature is refused (S63).
    uses_signature: bool = False
    signed_from: datetime | None = Field(default=None, sa_type=UTCDateTime)

    # What is about to be done at GitLab; set before the call and cleared with its outcome.
    intent: str = Field(default="", max_length=20)
    intent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    checked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # When the first valid delivery came, and how long after the test was requested; null for a real one.
    proved_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    latency_ms: int | None = None
    # The newest valid delivery, whether it was signed, and the events that came so far.
    last_delivery_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    verified_by: str = Field(default="", max_length=10)
    events_seen: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # The newest delivery with a wrong secret or none, if no valid one came since.
    refused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # What the newest repair found, by `differences.Difference`.
    repaired_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    repairs: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)

    @property
    def owner(self) -> Owner:
        """Whose hook it is at GitLab."""
        return Owner(Level(self.level), self.subject_id or None)


class Verdict(StrEnum):
    """What became clear about a delivery after it was stored."""

    WAITING = "waiting"
    # What it is about is being read from GitLab.
    READING = "reading"
    APPLIED = "applied"
    # Valid, and about something that the portal does not use.
    IGNORED = "ignored"
    # Valid, but not what its hook may say, or no JSON: kept for people, used for nothing.
    POISON = "poison"


class Delivery(SQLModel, table=True):
    """One valid delivery: stored before GitLab is answered, applied afterwards, each exactly once.

    `level` and `subject_id` are those of its hook, which may be gone when it is applied.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("hook_id", "key"),
        Index("ix_delivery_connection", "connection_id", "id"),
        Index("ix_delivery_waiting", "id", sqlite_where=text(WAITING), postgresql_where=text(WAITING)),
        Index("ix_delivery_reading", "connection_id", "id", sqlite_where=text(READING), postgresql_where=text(READING)),
        Index("ix_delivery_turn", "hook_id", "id", sqlite_where=text(WAITING), postgresql_where=text(WAITING)),
        Index(
            "ix_delivery_occurrence",
            "connection_id",
            "occurrence",
            sqlite_where=text(OVERLAPS),
            postgresql_where=text(OVERLAPS),
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    # Null once the hook is gone.
    hook_id: int | None = Field(default=None, foreign_key="hook.id", ondelete="SET NULL", sa_type=BigId)
    level: str = Field(default="", max_length=10)
    subject_id: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    # GitLab's `Idempotency-Key` (17.4); before, a digest of event and body.
    key: str = Field(max_length=100)
    # As in `X-Gitlab-Event`.
    event: str = Field(default="", max_length=100)
    received_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # `signature` or `token`.
    verified_by: str = Field(max_length=10)
    # Compressed, until it is applied: it holds names and addresses of people.
    body: bytes | None = None
    size: int = 0
    gitlab_version: str = Field(default="", max_length=20)
    # How often it came again, and when last; those copies changed nothing.
    copies: int = 0
    copied_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    gitlab_project_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    # What happened, without names of people: a `deliveries.Happening` as JSON.
    happening: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    # A digest of what happened, where two hooks may report the same; their keys differ.
    occurrence: str | None = Field(default=None, max_length=64)
    verdict: str = Field(default=Verdict.WAITING, max_length=10)
    # What it changed: a code of `deliveries.EFFECTS`.
    effect: str = Field(default="", max_length=40)
    applied_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class Outcome(StrEnum):
    """What `DeliveryCount` counts."""

    # Valid, and applied since.
    RECEIVED = "received"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_TOKEN = "wrong_token"
    # GitLab has a signing token for this hook, and the delivery carries only the secret token.
    NO_SIGNATURE = "no_signature"
    NO_SECRET = "no_secret"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"


class DeliveryCount(SQLModel, table=True):
    """How many deliveries of one hook had one outcome within an hour.

    Of those that are refused there is nothing else: whoever sends them must not be able to fill the database.
    """

    __tablename__ = "delivery_count"
    __table_args__ = (
        UniqueConstraint("hook_id", "hour", "outcome"),
        Index("ix_delivery_count_hour", "connection_id", "hour"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    hook_id: int = Field(foreign_key="hook.id", ondelete="CASCADE", sa_type=BigId)
    hour: datetime = Field(sa_type=UTCDateTime)
    outcome: str = Field(max_length=20)
    number: int = 0
    first_at: datetime = Field(sa_type=UTCDateTime)
    last_at: datetime = Field(sa_type=UTCDateTime)


class HookPlan(SQLModel, table=True):
    """How a connection's webhooks are made, and the newest comparison with GitLab."""

    __tablename__ = "hook_plan"

    connection_id: int = Field(foreign_key="connection.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    # A `gitlab.hooks.Level`: one hook for each repository, for each top-level group where GitLab has group hooks, or
    # for the whole instance.
    level: str = Field(default=Level.PROJECT, max_length=10)
    # What the newest comparison was about: address, services, user. If one of them changes, another is due at once.
    fingerprint: str = Field(default="", max_length=64)
    compared_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Why webhooks as a whole do not work: a Card as JSON.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
