"""Why a backup or a restore does not take place."""

from __future__ import annotations


class BackupRefused(Exception):
    """It cannot be done or must not be; the text is one clear line, and nothing was changed."""
