"""A secret in memory: it cannot be printed, logged, serialised or copied by accident (S35)."""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from typing import Any, NoReturn

MASK = "***"
# Shorter values would blank out ordinary words in logs.
MIN_REDACTED_LENGTH = 8
MAX_REGISTERED = 5000

_values: OrderedDict[str, None] = OrderedDict()
_by_head: dict[str, tuple[str, ...]] = {}
_lock = threading.Lock()


class Secret:
    """Holds one secret text; only `reveal()` gives it away, so every place that does can be found by searching."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _register(value)

    def reveal(self) -> str:
        """Return the text itself; pass it straight on to where it is needed."""
        return self._value

    @property
    def hint(self) -> str:
        """The last four characters, which people may see; empty for a secret too short to give any away."""
        return self._value[-4:] if len(self._value) >= 2 * MIN_REDACTED_LENGTH else ""

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied")

    def __copy__(self) -> NoReturn:
        raise TypeError("a secret is not copied")

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise TypeError("a secret is not copied")


def registered_values() -> list[str]:
    """Return every secret this process has held lately, longest first."""
    with _lock:
        return sorted(_values, key=len, reverse=True)


def redact(text: str) -> str:
    """Replace every registered secret in a text.

    Every log line comes through here, so the work grows with the text and not with the number of secrets: each place
    in it is looked up by its next few characters.
    """
    kept: list[str] = []
    begin = at = 0
    while at <= len(text) - MIN_REDACTED_LENGTH:
        found = next((value for value in _by_head.get(_head(text, at), ()) if text.startswith(value, at)), None)
        if found is None:
            at += 1
            continue
        kept += (text[begin:at], MASK)
        begin = at = at + len(found)
    return "".join(kept) + text[begin:]


def _head(text: str, at: int = 0) -> str:
    return text[at : at + MIN_REDACTED_LENGTH]


def _register(value: str) -> None:
    if len(value) < MIN_REDACTED_LENGTH:
        return
    with _lock:
        if value not in _values:
            # A new tuple each time, as readers take no lock; the longest first, as one secret may begin another.
            known = _by_head.get(_head(value), ())
            _by_head[_head(value)] = tuple(sorted((*known, value), key=len, reverse=True))
        _values[value] = None
        _values.move_to_end(value)
        while len(_values) > MAX_REGISTERED:
            _forget(_values.popitem(last=False)[0])


def _forget(value: str) -> None:
    left = tuple(other for other in _by_head[_head(value)] if other != value)
    if left:
        _by_head[_head(value)] = left
    else:
        del _by_head[_head(value)]
