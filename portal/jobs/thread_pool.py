"""One job that does the same for many items, a few at once: a GitLab that does not answer delays only its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from typing import TypeVar

from portal.jobs.context import JobContext

AT_ONCE = 4
T = TypeVar("T")


def for_each(context: JobContext, items: Sequence[T], work: Callable[[T], object]) -> None:
    """Call `work` with each item and report how many are done; nothing more is started once the job has to stop.

    Raises:
        Exception: the first one that `work` raised, after the started items have ended.
    """

    def one(item: T) -> None:
        context.raise_if_stopped()
        work(item)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="crew") as pool:
        futures = [pool.submit(copy_context().run, one, item) for item in items]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                context.progress(number, len(items))
        finally:
            pool.shutdown(cancel_futures=True)
