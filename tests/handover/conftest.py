from __future__ import annotations

from tests.authorization.conftest import prepared
from tests.security.conftest import world

__all__ = ["prepared", "world"]
