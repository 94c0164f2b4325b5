"""What came back through the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        headers: case-insensitive; foreign text.
        content: decoded and capped.
        url: without the query, so it may be logged.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    elapsed_seconds: float
    url: str = ""
