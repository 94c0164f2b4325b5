"""What webhooks bring to the portal."""

from __future__ import annotations

from portal.capability import Capability, JobDefinition, PeriodicJob
from portal.db import delete_of_connection
from portal.webhooks.deliveries import APPLY_SECONDS, apply_waiting, forget_old, has_old, has_work
from portal.webhooks.jobs import LOOK_SECONDS, RECONCILE, compare_due, due_connections, run_reconcile
from portal.webhooks.leaving import leave_gitlab
from portal.webhooks.models import Delivery, DeliveryCount, Hook, HookPlan
from portal.webhooks.projects import READ_PROJECTS, run_read_projects
from portal.webhooks.status import hooks_panels, repository_panels

CAPABILITY = Capability(
    name="webhooks",
    views="portal.webhooks.views",
    stylesheets=("webhooks",),
    connection_panels={17: hooks_panels},
    repository_panels=(repository_panels,),
    tables=(Delivery, DeliveryCount, Hook, HookPlan),
    jobs=(
        JobDefinition(RECONCILE, run_reconcile),
        JobDefinition(READ_PROJECTS, run_read_projects),
        PeriodicJob(
            "webhooks.compare",
            compare_due,
            "Compare webhooks with GitLab",
            LOOK_SECONDS,
            lambda runtime: bool(due_connections(runtime)),
        ),
        PeriodicJob(
            "webhooks.apply", apply_waiting, "Apply what webhooks delivered", APPLY_SECONDS, has_work, "webhooks"
        ),
        PeriodicJob("webhooks.forget", forget_old, "Delete old deliveries of webhooks", 86_400, has_old),
    ),
    erases_in_batches=(Delivery, DeliveryCount, Hook),
    on_leaving=leave_gitlab,
    erases=delete_of_connection(HookPlan),
    actions={
        "hook.created": "made the webhook of {object}",
        "hook.forgotten": "took the webhook of {object}, which was left over, off the list",
        "hook.proved": "received the first delivery of the webhook of {object}",
        "hook.refused": "could not keep the webhook of {object}",
        "hook.removed": "removed the webhook of {object}",
        "hook.repair_requested": "had the webhook of {object} compared with GitLab",
        "hook.repaired": "repaired the webhook of {object}",
        "hook.resend_requested": "had GitLab send a delivery of the webhook of {object} again",
        "hook.secret_shown": "saw new secrets of the webhook of {object}, to set it up by hand",
        "hook.switched_off": "switched the webhook of {object} off",
        "hook.switched_on": "switched the webhook of {object} on",
        "hooks.compare_requested": "had the webhooks of {object} compared with GitLab",
        "hooks.level_changed": "chose how the webhooks of {object} are made",
        "hooks.rotated": "gave {hooks} webhooks of {object} new secrets",
    },
)
