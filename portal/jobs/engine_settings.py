"""How often the engine polls, and how much it does at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """The engine's times and limits.

    Attributes:
        poll_seconds: between two polls for queued jobs; the longest a new job waits for a free worker.
        worker_concurrency: jobs at once in one process.
        lane_concurrency: jobs of one lane at once, over all processes.
        silent_seconds: after this long without a heartbeat, a worker counts as dead and its jobs are taken over.
        forgotten_seconds: a queued job older than this is compared with what the engine knows about it.
        grace_seconds: for running jobs to end or be handed back at shutdown.
        finish_seconds: before that, for what must not be cut off: the longest a token request and the storing of its
            answer may take. Both together are less than the supervisor waits.
        backoff_seconds: before a second attempt; doubled for each further one.
    """

    poll_seconds: float = 0.25
    worker_concurrency: int = 8
    lane_concurrency: int = 2
    heartbeat_seconds: float = 5
    silent_seconds: float = 30
    sweep_seconds: float = 10
    forgotten_seconds: float = 60
    schedule_seconds: float = 5
    grace_seconds: int = 12
    finish_seconds: float = 75
    backoff_seconds: float = 2
