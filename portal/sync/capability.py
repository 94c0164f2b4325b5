"""What sites bring to the portal."""

from __future__ import annotations

from portal.actor import Right
from portal.capability import Capability, JobDefinition, NavigationEntry, PeriodicJob
from portal.sync.connecting import PREVIEW, leave_connection, run_preview
from portal.sync.models import Site, SiteConflict
from portal.sync.polling import check_branches, has_branch_to_check, has_due, on_push, start_due
from portal.sync.syncing import SYNC, run_sync

CAPABILITY = Capability(
    name="sync",
    views="portal.sync.views",
    stylesheets=("sites",),
    tables=(Site, SiteConflict),
    navigation={27: NavigationEntry("sites.index", "Sites", "world", Right.SEE_REPOSITORIES)},
    jobs=(
        JobDefinition(SYNC, run_sync),
        JobDefinition(PREVIEW, run_preview),
        PeriodicJob("sync.start", start_due, "Sync sites that have changed", 1, has_due, "sync"),
        PeriodicJob(
            "sync.check",
            check_branches,
            "Ask GitLab whether branches of sites have moved",
            5,
            has_branch_to_check,
            "sync",
        ),
    ),
    event_kinds=frozenset({"push"}),
    on_events=on_push,
    erases=leave_connection,
    actions={
        "site.conflict_found": "found files of {object} that were changed in both places",
        "site.conflict_resolved": "decided about a file of {object} that was changed in both places",
        "site.connected": "connected {object} to a repository",
        "site.created": "created {object}",
        "site.deleted": "deleted {object} with its files here",
        "site.disconnected": "disconnected {object} from its repository",
        "site.files_changed": "changed files of {object}",
        "site.merge_request_opened": "opened a merge request for the changes of {object}",
        "site.repository_requested": "had a repository created through {object}",
        "site.renamed": "renamed {object}",
        "site.sync_failed": "could not sync {object}",
        "site.sync_requested": "had {object} synced",
        "site.synced": "synced {object}",
        "site.version_chosen": "took GitLab's version of {object}",
    },
)
