"""Both sides come together, whatever happened to them, and no commit of either is lost."""

from __future__ import annotations

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync import connecting, files
from portal.sync.models import SiteState
from portal.sync.store import HERE
from tests.support.people import Cast
from tests.sync.synced import Synced, synced


def test_changes_go_both_ways_with_their_authors(site: Synced) -> None:
    assert (site.row.state, site.code) == (SiteState.IN_STEP, "")
    assert (
        site.here("index.md") == site.there("index.md") == "# Welcome\n\nThis is the first page.\nIt has three lines.\n"
    )

    site.write("guides/new.md", "# New\n")
    site.sync()
    site.push({"index.md": "# Changed at GitLab\n"}, author="Tom Okafor")
    site.sync()

    assert site.there("guides/new.md") == "# New\n"
    assert site.here("index.md") == "# Changed at GitLab\n"
    assert len(set(site.heads())) == 1
    told = site.sandbox.world.git.run(
        site.project, "log", "-2", "--format=%an <%ae> / %cn <%ce>: %s", "main"
    ).splitlines()
    assert told[0] == "Tom Okafor <tom.okafor@example.com> / Tom Okafor <tom.okafor@example.com>: Change files"
    assert told[1].startswith("Olga Owner <olga@example.com> / gatehouse <20-gatehouse")
    assert "@users.noreply.localhost>: Add guides/new.md" in told[1]
    assert site.row.state == SiteState.IN_STEP


def test_both_sides_moved_and_merge(site: Synced) -> None:
    site.write("index.md", "# Welcome here\n\nThis is the first page.\nIt has three lines.\n")
    site.push({"index.md": "# Welcome\n\nThis is the first page.\nIt has four lines.\n", "README.md": "Read.\n"})

    site.sync()

    assert (
        site.here("index.md")
        == site.there("index.md")
        == "# Welcome here\n\nThis is the first page.\nIt has four lines.\n"
    )
    assert len(set(site.heads())) == 1
    assert site.conflicts() == []


def test_conflict_takes_gitlabs_version_and_parks_the_other_on_a_branch(site: Synced) -> None:
    site.write("index.md", "# Here\n")
    site.write("other.md", "only here\n")
    mine = site.own.head(HERE)
    site.push({"index.md": "# There\n"})

    site.sync()
    (conflict,) = site.conflicts()

    assert (conflict.path, conflict.branch, conflict.here) == ("index.md", "gatehouse/conflict-1", mine)
    assert site.here("index.md") == site.there("index.md") == "# There\n"
    assert site.there("other.md") == "only here\n"
    assert site.there("index.md", "refs/heads/gatehouse/conflict-1") == "# Here\n"
    assert len(set(site.heads())) == 1
    assert site.row.state == SiteState.IN_STEP
    assert site.actions().count("site.conflict_found") == 1
    # Nothing is left to do, and nothing is done again.
    before = site.heads()
    site.sync()
    assert (site.heads(), len(site.conflicts())) == (before, 1)


