"""A disk that is really full: a small file system if the tests may mount one, otherwise SQLite's quota."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import event

from portal.db import Database

BYTES = 8 << 20
CHUNKS = (1 << 16, 1 << 12, 1 << 8, 1)


@dataclass
class SmallDisk:
    """A folder on its own disk, if `is_mounted`."""

    folder: Path
    is_mounted: bool

    def fill(self, database: Database) -> None:
        """Fill it completely."""
        if not self.is_mounted:
            database.close()
            event.listen(database.engine, "connect", _allow_no_page)
            return
        with (self.folder / "filling").open("wb", buffering=0) as file:
            for size in CHUNKS:
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def make_room(self, database: Database) -> None:
        """Free the space."""
        if not self.is_mounted:
            event.remove(database.engine, "connect", _allow_no_page)
            database.close()
            return
        (self.folder / "filling").unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount a small file system at a folder that is made for it, while the block runs."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={BYTES},mode=700", "tmpfs", str(folder)]
    is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(folder, is_mounted)
    finally:
        if is_mounted:
            # Lazily: files left open by a failed test must not keep it mounted.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _allow_no_page(connection: object, _record: object) -> None:
    connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]
