"""Marks on views that the checks around them look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, request

View = TypeVar("View", bound=Callable[..., Any])


def polling(view: View) -> View:
    """Say that pages ask this view by themselves: it is no sign that a person is there (S4)."""
    view.is_polling = True  # type: ignore[attr-defined]
    return view


def opens_popup(view: View) -> View:
    """Say that the page opens a window that must not be cut off by our own opener policy (S13)."""
    view.opens_popup = True  # type: ignore[attr-defined]
    return view


def has_mark(name: str) -> bool:
    """Tell whether the view of the present request has a mark."""
    view = current_app.view_functions.get(request.endpoint or "")
    return bool(getattr(view, name, False))
