"""The six steps of the walkthrough: addresses, which happen in GitLab, which are done, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.connections.models import Connection


class Step(StrEnum):
    """A page under `/connections/<slug>/setup/`; the value is its address and what `connection.steps_done` holds."""

    PURPOSE = "purpose"
    INSTANCE = "instance"
    APPLICATION = "application"
    SERVICE_USER = "service-user"
    AUTHORIZE = "authorize"
    REPOSITORIES = "repositories"
    # Not steps: they change later what a step asked for.
    CREDENTIALS = "credentials"
    SERVICES = "services"


LABELS = {
    Step.PURPOSE: "Purpose",
    Step.INSTANCE: "Instance",
    Step.APPLICATION: "Application",
    Step.SERVICE_USER: "Service user",
    Step.AUTHORIZE: "Authorize",
    Step.REPOSITORIES: "Repositories",
}
STEPS = tuple(LABELS)
IN_GITLAB = frozenset({Step.APPLICATION, Step.SERVICE_USER})


@dataclass(frozen=True)
class RailStep:
    """One step as the rail shows it; `url` is None where one cannot go yet."""

    number: int
    label: str
    url: str | None
    state: str
    is_in_gitlab: bool


def step_url(connection: Connection, step: Step) -> str:
    """Return the address of a step."""
    return f"/connections/{connection.slug}/setup/{step}"


def rail(connection: Connection | None, current: Step) -> list[RailStep]:
    """Return all steps with their state; one may go to what is done and to the first that is not."""
    done = set(connection.steps_done) if connection else set()
    reachable = True
    rows = []
    for number, step in enumerate(STEPS, start=1):
        state = "current" if step == current else "done" if step in done else "todo"
        url = step_url(connection, step) if connection and reachable else None
        rows.append(RailStep(number, LABELS[step], url, state, step in IN_GITLAB))
        reachable = reachable and step in done
    return rows


def first_open_step(connection: Connection) -> Step:
    """Return where to resume: the first step that is not done, or the last one."""
    return next((step for step in STEPS if step not in connection.steps_done), Step.REPOSITORIES)


def number_and_label(connection: Connection) -> tuple[int, str]:
    """Return the number and the label of the step at which a draft is resumed."""
    step = first_open_step(connection)
    return STEPS.index(step) + 1, LABELS[step]


def step_to_do_first(connection: Connection, step: Step) -> str | None:
    """Return the address of an earlier step that is not done yet; None if this one may be shown."""
    first = first_open_step(connection)
    return step_url(connection, first) if STEPS.index(first) < STEPS.index(step) else None


def next_url(connection: Connection, step: Step) -> str:
    """Return where *Continue* leads."""
    return step_url(connection, STEPS[STEPS.index(step) + 1])


def previous_url(connection: Connection, step: Step) -> str:
    """Return where *Back* leads; empty from the first step."""
    place = STEPS.index(step)
    return step_url(connection, STEPS[place - 1]) if place else ""
