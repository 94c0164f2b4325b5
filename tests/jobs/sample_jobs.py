"""Jobs that record what they do in a file, so that another process can see it even after a crash."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from portal import CAPABILITIES
from portal.capability import Capabilities, Capability, JobDefinition
from portal.errors import Card, Conflict, UpstreamFailed
from portal.jobs import ItemState, JobContext, RetryLater
from portal.runtime import Runtime

STEP_SECONDS = 0.02
CARD = Card("tls_unknown_ca")


JOBS: list[JobDefinition] = []


def job(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the decorated function to the jobs of the tests."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        JOBS.append(JobDefinition(name, function))
        return function

    return add


def with_samples(runtime: Runtime) -> Runtime:
    """Return a runtime that also knows the jobs of the tests."""
    samples = Capability("samples", jobs=tuple(JOBS))
    return replace(runtime, capabilities=Capabilities((*CAPABILITIES.all, samples)))


def note(log: str, line: str) -> None:
    with Path(log).open("a") as file:  # One short line opened for appending is written in one piece.
        file.write(line + "\n")


def noted(log: Path | str) -> list[str]:
    return Path(log).read_text().splitlines() if Path(log).exists() else []


@job("sample.note")
def note_line(context: JobContext, log: str, line: str) -> None:
    note(log, line)


@job("sample.gated")
def wait_for_gate(context: JobContext, log: str, line: str, gate: str) -> None:
    note(log, f"begin {line}")
    while not Path(gate).exists():
        context.raise_if_stopped()
        threading.Event().wait(STEP_SECONDS)
    note(log, f"end {line}")


@job("sample.stubborn")
def wait_without_asking(context: JobContext, log: str, gate: str) -> None:
    note(log, "begin")
    while not Path(gate).exists():
        threading.Event().wait(STEP_SECONDS)
    with context.transaction() as session:
        context.record_item(session, "late", ItemState.SUCCEEDED)
    note(log, "end")


@job("sample.lethal")
def kill_the_worker(context: JobContext, log: str) -> None:
    note(log, "lethal")
    os.kill(os.getpid(), signal.SIGKILL)


@job("sample.items")
def do_items(context: JobContext, log: str, count: int, die_before: int | None = None) -> None:
    done = context.recorded_refs()
    for number in range(count):
        context.raise_if_stopped()
        ref = f"item:{number}"
        if ref in done:
            continue
        if number == die_before and context.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        with context.transaction() as session:
            context.record_item(session, ref, ItemState.SUCCEEDED, label=f"acme/{number}")
        note(log, ref)
        context.progress(number + 1, count, "Items done")


@job("sample.fails")
def fail_with_a_card(context: JobContext) -> None:
    raise UpstreamFailed(CARD)


@job("sample.refused")
def fail_with_a_sentence(context: JobContext) -> None:
    raise Conflict("It is gone.")


@job("sample.later")
def try_later(context: JobContext, after_seconds: float) -> None:
    raise RetryLater(CARD, after_seconds=after_seconds)


@job("sample.mistake")
def make_a_mistake(context: JobContext) -> None:
    raise ZeroDivisionError("a mistake of ours")
