"""The eight steps of the walkthrough: addresses, whose they are, which are done, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.connections.models import Connection

OURS = "Gatehouse"
THEIRS = "GitLab administrator"


class Step(StrEnum):
    """A step; the value is the last part of its address and what `connection.steps_done` holds."""

    METHOD = "method"
    INSTANCE = "instance"
    APPLICATION = "application"
    SERVICE_USER = "service-user"
    CREDENTIALS = "credentials"
    AUTHORIZE = "authorize"
    SERVICES = "services"
    REPOSITORIES = "repositories"


LABELS = {
    Step.METHOD: ("Method", OURS),
    Step.INSTANCE: ("Instance", OURS),
    Step.APPLICATION: ("Application", THEIRS),
    Step.SERVICE_USER: ("Service user", THEIRS),
    Step.CREDENTIALS: ("Credentials", OURS),
    Step.AUTHORIZE: ("Authorize", OURS),
    Step.SERVICES: ("Services", OURS),
    Step.REPOSITORIES: ("Repositories", OURS),
}


@dataclass(frozen=True)
class RailStep:
    """One step as the rail shows it; `url` is None where one cannot go yet."""

    number: int
    label: str
    url: str | None
    state: str
    owner: str


def step_url(connection: Connection, step: Step) -> str:
    """Return the address of a step."""
    return f"/connections/{connection.slug}/setup/{step}"


def rail(connection: Connection | None, current: Step) -> list[RailStep]:
    """Return all steps with their state; one may go to what is done and to the first that is not."""
    done = set(connection.steps_done) if connection else set()
    reachable = True
    rows = []
    for number, step in enumerate(Step, start=1):
        state = "current" if step == current else "done" if step in done else "todo"
        # The first step made the connection; it has no page of its own any more.
        is_open = reachable and step != Step.METHOD
        url = step_url(connection, step) if connection and is_open else None
        label, owner = LABELS[step]
        rows.append(RailStep(number, label, url, state, owner))
        reachable = reachable and step in done
    return rows


def first_open_step(connection: Connection) -> Step:
    """Return where to resume: the first step that is not done, or the last one."""
    return next((step for step in Step if step not in connection.steps_done), Step.REPOSITORIES)


def step_to_do_first(connection: Connection, step: Step) -> str | None:
    """Return the address of an earlier step that is not done yet; None when this one may be shown."""
    first = first_open_step(connection)
    steps = list(Step)
    return step_url(connection, first) if steps.index(first) < steps.index(step) else None


def next_url(connection: Connection, step: Step) -> str:
    """Return where *Continue* leads."""
    steps = list(Step)
    return step_url(connection, steps[steps.index(step) + 1])


def previous_url(connection: Connection, step: Step) -> str:
    """Return where *Back* leads."""
    steps = list(Step)
    return step_url(connection, steps[steps.index(step) - 1])
