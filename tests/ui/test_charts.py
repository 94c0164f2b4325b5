"""Charts: what is drawn equals the figures."""

from __future__ import annotations

import pytest

from portal.web.charts import PLOT_BOTTOM, PLOT_TOP, Column, draw_bars


def test_bars_are_stacked_to_their_sum_on_an_axis_that_holds_the_highest() -> None:
    columns = [Column("00:00", (1.0, 2.0), has_tick=True), Column("00:30", (0.0, 5.5), is_open=True)]

    drawing = draw_bars(columns, width=390)

    assert [text for _, text in drawing.grid] == ["0", "1.5", "3", "4.5", "6"]
    unit = (PLOT_BOTTOM - PLOT_TOP) / 6
    heights = [(bar.series, round(bar.height / unit, 1), bar.is_open) for bar in drawing.bars]
    assert heights == [(1, 1.0, False), (2, 2.0, False), (2, 5.5, True)]
    assert drawing.bars[0].y == pytest.approx(drawing.bars[1].y + drawing.bars[1].height, abs=0.2)
    assert all(drawing.left <= bar.x and bar.x + bar.width <= drawing.right for bar in drawing.bars)
    assert [text for _, text in drawing.ticks] == ["00:00"]


@pytest.mark.parametrize(("limit", "is_drawn"), [(None, False), (4.0, True), (9.0, True), (100.0, False)])
def test_a_limit_is_a_line_unless_it_would_flatten_the_bars(limit: float | None, is_drawn: bool) -> None:
    drawing = draw_bars([Column("a", (4.0,))], width=390, limit=limit)

    assert (drawing.limit_y is not None) == is_drawn
    if drawing.limit_y is not None:
        assert PLOT_TOP <= drawing.limit_y <= PLOT_BOTTOM


def test_nothing_to_draw_is_no_error() -> None:
    assert draw_bars([Column("a", (0.0, 0.0), is_gap=True)], width=390, limit=10.0).bars == []
