"""A week of simulated time with a GitLab that is down, slow, limited, upgraded and restarted at random."""

from __future__ import annotations

from bench.figures import console
from bench.portal_setup import fresh_runtime, new_organization
from bench.refresh import make_table, on_both_databases
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import pair
from tests.support.simulated import expect_a_living_credential, live_through, simulated_clock


def run(days: int, seed: int) -> None:
    """Simulate it, check the promises, and print."""
    table = make_table(
        f"{days} simulated days, seed {seed}",
        ("outages", "incidents told", "blips", "refreshes", "spent tokens posted", "credential"),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_live(url, days, seed)))
    console.print(table)


def _live(url: str, days: int, seed: int) -> list[str]:
    with (
        simulated_clock() as clock,
        RunningSandbox(with_service_user=True) as sandbox,
        fresh_runtime(sandbox.url, url) as runtime,
    ):
        paired = pair(runtime, sandbox, new_organization(runtime))
        outcome = live_through(paired, clock, days * 24, seed)
    expect_a_living_credential(outcome)
    blips = len(outcome.episodes) - len(outcome.outages)
    figures = (len(outcome.outages), len(outcome.alarms), blips, outcome.refreshes, outcome.spent_posts)
    return [*map(str, figures), outcome.state]
