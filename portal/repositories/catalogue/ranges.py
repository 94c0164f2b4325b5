"""Split the ids of GitLab's projects among lanes, without knowing how they are distributed; know what has been read.

It starts with one range. A lane with nothing to do takes the upper half of what the busiest one has left, so skewed
ids cost a few empty pages and never leave a lane idle.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

# Below this many ids a split costs more requests than it saves.
MIN_WIDTH_TO_SPLIT = 400


@dataclass
class IdRange:
    """Ids above `cursor` up to and including `last`; the cursor moves as pages come in.

    Attributes:
        is_open: whether it has no upper end; `last` is then only a guess that helps to split it.
    """

    cursor: int
    last: int
    is_open: bool = False

    @property
    def width(self) -> int:
        """At most how many ids are left, or an estimate."""
        return max(0, self.last - self.cursor)

    @property
    def is_read(self) -> bool:
        """Whether nothing can be left."""
        return not self.is_open and self.cursor >= self.last


class Covered:
    """Ids that have been read and stored, as intervals (above, up to and including) that don't touch each other."""

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self.intervals: list[tuple[int, int]] = []
        for lowest, highest in intervals:
            self.add(lowest, highest)

    def add(self, above: int, up_to: int) -> None:
        """Add one interval."""
        if up_to <= above:
            return
        apart = [one for one in self.intervals if one[1] < above or up_to < one[0]]
        touched = [one for one in self.intervals if above <= one[1] and one[0] <= up_to]
        joined = (min([above, *(one[0] for one in touched)]), max([up_to, *(one[1] for one in touched)]))
        self.intervals = sorted([*apart, joined])

    def left(self, highest_id: int) -> list[IdRange]:
        """Return what is left to read; the last range has no upper end, as there may be newer ids."""
        ranges, cursor = [], 0
        for lowest, highest in self.intervals:
            if lowest > cursor:
                ranges.append(IdRange(cursor, lowest))
            cursor = max(cursor, highest)
        return [*ranges, IdRange(cursor, max(highest_id, cursor), is_open=True)]


class RangePool:
    """Hands ranges to lanes; may be used from several threads."""

    def __init__(self, *ranges: IdRange) -> None:
        self._active: list[IdRange] = []
        self._waiting = list(ranges)
        self._changed = threading.Condition()
        self._stopped = False

    def take(self) -> IdRange | None:
        """Return a range to read, waiting while others may still be split; None if everything has been read."""
        with self._changed:
            while not self._stopped:
                if found := self._next():
                    self._active.append(found)
                    return found
                if not self._active:
                    return None
                self._changed.wait()
        return None

    def now(self, taken: IdRange) -> IdRange:
        """Return a range as it is at this moment: a split may have shortened it."""
        with self._changed:
            return IdRange(taken.cursor, taken.last, taken.is_open)

    def advance(self, taken: IdRange, cursor: int) -> None:
        """Move a range's cursor to the highest id read, and let idle lanes check again."""
        with self._changed:
            taken.cursor = cursor
            self._changed.notify_all()

    def finish(self, taken: IdRange) -> None:
        """Give a completely read range back."""
        with self._changed:
            self._active.remove(taken)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let every lane return at once, because one of them failed."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _next(self) -> IdRange | None:
        if self._waiting:
            return self._waiting.pop()
        widest = max(self._active, key=lambda item: item.width, default=None)
        if widest is None or widest.width < MIN_WIDTH_TO_SPLIT:
            return None
        middle = widest.cursor + widest.width // 2
        upper = IdRange(middle, widest.last, widest.is_open)
        widest.last, widest.is_open = middle, False
        return upper
