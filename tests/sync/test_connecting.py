"""Connecting replaces exactly what was shown, keeps what was here, and can be undone by disconnecting."""

from __future__ import annotations

from html import unescape

import pytest

from portal.errors import Conflict, InvalidInput, NotFound, PortalError
from portal.jobs.testing import run_pending
from portal.repositories.enablement import set_enabled
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync import conflicts, connecting, store
from portal.sync.capability import CAPABILITY
from portal.sync.models import Site, SiteState
from portal.sync.store import HERE, SiteBusy, create_site, delete_site, holding, list_sites, path_of, rename_site
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of
from tests.sync.synced import Synced, connect_site, enabled_repository, synced


def unconnected(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, **chosen: str) -> Synced:
    """A site with two files, and a repository that it can be connected to."""
    repository = enabled_repository(runtime, sandbox, cast, **chosen)
    principal = principal_of(runtime, cast.owner)
    found = Synced(runtime, sandbox, cast, create_site(runtime, principal, "Handbook").slug, repository, principal)
    found.write("index.md", "# Ours\n")
    found.write("ours/only.md", "only here\n")
    return found


def test_preview_names_every_file_and_connecting_does_exactly_that(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    site = unconnected(runtime, sandbox, cast)
    before = site.own.head(HERE)

    preview = connect_site(site, "main")

    assert [item.path for item in preview.replaced] == ["index.md"]
    assert [item.path for item in preview.removed] == ["ours/only.md"]
    assert len(preview.added) == 5
    assert (preview.here, preview.gitlab, preview.same, preview.is_new) == (2, 6, 0, False)
    assert preview.replaced[0].newer_here is not None
    assert site.row.state == SiteState.IN_STEP
    assert site.here("index.md") == site.there("index.md")
    assert site.here("ours/only.md") is None
    # What was here is a branch at GitLab, with its history.
    branch = "refs/heads/gatehouse/handbook-before"
    assert site.there("ours/only.md", branch) == "only here\n"
    assert site.there("index.md", branch) == "# Ours\n"
    assert site.own.is_ancestor(before, sandbox.world.git.refs(site.project)[branch])


def test_folder_of_a_new_branch_begins_from_the_default_one(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    site = unconnected(runtime, sandbox, cast)

    preview = connect_site(site, "site/handbook", "docs")

    assert preview.is_new
    assert site.row.state == SiteState.IN_STEP
    assert site.here("guides/start.md") == site.there("docs/guides/start.md")
    assert len(set(site.heads())) == 1
    assert site.there("README.md") is not None


def test_empty_repository_gets_the_files_from_here(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    sandbox.world.add_project("platform/build/nothing-yet", empty=True)
    site = unconnected(runtime, sandbox, cast, path="platform/build/nothing-yet")

    preview = connect_site(site, "main", "guide")

    assert (preview.is_new, preview.start, preview.loses_nothing) == (True, "", True)
    assert site.there("guide/index.md") == "# Ours\n"
    assert site.here("ours/only.md") == site.there("guide/ours/only.md") == "only here\n"
    assert site.row.state == SiteState.IN_STEP


def test_repository_is_created_enabled_and_connected_from_here(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    site = unconnected(runtime, sandbox, cast)
    groups = connecting.list_namespaces(runtime, site.principal, "gitlab")
    group_id = next(group.id or 0 for group in groups if group.full_path == "platform/build")
    about = (runtime, site.principal, "gitlab", group_id)

    repository_id = connecting.create_repository(*about, "Our Handbook!", "internal")
    for name in ("Our Handbook!", "!?"):
        with pytest.raises(InvalidInput):
            connecting.create_repository(*about, name, "internal")
    with pytest.raises(NotFound):
        connecting.create_repository(runtime, principal_of(runtime, cast.lead), "gitlab", group_id, "Theirs", "private")
    with runtime.database.reading() as session:
        choice = connecting.find_choice(session, site.principal, repository_id)
    site.repository = choice.repository
    connect_site(site, "main")

    made = sandbox.world.project("platform/build/our-handbook")
    assert (made.name, made.visibility, made.empty) == ("Our Handbook!", "internal", False)
    assert site.row.state == SiteState.IN_STEP
    assert site.here("README.md") == "# Our Handbook!\n"
    assert site.there("ours/only.md", "refs/heads/gatehouse/handbook-before") == "only here\n"


def test_what_changed_since_the_preview_is_not_replaced_unseen(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    site = unconnected(runtime, sandbox, cast)
    about = (runtime, site.principal, site.slug)
    job = connecting.request_preview(*about, site.repository.id or 0, "main", "")
    run_pending(runtime)
    preview = connecting.compare(runtime, site.row, connecting.load_preview(*about, job.public_id)[2])
    site.write("index.md", "# Changed in between\n")

    with pytest.raises(Conflict):
        connecting.connect(*about, job.public_id, preview.digest, keeps=True)

    assert site.row.state == SiteState.LOCAL
    assert site.here("index.md") == "# Changed in between\n"


@pytest.mark.parametrize(
    ("branch", "folder"), [("-x", ""), ("a..b", ""), ("main.lock", ""), ("main", "../x"), ("main", ".git")]
)
def test_odd_branches_and_folders_are_refused(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, branch: str, folder: str
) -> None:
    site = unconnected(runtime, sandbox, cast)

    with pytest.raises(InvalidInput):
        connecting.request_preview(runtime, site.principal, site.slug, site.repository.id or 0, branch, folder)


def test_disconnecting_keeps_the_files_and_connecting_again_continues(site: Synced) -> None:
    connecting.disconnect_site(site.runtime, site.principal, site.slug)
    site.write("later.md", "later\n")
    assert (site.row.state, site.here("README.md") is not None) == (SiteState.LOCAL, True)

    preview = connect_site(site, "main")

    assert [item.path for item in preview.removed] == ["later.md"]
    assert site.there("later.md", "refs/heads/gatehouse/handbook-before") == "later\n"


def test_disabled_repository_and_gone_repository_stop_and_continue(site: Synced) -> None:
    repository_id = site.repository.id or 0
    set_enabled(site.runtime, site.principal, [repository_id], enabled=False)
    site.write("new.md", "new\n")

    site.sync()
    assert (site.row.state, site.code) == (SiteState.STOPPED, "site_not_enabled")
    assert site.there("new.md") is None
    set_enabled(site.runtime, site.principal, [repository_id], enabled=True)
    site.sync()

    assert (site.row.state, site.there("new.md")) == (SiteState.IN_STEP, "new\n")


def test_lead_sees_own_sites_and_those_of_their_groups_only(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    site = synced(runtime, sandbox, cast)
    lead = principal_of(runtime, cast.lead)
    own = create_site(runtime, lead, "Mine")

    assert [row.site.slug for row in list_sites(runtime, lead)] == [own.slug]
    attempts: list[PortalError] = []
    for attempt in (
        lambda: connecting.request_sync(runtime, lead, site.slug),
        lambda: connecting.disconnect_site(runtime, lead, site.slug),
        lambda: connecting.request_preview(runtime, lead, own.slug, site.repository.id or 0, "main", ""),
        lambda: connecting.request_sync(runtime, principal_of(runtime, cast.auditor), site.slug),
        lambda: connecting.request_sync(runtime, principal_of(runtime, cast.outsider), site.slug),
    ):
        with pytest.raises(NotFound) as refused:
            attempt()
        attempts.append(refused.value)
    assert len(attempts) == 5
    assert site.row.is_connected


def test_deleted_site_leaves_nothing_here_and_everything_at_gitlab(site: Synced) -> None:
    folder, row = path_of(site.runtime, site.row), site.row

    with pytest.raises(InvalidInput):
        delete_site(site.runtime, site.principal, site.slug, "handbook")
    delete_site(site.runtime, site.principal, site.slug, "Handbook")

    assert not folder.exists()
    assert site.sandbox.world.git.refs(site.project)[f"refs/heads/{row.branch}"] == row.head


def test_every_step_of_a_site_is_in_the_audit_log(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    site = synced(runtime, sandbox, cast, first={"index.md": "# Ours\n"})
    about = (runtime, site.principal, site.slug)
    site.write("both.md", "here\n")
    site.push({"both.md": "there\n"})
    site.sync()
    (row,) = site.conflicts()
    found = conflicts.load_comparison(*about, row.id or 0)
    conflicts.resolve(*about, row.id or 0, found.digest, {"all": "here"})
    rename_site(*about, "Guide")
    connecting.request_sync(*about)
    sandbox.world.git.protected[site.project.id] = {"main": 50}
    site.sync()
    sandbox.world.git.run(site.project, "update-ref", "refs/heads/main", f"{site.heads()[1]}~1")
    site.sync()
    connecting.take_gitlab_version(*about)
    connecting.disconnect_site(*about)
    delete_site(*about, "Guide")

    expected = {
        *("site.created", "site.files_changed", "site.connected", "site.synced", "site.conflict_found"),
        *("site.conflict_resolved", "site.renamed", "site.sync_requested", "site.merge_request_opened"),
        *("site.sync_failed", "site.version_chosen", "site.disconnected", "site.deleted"),
    }
    assert set(site.actions()) == expected
    assert CAPABILITY.actions.keys() - expected == {"site.repository_requested"}


def test_page_does_not_wait_for_a_sync_that_takes_long(site: Synced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(connecting, "PATIENCE_SECONDS", 0.1)
    with holding(site.runtime, site.row, "sync"):
        with pytest.raises(SiteBusy):
            delete_site(site.runtime, site.principal, site.slug, "Handbook")
        site.write("during.md", "people keep working\n")

    assert site.row.is_connected
    assert site.here("during.md") == "people keep working\n"


def test_poll_of_a_page_that_has_not_changed_asks_git_nothing(site: Synced, owner: Visitor) -> None:
    address = f"/sites/{site.slug}"
    fragment = {"HX-Request": "true"}
    page = owner.get(address).text
    poll = unescape(page.partition('hx-get="')[2].partition('"')[0])

    unchanged = owner.get(poll, headers=fragment)
    site.write("new.md", "new\n")
    changed = owner.get(poll, headers=fragment)
    with site.runtime.database.transaction() as session:
        session.get_one(Site, site.row.id).state = SiteState.STOPPED
    other = owner.get(poll, headers=fragment)

    assert (unchanged.status_code, unchanged.text) == (204, "")
    assert (changed.status_code, "new.md" in changed.text) == (200, True)
    assert (other.status_code, other.headers["HX-Redirect"]) == (204, address)