def test_folder_of_a_repository_is_a_site(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    site = synced(runtime, sandbox, cast, folder="docs")
    site.write("on-call.md", "Call.\n")
    site.push({"docs/guides/start.md": "Start.\n", "README.md": "Outside.\n"})

    site.sync()

    assert site.there("docs/on-call.md") == "Call.\n"
    assert site.here("guides/start.md") == "Start.\n"
    assert site.there("README.md") == "Outside.\n"
    assert site.row.files == 2


def test_protected_branch_gets_a_merge_request(site: Synced) -> None:
    sandbox = site.sandbox
    sandbox.world.git.protected[site.project.id] = {"main": 50}
    before = site.heads()[1]
    site.write("index.md", "# Proposed\n")

    site.sync()
    row = site.row

    assert (row.state, row.merge_request_iid, site.code) == (SiteState.PROPOSED, 10_001, "")
    assert site.heads()[1] == before
    assert site.there("index.md", "refs/heads/gatehouse/handbook") == "# Proposed\n"
    # More changes go to the same one.
    site.write("more.md", "more\n")
    site.sync()
    assert site.there("more.md", "refs/heads/gatehouse/handbook") == "more\n"
    assert len(sandbox.world.git.proposals[site.project.id]) == 1
    # Squashed: GitLab has the content, in a new commit.
    user = sandbox.world.all_users()[0]
    sandbox.world.git.merge(site.project, "gatehouse/handbook", "main", "Squashed", user, squash=True)
    sandbox.world.git.proposals[site.project.id][0].state = "merged"
    site.sync()
    assert len(set(site.heads())) == 1
    assert (site.row.state, site.row.merge_request_iid) == (SiteState.IN_STEP, None)
    assert site.here("more.md") == "more\n"


def test_what_gitlab_refuses_is_told_in_its_words_and_kept(site: Synced) -> None:
    site.sandbox.world.git.refusals[site.project.id] = "Commit message does not follow the pattern 'JIRA-\\d+'"
    site.write("index.md", "# Refused\n")

    site.sync()

    assert (site.row.state, site.code) == (SiteState.STOPPED, "site_push_refused")
    assert "does not follow the pattern" in (site.row.card or {})["words"]
    assert site.here("index.md") == "# Refused\n"
    site.sync()
    assert (site.row.state, site.there("index.md")) == (SiteState.IN_STEP, "# Refused\n")


def test_rewritten_branch_stops_until_someone_decides(site: Synced) -> None:
    old = site.push({"index.md": "# Old\n"})
    site.sync()
    store = site.sandbox.world.git
    parent = store.run(site.project, "rev-parse", f"{old}~1")
    store.run(site.project, "update-ref", "refs/heads/main", parent)

    site.sync()

    assert (site.row.state, site.code) == (SiteState.STOPPED, "site_branch_rewritten")
    assert site.here("index.md") == "# Old\n"
    site.sync()
    assert site.code == "site_branch_rewritten"
    mine = site.own.head(HERE)

    connecting.take_gitlab_version(site.runtime, site.principal, site.slug)
    site.sync()

    assert site.row.state == SiteState.IN_STEP
    assert site.heads() == (parent, parent)
    assert site.there("index.md", f"refs/heads/gatehouse/handbook-{mine[:8]}") == "# Old\n"


def test_deleted_branch_stops_and_goes_on_once_it_is_back(site: Synced) -> None:
    store, head = site.sandbox.world.git, site.heads()[1]
    store.run(site.project, "update-ref", "-d", "refs/heads/main")
    site.write("new.md", "new\n")

    site.sync()
    assert (site.row.state, site.code, site.here("new.md")) == (SiteState.STOPPED, "site_branch_gone", "new\n")
    store.run(site.project, "update-ref", "refs/heads/main", head)
    site.sync()

    assert (site.row.state, site.there("new.md")) == (SiteState.IN_STEP, "new\n")


def test_lost_permission_stops_with_who_can_fix_it(site: Synced) -> None:
    world = site.sandbox.world
    user = world.user_by_username("gatehouse")
    site.write("new.md", "new\n")
    world.add_group_member(world.group("platform").id, user.id, 20)

    site.sync()
    assert (site.row.state, site.code) == (SiteState.STOPPED, "git_refused/role")
    world.add_group_member(world.group("platform").id, user.id, 0)
    site.sync()
    assert site.code == "git_refused/hidden"
    world.add_group_member(world.group("platform").id, user.id, 40)
    site.sync()

    assert (site.row.state, site.there("new.md")) == (SiteState.IN_STEP, "new\n")


def test_gateway_page_and_dead_gitlab_are_tried_again(site: Synced) -> None:
    site.sandbox.faults.add("*/info/refs", status=502, html=True, times=1)
    site.write("new.md", "new\n")

    site.sync()
    assert (site.row.state, site.row.failures) == (SiteState.RETRYING, 1)
    assert site.row.due_at is not None
    site.sync()

    assert (site.row.state, site.row.failures, site.there("new.md")) == (SiteState.IN_STEP, 0, "new\n")


def test_conflicts_of_every_kind_keep_gitlabs_version_and_lose_nothing(site: Synced) -> None:
    for path in ("gone-here.md", "gone-there.md", "folder-here", "folder-there"):
        site.write(path, f"{path}\n")
    site.sync()
    entry = site.own.entry(site.own.head(HERE), "gone-here.md")
    files.delete_file(site.runtime, site.principal, site.slug, "gone-here.md", entry.id)
    entry = site.own.entry(site.own.head(HERE), "folder-here")
    files.delete_file(site.runtime, site.principal, site.slug, "folder-here", entry.id)
    site.write("folder-here/inside.md", "inside\n")
    site.write("gone-there.md", "changed here\n")
    site.write("folder-there", "changed here\n")
    site.write("both.md", "from here\n")
    mine = site.own.head(HERE)
    theirs = site.push(
        {
            "gone-here.md": "changed there\n",
            "gone-there.md": None,
            "folder-here": "changed there, at length, so that it is another file\n",
            "folder-there": None,
            "folder-there/inside.md": "inside\n",
            "both.md": "from there\n",
        }
    )

    site.sync()

    assert site.row.state == SiteState.IN_STEP
    assert site.here("gone-here.md") == "changed there\n"
    assert site.here("both.md") == "from there\n"
    assert site.here("gone-there.md") is None
    assert {"both.md", "gone-here.md", "gone-there.md"} <= {row.path for row in site.conflicts()}
    head = site.own.head(HERE)
    assert site.own.is_ancestor(mine, head)
    assert site.own.is_ancestor(theirs, head)
    assert len(set(site.heads())) == 1
