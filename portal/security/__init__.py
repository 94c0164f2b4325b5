"""What stands before every page: who may ask, from where, and what browsers may do with the answer."""

from __future__ import annotations

from portal.security.addresses import absolute_url, safe_next
from portal.security.marks import opens_popup, polling
from portal.security.register import register

__all__ = ["absolute_url", "opens_popup", "polling", "register", "safe_next"]
