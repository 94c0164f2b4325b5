"""The last day of each check as a strip of hours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from portal.connections.checklist import CheckState
from portal.health.models import HealthCheck

HOURS = 24
_HOUR = timedelta(hours=1)
_WORST = (CheckState.FAIL, CheckState.WARN, CheckState.PASS, CheckState.SKIPPED)
WORDS = {
    CheckState.PASS: "passed",
    CheckState.WARN: "a note",
    CheckState.FAIL: "failed",
    CheckState.SKIPPED: "not checked",
}


@dataclass(frozen=True)
class Cell:
    """One hour: the worst that was seen in it; `state` is empty if nothing was checked."""

    begins_at: datetime
    state: str

    @property
    def label(self) -> str:
        """The text of the cell."""
        word = WORDS[CheckState(self.state)] if self.state else "not checked"
        return f"{self.begins_at:%H}:00 UTC: {word}"


@dataclass(frozen=True)
class Strip:
    """A day of one check, oldest hour first."""

    cells: tuple[Cell, ...]

    @property
    def summary(self) -> str:
        """The strip as a sentence."""
        looked = [cell for cell in self.cells if cell.state not in {"", CheckState.SKIPPED}]
        if not looked:
            return "Last 24 hours: not checked"
        failed = [cell for cell in looked if cell.state == CheckState.FAIL]
        if failed:
            hours = "hour" if len(failed) == 1 else "hours"
            return (
                f"Last 24 hours: failed in {len(failed)} {hours}, last in the one from {failed[-1].begins_at:%H}:00 UTC"
            )
        noted = sum(cell.state == CheckState.WARN for cell in looked)
        return f"Last 24 hours: passed, with a note in {noted} of them" if noted else "Last 24 hours: passed"


def load_history(session: Session, connection_id: int, now: datetime) -> list[HealthCheck]:
    """Return every row of the last day, and the current ones, oldest first."""
    recent = (col(HealthCheck.seen_at) >= now - HOURS * _HOUR) | col(HealthCheck.is_current).is_(True)
    statement = select(HealthCheck).where(HealthCheck.connection_id == connection_id, recent)
    return list(session.exec(statement.order_by(col(HealthCheck.id))))


def strip_of(rows: Iterable[HealthCheck], now: datetime) -> Strip:
    """Return the day that ends with the hour of `now`, from the rows of one check."""
    rows = list(rows)
    first = now.replace(minute=0, second=0, microsecond=0) - (HOURS - 1) * _HOUR
    return Strip(tuple(_cell(rows, first + number * _HOUR) for number in range(HOURS)))


def _cell(rows: list[HealthCheck], begins_at: datetime) -> Cell:
    seen = {row.state for row in rows if row.at < begins_at + _HOUR and row.seen_at >= begins_at}
    return Cell(begins_at, next((state for state in _WORST if state in seen), ""))
