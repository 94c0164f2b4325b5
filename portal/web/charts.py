"""Stacked bars over time, worked out for an SVG that the server draws: shapes with classes, and no style attribute.

A page draws every chart twice (`components/chart.html`): wide, and narrow for phones, so that text keeps its size. The
same figures stand in a table beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PLOT_TOP, PLOT_BOTTOM, HEIGHT = 20.0, 228.0, 250.0
MARGIN_RIGHT = 8.0
GRID_LINES = 4
BAR_SHARE = 0.78
# A limit that is further above the bars than this would flatten them.
LARGEST_LIMIT = 3.0


@dataclass(frozen=True)
class Column:
    """One span of time.

    Attributes:
        name: what the table calls it, and the text below it if it has a tick.
        values: one for each series, from the bottom up.
        is_open: it isn't over yet.
        is_gap: it is shaded, because less happens in it on purpose.
    """

    name: str
    values: tuple[float, ...]
    has_tick: bool = False
    is_open: bool = False
    is_gap: bool = False


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


def draw_bars(columns: list[Column], *, width: float, limit: float | None = None, every: int = 1) -> Drawing:
    """Return where everything is drawn.

    Args:
        columns: at least one.
        width: of the drawing; its text is 12 units high.
        limit: a line across; left out if it is far above all bars.
        every: how many columns with a tick share one.
    """
    highest = max(max(sum(column.values) for column in columns), 0.0)
    is_limited = limit is not None and highest > 0 and limit <= highest * LARGEST_LIMIT
    top = _rounded_up(max(highest, limit or 0.0) if is_limited else highest)
    left = 10.0 + 7.0 * max(len(_number(top * step / GRID_LINES)) for step in range(GRID_LINES + 1))
    right = width - MARGIN_RIGHT
    step = (right - left) / len(columns)

    def y_of(value: float) -> float:
        return round(PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * value / top, 1)

    bars, gaps, ticks = [], [], []
    for number, column in enumerate(columns):
        x, total = left + number * step, 0.0
        if column.is_gap:
            gaps.append(Box(0, round(x, 1), PLOT_TOP, round(step, 1), PLOT_BOTTOM - PLOT_TOP))
        if column.has_tick:
            ticks.append((round(x + step / 2, 1), column.name))
        for series, value in enumerate(column.values, 1):
            if value > 0:
                y = y_of(total + value)
                inset = step * (1 - BAR_SHARE) / 2
                size = (round(step * BAR_SHARE, 1), round(y_of(total) - y, 1))
                bars.append(Box(series, round(x + inset, 1), y, *size, is_open=column.is_open))
                total += value
    grid = [(y_of(top * line / GRID_LINES), _number(top * line / GRID_LINES)) for line in range(GRID_LINES + 1)]
    return Drawing(width, left, right, grid, ticks[::every], bars, gaps, y_of(limit or 0.0) if is_limited else None)


def _rounded_up(value: float) -> float:
    """Return the next number that four grid lines divide well."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0) if factor * power >= value * 0.999)


def _number(value: float) -> str:
    return f"{value:,.10g}" if value < 1000 else f"{value:,.0f}"
