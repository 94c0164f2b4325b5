"""Bars and lines over time, worked out for an SVG that the server draws: shapes with classes, and no style attribute.

A page draws every chart twice (`components/chart.html`): wide, and narrow for phones, so that text keeps its size. The
same figures stand in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

PLOT_TOP, PLOT_BOTTOM, HEIGHT = 20.0, 228.0, 250.0
MARGIN_RIGHT = 8.0
GRID_LINES = 4
BAR_SHARE = 0.78
NAME_HEIGHT = 14.0
# A limit that is further above the bars than this would flatten them.
LARGEST_LIMIT = 3.0


@dataclass(frozen=True)
class Column:
    """One span of time.

    Attributes:
        name: what the table calls it, and the text below it if it has a tick.
        values: one for each series, from the bottom up.
        is_open: it isn't over yet.
        is_gap: it is shaded, because less happens in it on purpose, or because it isn't over yet.
        mark: what the bar is compared with, drawn as a line across it; None for nothing.
    """

    name: str
    values: tuple[float, ...]
    has_tick: bool = False
    is_open: bool = False
    is_gap: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class Box:
    """A rectangle, and which series it belongs to (from 1)."""

    series: int
    x: float
    y: float
    width: float
    height: float
    is_open: bool = False


@dataclass(frozen=True)
class Drawing:
    """Everything the template puts into the SVG, in its own units."""

    width: float
    left: float
    right: float
    grid: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    bars: list[Box]
    gaps: list[Box]
    limit_y: float | None
    # From, to, and how high.
    marks: list[tuple[float, float, float]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def bar_paths(self) -> list[tuple[int, bool, str]]:
        """The bars of each series, those that are over and those that aren't: one shape instead of hundreds."""
        found: dict[tuple[int, bool], list[str]] = {}
        for bar in self.bars:
            shape = f"M{bar.x} {bar.y}h{bar.width}v{bar.height}h-{bar.width}z"
            found.setdefault((bar.series, bar.is_open), []).append(shape)
        return [(*key, "".join(shapes)) for key, shapes in sorted(found.items())]

    @property
    def mark_path(self) -> str:
        """All marks as one shape; empty without any."""
        return "".join(f"M{begin} {y}H{end}" for begin, end, y in self.marks)


@dataclass(frozen=True)
class Line:
    """One series: its pieces as the points of an SVG polyline, single points, and where its end and its name are."""

    series: int
    pieces: list[str]
    dots: list[tuple[float, float]]
    end: tuple[float, float] | None
    name: str
    name_at: tuple[float, float] | None


def draw_bars(columns: list[Column], *, width: float, limit: float | None = None, every: int = 1) -> Drawing:
    """Return where everything is drawn.

    Args:
        columns: at least one.
        width: of the drawing; its text is 12 units high.
        limit: a line across; left out if it is far above all bars.
        every: how many columns with a tick share one.
    """
    highest = max(max(max(sum(column.values), column.mark or 0.0) for column in columns), 0.0)
    is_limited = limit is not None and highest > 0 and limit <= highest * LARGEST_LIMIT
    top = _rounded_up(max(highest, limit or 0.0) if is_limited else highest)
    left = 10.0 + 7.0 * max(len(_number(top * step / GRID_LINES)) for step in range(GRID_LINES + 1))
    right = width - MARGIN_RIGHT
    step = (right - left) / len(columns)

    def y_of(value: float) -> float:
        return round(PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * value / top, 1)

    bars, gaps, ticks, marks = [], [], [], []
    for number, column in enumerate(columns):
        x, total = left + number * step, 0.0
        if column.is_gap:
            gaps.append(Box(0, round(x, 1), PLOT_TOP, round(step, 1), PLOT_BOTTOM - PLOT_TOP))
        if column.has_tick:
            ticks.append((round(x + step / 2, 1), column.name))
        if column.mark is not None:
            marks.append((round(x + step * 0.05, 1), round(x + step * 0.95, 1), y_of(column.mark)))
        for series, value in enumerate(column.values, 1):
            if value > 0:
                y = y_of(total + value)
                inset = step * (1 - BAR_SHARE) / 2
                size = (round(step * BAR_SHARE, 1), round(y_of(total) - y, 1))
                bars.append(Box(series, round(x + inset, 1), y, *size, is_open=column.is_open))
                total += value
    grid = [(y_of(top * line / GRID_LINES), _number(top * line / GRID_LINES)) for line in range(GRID_LINES + 1)]
    limit_y = y_of(limit or 0.0) if is_limited else None
    return Drawing(width, left, right, grid, ticks[::every], bars, gaps, limit_y, marks)


def draw_lines(
    columns: list[Column],
    values: Sequence[Sequence[float | None]],
    names: Sequence[str],
    *,
    width: float,
    every: int = 1,
) -> Drawing:
    """Return where lines are drawn over these columns; their ends have names, and where nothing is known is a gap.

    Args:
        columns: at least one; their own values are not drawn.
        values: one for each column, for each line.
        names: of the lines; an empty one is not written.
        width: of the drawing; its text is 12 units high.
        every: how many columns with a tick share one.
    """
    known = [value for line in values for value in line if value is not None]
    frame = draw_bars(
        [replace(column, values=(max(known, default=0.0),), mark=None) for column in columns], width=width
    )
    top = _rounded_up(max(known, default=0.0))
    right = frame.right - (10.0 + 7.0 * max(len(name) for name in names))
    step = (right - frame.left) / len(columns)
    x_of = [round(frame.left + step * (number + 0.5), 1) for number in range(len(columns))]
    lines: list[Line] = []
    for series, (line, name) in enumerate(zip(values, names, strict=True), 1):
        points = [
            None if value is None else (x, round(PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * value / top, 1))
            for x, value in zip(x_of, line, strict=True)
        ]
        runs = [list(run) for is_point, run in groupby(points, key=lambda point: point is not None) if is_point]
        pieces = [" ".join(f"{x},{y}" for x, y in run if run) for run in runs if len(run) > 1]  # type: ignore[misc]
        end = points[-1]
        # Names that would be on top of each other are moved apart; those of later lines are above.
        place = None if end is None else (end[0] + 8, end[1] + 4)
        for other in lines:
            if place and other.name_at and abs(other.name_at[1] - place[1]) < NAME_HEIGHT:
                place = (place[0], other.name_at[1] - NAME_HEIGHT)
        lines.append(Line(series, pieces, [run[0] for run in runs if len(run) == 1], end, name, place))  # type: ignore[misc]
    ticks = [(x, column.name) for x, column in zip(x_of, columns, strict=True) if column.has_tick]
    gaps = [
        Box(0, round(x - step / 2, 1), PLOT_TOP, round(step, 1), PLOT_BOTTOM - PLOT_TOP)
        for x, column in zip(x_of, columns, strict=True)
        if column.is_gap
    ]
    return Drawing(width, frame.left, right, frame.grid, ticks[::every], [], gaps, None, lines=lines)


def _rounded_up(value: float) -> float:
    """Return the next number that four grid lines divide well."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0) if factor * power >= value * 0.999)


def _number(value: float) -> str:
    return f"{value:,.10g}" if value < 1000 else f"{value:,.0f}"
