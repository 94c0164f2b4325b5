"""A secret in memory: it cannot be printed, logged, serialised or copied by accident (S35)."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

from portal.redaction import MASK, MIN_LENGTH, register


class Secret:
    """Holds one secret text; only `reveal()` gives it away, so every place that does can be found by searching."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        register(value)

    def reveal(self) -> str:
        """Return the text itself; pass it straight on to where it is needed."""
        register(self._value)  # Whoever receives it may repeat it, so it counts as recently used.
        return self._value

    @property
    def hint(self) -> str:
        """The last four characters, which people may see; empty if the secret is too short to reveal any."""
        return self._value[-4:] if len(self._value) >= 2 * MIN_LENGTH else ""

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
