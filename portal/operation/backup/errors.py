"""Why a backup or a restore is refused."""

from __future__ import annotations


class BackupRefused(Exception):
    """It cannot or must not be done; the text is one clear line, and nothing was changed."""
