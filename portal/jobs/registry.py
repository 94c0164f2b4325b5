"""Which function does a job: by name, so that a lower capability can start the work of a higher one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portal.jobs.context import JobContext
    from portal.runtime import Runtime

JobFunction = Callable[..., None]

# Folders that may have a `jobs.py`; importing it registers its names.
CAPABILITIES = ("accounts", "audit_log", "connections", "credentials", "repositories", "disconnection", "health")


@dataclass(frozen=True)
class Periodic:
    """A job that the portal enqueues for itself.

    Attributes:
        is_due: asked when its time has come; while there is nothing to do, nothing is written.
    """

    name: str
    title: str
    seconds: float
    is_due: Callable[[Runtime], bool]


_functions: dict[str, JobFunction] = {}
_periodic: dict[str, Periodic] = {}


class UnknownJob(LookupError):
    """No function has this name here: this process is older than the one that enqueued it."""


def define(name: str) -> Callable[[JobFunction], JobFunction]:
    """Register the decorated function, `function(context: JobContext, **ids)`, under a name such as `catalogue.read`.

    It may be run twice (a worker can die after the work and before the note of it), so every step must bear that.
    """

    def register(function: JobFunction) -> JobFunction:
        known = _functions.setdefault(name, function)
        if known.__module__ != function.__module__:
            raise ValueError(f"two jobs are named {name}")
        _functions[name] = function
        return function

    return register


def every(
    seconds: float, name: str, title: str, *, is_due: Callable[[Runtime], bool] = lambda runtime: True
) -> Callable[[Callable[[JobContext], None]], Callable[[JobContext], None]]:
    """Register a job that is enqueued every so many seconds, once over all workers, and never twice at a time.

    `is_due` reads whether there is anything to do. Give one to whatever runs more often than daily: a portal that has
    nothing to do writes nothing. It is asked every few seconds until it says yes.
    """

    def register(function: Callable[[JobContext], None]) -> Callable[[JobContext], None]:
        define(name)(function)
        _periodic[name] = Periodic(name, title, seconds, is_due)
        return function

    return register


def function_named(name: str) -> JobFunction:
    """Return the function of a job.

    Raises:
        UnknownJob: nothing in this process registered the name.
    """
    try:
        return _functions[name]
    except KeyError:
        raise UnknownJob(name) from None


def periodic_jobs() -> Mapping[str, Periodic]:
    """Return every periodic job by name."""
    return MappingProxyType(_periodic)


def load_jobs() -> None:
    """Import every capability's `jobs` module, so that its names are registered."""
    import_module("portal.jobs.housekeeping")
    for capability in CAPABILITIES:
        if find_spec(f"portal.{capability}.jobs") is not None:
            import_module(f"portal.{capability}.jobs")
