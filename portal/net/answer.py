"""What came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portal.foreign import Foreign


class Headers(Mapping[str, Foreign]):
    """The headers of an answer, case-insensitive; each is cleaned when it is read."""

    def __init__(self, received: Mapping[str, str]) -> None:
        self._received = received

    def __getitem__(self, name: str) -> Foreign:
        return Foreign(self._received[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._received)

    def __len__(self) -> int:
        return len(self._received)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        content: decoded and capped; for `read_json` only.
        url: without the query, so it may be logged.
    """

    status: int
    headers: Headers
    content: bytes
    elapsed_seconds: float
    url: str = ""
