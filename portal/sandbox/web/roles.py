"""GitLab's words for access levels."""

from __future__ import annotations

ROLES = {10: "Guest", 20: "Reporter", 30: "Developer", 40: "Maintainer", 50: "Owner"}
