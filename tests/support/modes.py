"""Who may read what the portal wrote."""

from __future__ import annotations

from pathlib import Path


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what in a folder anyone but its owner may touch, with its mode; the folder itself included."""
    found = {path: path.lstat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    return {str(path.relative_to(folder)): f"{mode:o}" for path, mode in found.items() if mode & 0o077}
