"""Where an application belongs: the instance, a group or a user, each with its own pages and rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import url_for

from portal.sandbox.oauth.store import Application, OwnerKind

if TYPE_CHECKING:
    from portal.sandbox.world import Group, User, World

# Which release moved the pages of user settings where; the last entry applies to everything older.
SETTINGS_AREAS: tuple[tuple[tuple[int, int], str], ...] = (
    ((16, 0), "-/user_settings"),
    ((12, 0), "-/profile"),
    ((0, 0), "profile"),
)


def settings_area(release: tuple[int, int]) -> str:
    """Return the path under which this release keeps the pages of user settings."""
    return next(area for since, area in SETTINGS_AREAS if release >= since)


@dataclass(frozen=True)
class Place:
    """The pages of one owner's applications; addresses are ready to link to."""

    kind: OwnerKind
    owner_id: int | None
    layout: str
    title: str
    list_url: str
    new_url: str
    item_base: str

    @property
    def may_trust(self) -> bool:
        """Only instance-wide applications can be trusted."""
        return self.kind == "instance"

    def owns(self, application: Application | None) -> bool:
        """Return whether this application belongs here."""
        return application is not None and (application.owner_kind, application.owner_id) == (self.kind, self.owner_id)

    def url(self, application: Application, page: str = "") -> str:
        """Return the address of one application's details, or of its page `edit` or `renew`."""
        return f"{self.item_base}/{application.id}" + (f"/{page}" if page else "")


def instance_place() -> Place:
    """Return the Admin area's applications."""
    url = url_for("web.applications")
    return Place("instance", None, "sandbox/layouts/admin.html", "Admin area", url, f"{url}/new", url)


def user_place(world: World, user: User) -> Place:
    """Return the applications of one person; new ones are entered on the list page itself."""
    url = url_for("web.user_applications", area=settings_area(world.release))
    items = url_for("web.user_application", application_id=0).removesuffix("/0")
    return Place("user", user.id, "sandbox/layouts/settings.html", "User settings", url, url, items)


def group_place(group: Group) -> Place:
    """Return the applications of one group."""
    url = url_for("web.group_applications", full_path=group.full_path)
    return Place("group", group.id, "sandbox/layouts/app.html", group.full_path, url, f"{url}/new", url)
