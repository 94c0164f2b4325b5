"""What a capability brings to the portal: one object for each, and one tuple of them in `portal/__init__.py`.

These objects replace hand-kept lists, so a new capability is a new package
and one line. The types of the values belong to higher packages: here they are `Any`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sqlmodel import Session, SQLModel

from portal.actor import Right


@dataclass(frozen=True)
class JobDefinition:
    """A kind of background work; `function(context: JobContext, **ids)` has a name so that lower packages can start it.

    It may run twice (a worker can die after the work and before recording it), so every step must tolerate that.
    """

    name: str
    function: Callable[..., None]


@dataclass(frozen=True)
class PeriodicJob(JobDefinition):
    """A job that the portal enqueues for itself, once across all workers, and never twice at a time.

    Attributes:
        seconds: between two runs.
        is_due: takes the runtime and returns whether there is anything to do. It is called every few seconds once the
            time has come, until it returns true: a portal with nothing to do writes nothing. If `seconds` is 1, it is
            called twice a second.
        lane: jobs of one lane share a limit; empty for that of the portal's own work.
    """

    title: str
    seconds: float
    is_due: Callable[[Any], bool] = lambda runtime: True
    lane: str = ""


@dataclass(frozen=True)
class NavigationEntry:
    """A page in the portal's navigation, for those who have its right."""

    endpoint: str
    label: str
    icon: str
    right: Right


@dataclass(frozen=True)
class Capability:
    """What one package adds. Every field except the name may be empty.

    Attributes:
        name: of the package.
        views: module with `register(app, runtime)`; imported by web processes only.
        tables: its models, in no particular order.
        jobs: its background work.
        actions: audit actions and their sentences, worded to follow the actor's name. `{object}` is what it was done
            to; other names are from the event's details.
        navigation: its pages in the navigation, by place in the order.
        stylesheets: names in `static/css`, loaded on every page after the portal's own.
        connection_panels: what it shows on a connection's pages, by place in the order: functions of runtime,
            principal and connection that return `connections.panels.Panel`s.
        repository_panels: the same on a repository's page, as functions of runtime, principal and
            `repositories.selection.Row`.
        member_notes: a function of runtime, principal and memberships that returns `accounts.notes.Notes`.
        group_choices: a function of runtime and principal: the groups that a team lead may be given.
        erases_in_batches: its tables that hold many rows of a connection (by `connection_id`), in the order in which
            *erase* empties them, before anything else.
        erases: a function of session and connection id that deletes everything else the package stores about a
            connection; run in reverse order of the packages, in one transaction.
        bundle: a function of session and connection: sections of the support bundle, without any secret.
        granted_scopes: a function of session and connection id: the scopes of the credential in use; None without
            one, or if GitLab does not say.
        on_connected: a function of session, connection and actor, called in the transaction that stores what someone
            authorized; if it raises `RightLost`, nothing is stored.
        on_leaving: a function of runtime, connection id, session with GitLab and access token, called before the tokens
            of a disconnected connection are revoked: it removes what the connection has at GitLab, and returns whether
            nothing is left to do. It is called again until then, also after an error.
        event_kinds: what it wants of what GitLab's webhooks deliver: names as in `object_kind` or `event_name`.
        on_events: a function of session, connection id and a list of `webhooks.happenings.Event`s of these kinds. They
            come in any order and each once, in the transaction that records that they were used; it only writes rows
            and enqueues jobs.
    """

    name: str
    views: str = ""
    tables: tuple[type[SQLModel], ...] = ()
    jobs: tuple[JobDefinition, ...] = ()
    actions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    navigation: Mapping[int, NavigationEntry] = field(default_factory=lambda: MappingProxyType({}))
    stylesheets: tuple[str, ...] = ()
    connection_panels: Mapping[int, Callable[..., list[Any]]] = field(default_factory=lambda: MappingProxyType({}))
    repository_panels: tuple[Callable[..., list[Any]], ...] = ()
    member_notes: Callable[..., Any] | None = None
    group_choices: Callable[..., list[Any]] | None = None
    erases_in_batches: tuple[type[SQLModel], ...] = ()
    erases: Callable[[Session, int], None] | None = None
    bundle: Callable[..., Mapping[str, Any]] | None = None
    granted_scopes: Callable[..., frozenset[str] | None] | None = None
    on_connected: Callable[..., object] | None = None
    on_leaving: Callable[..., bool] | None = None
    event_kinds: frozenset[str] = frozenset()
    on_events: Callable[..., object] | None = None


@dataclass(frozen=True)
class Capabilities:
    """Every capability, lowest first, and what they bring together."""

    all: tuple[Capability, ...]

    @cached_property
    def jobs(self) -> Mapping[str, JobDefinition]:
        """Every job by name."""
        return _merged(((job.name, job) for capability in self.all for job in capability.jobs), "jobs")

    @cached_property
    def periodic_jobs(self) -> tuple[PeriodicJob, ...]:
        """The jobs that the portal enqueues for itself."""
        return tuple(job for job in self.jobs.values() if isinstance(job, PeriodicJob))

    @cached_property
    def actions(self) -> Mapping[str, str]:
        """The sentence of every audit action."""
        return _merged((pair for capability in self.all for pair in capability.actions.items()), "audit actions")

    @cached_property
    def navigation(self) -> tuple[NavigationEntry, ...]:
        """The pages in the navigation, in order."""
        pairs = (pair for capability in self.all for pair in capability.navigation.items())
        return tuple(entry for _, entry in sorted(_merged(pairs, "pages").items()))

    @cached_property
    def stylesheets(self) -> tuple[str, ...]:
        """What every page loads after the portal's own stylesheets."""
        return tuple(name for capability in self.all for name in capability.stylesheets)

    @cached_property
    def connection_panels(self) -> tuple[Callable[..., list[Any]], ...]:
        """What is shown on a connection's pages, in order."""
        pairs = (pair for capability in self.all for pair in capability.connection_panels.items())
        return tuple(provider for _, provider in sorted(_merged(pairs, "panels").items()))

    @property
    def on_connected(self) -> tuple[Callable[..., object], ...]:
        """What happens once a connection has been authorized."""
        return tuple(capability.on_connected for capability in self.all if capability.on_connected)


def _merged(pairs: Any, what: str) -> Mapping[Any, Any]:
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two {what} are named {name}")
        found[name] = value
    return MappingProxyType(found)
