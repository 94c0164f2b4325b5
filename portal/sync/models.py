"""Tables of sites: the site with where it is synced to, and the conflicts that someone has to decide."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from portal import audit
from portal.db import BigId, UTCDateTime, utc_now

MAX_PATH = 1000


class SiteState(StrEnum):
    """How a site and its repository stand; stored in `site.state`."""

    # Kept here only.
    LOCAL = "local"
    # Connected a moment ago: what GitLab has is being fetched.
    CONNECTING = "connecting"
    IN_STEP = "in_step"
    # The branch is protected: changes wait in a merge request.
    PROPOSED = "proposed"
    # It is tried again by itself; the card says why it failed.
    RETRYING = "retrying"
    # A person has to do something; the card says what.
    STOPPED = "stopped"


class Site(SQLModel, table=True):
    """A folder of files that the portal keeps in a bare repository.

    What is here is the branch `here` of that repository. If it is connected, that branch continues GitLab's, and the
    site is a folder of it, so both sides have the same history.
    """

    __tablename__ = "site"
    __table_args__ = (
        UniqueConstraint("organization_id", "name_key"),
        Index("ix_site_due", "due_at"),
        Index("ix_site_check", "check_at"),
        # Audit rows outlive it: its id is never reused.
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", sa_type=BigId)
    slug: str = Field(unique=True, max_length=60)
    name: str = Field(max_length=100)
    name_key: str = Field(max_length=400)
    # Of its folder on the disk.
    folder_name: str = Field(default_factory=lambda: secrets.token_hex(12), max_length=40)
    created_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    state: str = Field(default=SiteState.LOCAL, max_length=20)
    # Why it is not in step: a Card as JSON; null if it is.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    # The newest commit here, when it was made, and how many files there are: so that no list has to ask git.
    head: str = Field(default="", max_length=64)
    head_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    files: int = 0

    # Where it is synced to; null and empty if it is kept here only, except for `folder`: that is what is shown of the
    # branch `here`, also after it was disconnected.
    connection_id: int | None = Field(
        default=None, foreign_key="connection.id", index=True, ondelete="SET NULL", sa_type=BigId
    )
    repository_id: int | None = Field(
        default=None, foreign_key="repository.id", index=True, ondelete="SET NULL", sa_type=BigId
    )
    gitlab_project_id: int | None = Field(default=None, sa_column=Column(BigInteger, index=True))
    branch: str = Field(default="", max_length=255)
    folder: str = Field(default="", max_length=MAX_PATH)
    connected_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # The commit that GitLab's branch had when it was last fetched or pushed.
    gitlab_head: str = Field(default="", max_length=64)
    synced_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # When to sync next; null if there is nothing to do. `demands` counts what asked for it.
    due_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    demands: int = 0
    # When to ask GitLab next whether its branch has moved; null if it is kept here only.
    check_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    failures: int = 0
    # The merge request that waits, by its number and address at GitLab.
    merge_request_iid: int | None = Field(default=None, sa_column=Column(BigInteger))
    merge_request_url: str = Field(default="", max_length=1500)

    @property
    def target(self) -> audit.Target:
        """How the audit log names it."""
        return audit.Target(self.organization_id, "site", self.id, self.name)

    @property
    def is_connected(self) -> bool:
        """Whether it belongs to a repository, even if that cannot be reached."""
        return self.state != SiteState.LOCAL


class Resolution(StrEnum):
    """Which version of a file someone chose; stored in `site_conflict.resolution`."""

    OPEN = ""
    HERE = "here"
    GITLAB = "gitlab"
    MIXED = "mixed"


class SiteConflict(SQLModel, table=True):
    """A file that was changed in both places. The site has GitLab's version; the one from here is on a branch."""

    __tablename__ = "site_conflict"
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    site_id: int = Field(foreign_key="site.id", index=True, ondelete="CASCADE", sa_type=BigId)
    # Of the branch `gatehouse/conflict-…` on which the version from here is parked.
    number: int
    # The folder of the site then, and the path in it.
    folder: str = Field(default="", max_length=MAX_PATH)
    path: str = Field(max_length=4096)
    # The commits that had the versions, and the one that both came from; empty if there was none.
    here: str = Field(max_length=64)
    gitlab: str = Field(max_length=64)
    base: str = Field(default="", max_length=64)
    found_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    resolution: str = Field(default=Resolution.OPEN, max_length=10)
    resolved_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    resolved_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)

    @property
    def branch(self) -> str:
        """The branch of the version from here."""
        return f"gatehouse/conflict-{self.number}"
