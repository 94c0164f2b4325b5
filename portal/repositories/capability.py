"""What repositories bring to the portal."""

from __future__ import annotations

from portal.actor import Right
from portal.capability import Capability, JobDefinition, NavigationEntry, PeriodicJob
from portal.repositories import grants
from portal.repositories.bulk import CHANGE_ALL, run_change_all
from portal.repositories.catalogue.run import READ_CATALOGUE, READ_UPDATES, connections_to_read, enqueue_catalogue_read
from portal.repositories.details import repositories_panels
from portal.repositories.jobs import (
    TAKE_UP_SECONDS,
    read_again,
    reads_to_take_up,
    run_apply_rules,
    run_read_catalogue,
    run_read_updates,
    take_up_reads,
)
from portal.repositories.models import (
    BulkChange,
    BulkItem,
    CatalogueRun,
    Enablement,
    GitLabGroup,
    HeldBack,
    Namespace,
    Repository,
    RepositoryRequest,
    RequestNews,
    ReviewSchedule,
    SelectionRule,
)
from portal.repositories.news import has_news, mail_news
from portal.repositories.requests import disable_ended, ended_enablements
from portal.repositories.rules import APPLY_RULES
from portal.repositories.search import forget_erased

CAPABILITY = Capability(
    name="repositories",
    views="portal.repositories.views",
    navigation={20: NavigationEntry("repositories.index", "Repositories", "git-branch", Right.SEE_REPOSITORIES)},
    tables=(
        BulkChange,
        BulkItem,
        CatalogueRun,
        Enablement,
        GitLabGroup,
        HeldBack,
        Namespace,
        Repository,
        RepositoryRequest,
        RequestNews,
        ReviewSchedule,
        SelectionRule,
    ),
    jobs=(
        JobDefinition(READ_CATALOGUE, run_read_catalogue),
        JobDefinition(READ_UPDATES, run_read_updates),
        JobDefinition(APPLY_RULES, run_apply_rules),
        JobDefinition(CHANGE_ALL, run_change_all),
        PeriodicJob(
            "repositories.read_again",
            read_again,
            "Read repositories again",
            60,
            lambda runtime: any(connections_to_read(runtime).values()),
        ),
        PeriodicJob(
            "repositories.disable_ended",
            disable_ended,
            "Disable repositories whose time is over",
            300,
            lambda runtime: bool(ended_enablements(runtime)),
        ),
        PeriodicJob("repositories.mail_news", mail_news, "Send e-mails about requests for repositories", 300, has_news),
        PeriodicJob(
            "repositories.take_up_reads",
            take_up_reads,
            "Read GitLab again after an outage",
            TAKE_UP_SECONDS,
            lambda runtime: bool(reads_to_take_up(runtime)),
        ),
    ),
    connection_panels={15: repositories_panels},
    member_notes=grants.notes_on_members,
    group_choices=grants.group_choices,
    erases_in_batches=(
        BulkChange,
        Enablement,
        HeldBack,
        RepositoryRequest,
        Repository,
        Namespace,
        GitLabGroup,
        SelectionRule,
        CatalogueRun,
    ),
    erases=forget_erased,
    on_connected=enqueue_catalogue_read,
    actions={
        "repository.requested": "asked for {object}",
        "repository.request_approved": "approved a request for {object}",
        "repository.request_declined": "declined a request for {object}",
        "repository.request_withdrawn": "withdrew a request for {object}",
        "repository.time_over": "disabled {object}, because its time was over",
        "catalogue.unseen_gone": "said that {count} repositories of {object} are gone",
        "catalogue.unseen_kept": "kept {count} repositories of {object} that a read no longer saw",
        "catalogue.read_requested": "had the repositories of {object} read again",
        "repository.bulk_started": "started a job: {object}",
        "repository.disabled": "disabled {object}",
        "repository.list_exported": "exported the list of repositories",
        "repository.enabled": "enabled {object}",
        "repository.review_kept": "reviewed {object} and kept it enabled",
        "repository.review_scheduled": "set how often enabled repositories are due for a review, in months: {months}",
        "repository.services_changed": "changed the services of {object}: {services}",
        "rules.applied": "applied the rules of {object}: {enabled} enabled, {disabled} disabled",
        "rules.saved": "changed the rules of {object}",
    },
)
