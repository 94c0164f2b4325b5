"""`make bench`: everything the documentation claims, measured on this machine."""

from __future__ import annotations

import logging
import os
import sys

from bench import (
    audit,
    backup,
    catalogue,
    catalogue_80ms,
    copies,
    deliveries_kills,
    doubt,
    flood,
    hooks,
    idle,
    ingestion,
    intake,
    odd_lists,
    pages,
    panel,
    refresh,
    reports,
    rights,
    rotation,
    sign_in_timing,
    slow_clients,
    start,
    stopping,
    structure,
    sync_kills,
    sync_latency,
    token_rotation,
    week,
)

MEASUREMENTS = {
    "structure": structure.main,
    "start": lambda: start.run(runs=5),
    "refresh": lambda: refresh.run(demands=10_000, expiries=10),
    "refresh-kills": lambda: refresh.run_with_kills(disturbances=1_000),
    "token-rotation": lambda: token_rotation.run(rotations=1_000),
    "doubt": lambda: doubt.run(runs=100),
    "stopping": lambda: stopping.run(refreshes=200),
    "week": lambda: week.run(days=7, seed=1),
    "idle": lambda: idle.run(minutes=10),
    "slow-clients": lambda: slow_clients.run(clients=32, seconds=10),
    "pages": lambda: pages.run(runs=40),
    "panel": lambda: panel.run(repositories=100_000, runs=40),
    "catalogue-80ms": lambda: catalogue_80ms.run(projects=20_000),
    "catalogue-80ms-large": lambda: catalogue_80ms.run(projects=100_000),
    "catalogue": lambda: catalogue.run(projects=2_000, runs=3),
    "hooks": lambda: hooks.run(hooks=10_000),
    "ingestion": lambda: ingestion.run(repositories=500),
    "hooks-moving": lambda: hooks.run_moving(hooks=100),
    "intake": lambda: intake.run(deliveries=5_000),
    "sync-latency": lambda: sync_latency.run(pushes=200),
    "sync-kills": lambda: sync_kills.run(edits=2_000),
    "flood": lambda: flood.run(seconds=20),
    "deliveries-kills": lambda: deliveries_kills.run(deliveries=100_000),
    "odd-lists": lambda: odd_lists.run(projects=257),
    "reports": lambda: reports.run(pairs=200),
    "rights": lambda: rights.run(requests=5_000),
    "audit": lambda: audit.run(changes=4_000, events=100_000, runs=3),
    "rotation": lambda: rotation.run(secrets=10_000, threads=4),
    "sign-in": lambda: sign_in_timing.run(tries=200),
    "backup": lambda: backup.run(rounds=100, secrets=2_000, threads=2),
    "copies": copies.run,
    "catalogue-large": lambda: catalogue.run(projects=100_000, runs=1),
}


def main() -> None:
    """Run what the command line names, or everything except `mutation`, which takes its targets as further names."""
    if sys.argv[1:2] == ["mutation"]:
        # In its own process, without the portal: its children import one with a fault.
        os.execv(sys.executable, [sys.executable, "-m", "bench.mutation", *sys.argv[2:]])
    logging.disable(logging.WARNING)  # Only figures are printed.
    if unknown := [name for name in sys.argv[1:] if name not in MEASUREMENTS]:
        sys.exit(f"There is no bench {unknown[0]}. There are: {', '.join(MEASUREMENTS)}, mutation.")
    for name in sys.argv[1:] or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main()
