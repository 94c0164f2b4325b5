"""The steps of the walkthrough, a list for each method: addresses, which are done, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.connections.models import Connection, Method


class Step(StrEnum):
    """A page under `/connections/<slug>/setup/`; the value is its address and what `connection.steps_done` holds."""

    PURPOSE = "purpose"
    INSTANCE = "instance"
    APPLICATION = "application"
    SERVICE_USER = "service-user"
    AUTHORIZE = "authorize"
    TOKEN = "token"
    REPOSITORIES = "repositories"
    # Not steps: pages that later change what a step asked for.
    CREDENTIALS = "credentials"
    SERVICES = "services"


LABELS = {
    Step.PURPOSE: "Purpose",
    Step.INSTANCE: "Instance",
    Step.APPLICATION: "Application",
    Step.SERVICE_USER: "Service user",
    Step.AUTHORIZE: "Authorize",
    Step.TOKEN: "Access token",
    Step.REPOSITORIES: "Repositories",
}
IN_GITLAB = frozenset({Step.APPLICATION, Step.SERVICE_USER, Step.TOKEN})
# What the walkthrough asks for depends on how the portal gets access.
STEPS_OF: dict[str, tuple[Step, ...]] = {
    Method.OAUTH: (
        Step.PURPOSE,
        Step.INSTANCE,
        Step.APPLICATION,
        Step.SERVICE_USER,
        Step.AUTHORIZE,
        Step.REPOSITORIES,
    ),
    Method.ACCESS_TOKEN: (Step.PURPOSE, Step.INSTANCE, Step.TOKEN, Step.REPOSITORIES),
}
# The step that gives a connection its credential.
CREDENTIAL_STEP: dict[str, Step] = {Method.OAUTH: Step.AUTHORIZE, Method.ACCESS_TOKEN: Step.TOKEN}


@dataclass(frozen=True)
class RailStep:
    """One step as the rail shows it; `url` is None if it cannot be opened yet."""

    number: int
    label: str
    url: str | None
    state: str
    is_in_gitlab: bool
    # In GitLab anyone can make a token for themself.
    is_for_administrator: bool


def steps_with(connection: Connection, step: Step) -> tuple[Step, ...]:
    """Return the steps of a connection's method; of the other one if only that has this step, and the connection is in
    use: that is how it changes from one to the other.
    """
    own = STEPS_OF[connection.method]
    others = (steps for steps in STEPS_OF.values() if connection.authorized_at is not None and step in steps)
    return own if step in own else next(others, own)


def step_url(connection: Connection, step: Step) -> str:
    """Return the address of a step."""
    return f"/connections/{connection.slug}/setup/{step}"


def rail(connection: Connection | None, current: Step, method: str = Method.OAUTH) -> list[RailStep]:
    """Return all steps with their state; the done ones and the first that is not done can be opened.

    `method` counts until there is a connection.
    """
    done = set(connection.steps_done) if connection else set()
    reachable = True
    rows = []
    for number, step in enumerate(steps_with(connection, current) if connection else STEPS_OF[method], start=1):
        state = "current" if step == current else "done" if step in done else "todo"
        url = step_url(connection, step) if connection and reachable else None
        rows.append(RailStep(number, LABELS[step], url, state, step in IN_GITLAB, step in IN_GITLAB - {Step.TOKEN}))
        reachable = reachable and step in done
    return rows


def first_open_step(connection: Connection) -> Step:
    """Return where to resume: the first step that is not done, or the last one."""
    steps = STEPS_OF[connection.method]
    return next((step for step in steps if step not in connection.steps_done), steps[-1])


def number_and_label(connection: Connection) -> tuple[int, str]:
    """Return the number and the label of the step at which a draft is resumed."""
    step = first_open_step(connection)
    return STEPS_OF[connection.method].index(step) + 1, LABELS[step]


def step_to_do_first(connection: Connection, step: Step) -> str | None:
    """Return the address of an earlier step that is not done yet, or of the current one if the connection's method
    does not have this step; None if it may be shown.
    """
    steps = steps_with(connection, step)
    first = next((one for one in steps if one not in connection.steps_done), steps[-1])
    if step not in steps:
        return step_url(connection, first_open_step(connection))
    return step_url(connection, first) if steps.index(first) < steps.index(step) else None


def next_url(connection: Connection, step: Step) -> str:
    """Return where *Continue* leads."""
    steps = steps_with(connection, step)
    return step_url(connection, steps[steps.index(step) + 1])


def previous_url(connection: Connection, step: Step) -> str:
    """Return where *Back* leads; empty from the first step, and from a page that is not a step."""
    steps = steps_with(connection, step)
    return step_url(connection, steps[steps.index(step) - 1]) if step in steps[1:] else ""
