"""Drafts that are waiting for an access token, and tokens for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape

from portal.connections import checklist, instance, store
from portal.connections.models import Method
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Actor
from tests.support.walkthrough import principal_of

# What the guide lists, as GitLab's API names it.
FINE_GRAINED = (
    *("read_user", "read_project", "read_group", "read_personal_access_token", "read_metadata"),
    *("read_repository", "download_code", "read_merge_request", "read_work_item"),
)


def token_draft(
    runtime: Runtime, sandbox: RunningSandbox, actor: Actor, *, hooks_wanted: bool = False, name: str = "GitLab"
) -> str:
    """Go through steps 1 and 2; return the slug."""
    principal = principal_of(runtime, actor)
    slug = store.create_draft(runtime, principal, name, Method.ACCESS_TOKEN, hooks_wanted=hooks_wanted).slug
    instance.save_instance(runtime, principal, slug, instance.Entered(sandbox.url))
    assert checklist.run_checklist(runtime, principal, slug).is_passed
    return slug


def words_of(page: str) -> str:
    """Return what a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", "", page)).split())


def fine_grained(sandbox: RunningSandbox, permissions: Iterable[str] = FINE_GRAINED) -> str:
    """Issue a fine-grained token of the service user."""
    user = sandbox.world.user_by_username("gatehouse")
    assert user is not None
    return sandbox.world.create_fine_grained_token(user, permissions)
