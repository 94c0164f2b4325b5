"""Run things in turn, so that noise affects all of them equally, and print medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

console = Console(width=140)


@dataclass
class Figure:
    """One thing measured: seconds of each run."""

    name: str
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of all runs."""
        return statistics.median(self.seconds)


def measure(candidates: dict[str, Callable[[], object]], runs: int) -> list[Figure]:
    """Run every candidate `runs` times, round after round."""
    figures = {name: Figure(name) for name in candidates}
    for _ in range(runs):
        for name, call in candidates.items():
            started = time.perf_counter()
            call()
            figures[name].seconds.append(time.perf_counter() - started)
    return list(figures.values())


def show(title: str, figures: list[Figure], *, unit: float = 1.0, per: str = "s", items: int = 0) -> None:
    """Print a table; ratios are to the last row, the peer or the floor."""
    table = Table(title=title, title_justify="left")
    for heading in ("", f"median {per}", "min", "max", "ratio", *(["items/s"] if items else [])):
        table.add_column(heading, justify="right" if heading else "left")
    base = figures[-1].median
    for figure in figures:
        row = [figure.name, *(f"{value * unit:.3g}" for value in _spread(figure)), f"{figure.median / base:.2f}"]
        table.add_row(*row, *([f"{items / figure.median:,.0f}"] if items else []))
    console.print(table)


def _spread(figure: Figure) -> tuple[float, float, float]:
    return figure.median, min(figure.seconds), max(figure.seconds)
