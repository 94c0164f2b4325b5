"""Where a database and a data folder are: what distinguishes the original from a copy.

No single sign is enough. A copied file has a different inode or birth time, even on a new file system that assigns the
same numbers; a copied disk has a different serial number; a cloned machine has a different id or network card. A sign
that cannot be read is left out, and only what is known both then and now is compared.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError

from portal.db import Database

Signs = dict[str, str]

BLOCK_DEVICES = Path("/sys/dev/block")
NETWORK_CARDS = Path("/sys/class/net")
MACHINE_ID = Path("/etc/machine-id")
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
CONTAINER_VARIABLES = ("KUBERNETES_SERVICE_HOST", "container")
# What identifies a disk or a volume wherever it is attached, the most reliable first.
DISK_NAMES = ("dm/uuid", "md/uuid", "loop/backing_file", "serial", "wwid", "device/serial", "device/wwid")
# statx(2): `struct statx` with its mask at the beginning and the time of birth at byte 80.
AT_FDCWD = -100
STATX_BTIME = 0x800
STATX_BYTES = 256
STATX_BIRTH = 80
POSTGRESQL_PORT = 5432
# Signs with several values, of which one must be there.
SHARED = frozenset({"machine", "network"})


def database_signs(database: Database) -> Signs:
    """Return where a database is: its file on SQLite, its server and number on PostgreSQL."""
    if database.is_sqlite:
        path = database.engine.url.database
        return file_signs(Path(path)) if path and Path(path).exists() else {}
    with database.engine.connect() as connection:
        number = connection.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar_one()
    try:
        with database.engine.connect() as connection:
            system = connection.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar_one()
    except SQLAlchemyError:
        return {"number": str(number)}  # Some hosted servers do not allow clients to ask.
    return {"server": str(system), "number": str(number)}


def folder_signs(folder: Path) -> Signs:
    """Return where a data folder is, and on which machine; not in a container, which is new at every start."""
    signs = file_signs(folder)
    if any(mark.exists() for mark in CONTAINER_MARKS) or any(name in os.environ for name in CONTAINER_VARIABLES):
        return signs
    cards = NETWORK_CARDS.glob("*/device")
    # Wireless cards may have a new address for every network.
    addresses = {_read(card.parent / "address") for card in cards if not (card.parent / "phy80211").exists()}
    if network := " ".join(sorted(filter(None, addresses))):
        signs["network"] = network
    if machine_id := _read(MACHINE_ID):
        # The id itself must not be revealed (machine-id(5)).
        signs["machine"] = hashlib.sha256(f"gatehouse {machine_id}".encode()).hexdigest()[:16]
    return signs


def address_of(url: URL) -> str:
    """Return how a database server is reached; a copy of the whole server is reached differently."""
    host = url.host or url.query.get("host") or "localhost"
    port = url.port or url.query.get("port") or POSTGRESQL_PORT
    return f"{host if isinstance(host, str) else ','.join(host)}:{port}/{url.database}".lower()


def differences(was: Signs, now: Signs) -> list[str]:
    """Return the names of the signs that are known both then and now, and differ."""

    def differs(name: str) -> bool:
        # Network cards come and go; a cloned machine has none of the original's.
        return set(was[name].split()).isdisjoint(now[name].split()) if name in SHARED else was[name] != now[name]

    return [name for name in was if name in now and differs(name)]


def merge(was: Signs, now: Signs) -> Signs:
    """Return what is known now, with the earlier machines: several may share one data folder."""
    shared = {name: " ".join(sorted({*was[name].split(), *now.get(name, "").split()})) for name in SHARED & was.keys()}
    return {**now, **shared}


def file_signs(path: Path) -> Signs:
    """Return what distinguishes a file or a folder from every copy of it."""
    path = path.resolve()
    found = path.stat()
    signs = {"path": str(path), "inode": str(found.st_ino), "born": _born(path), "disk": _disk(path, found.st_dev)}
    return {name: value for name, value in signs.items() if value}


def _born(path: Path) -> str:
    """Return when a file was created, in nanoseconds; empty if the file system does not record it."""
    buffer = ctypes.create_string_buffer(STATX_BYTES)
    try:
        failed = ctypes.CDLL(None).statx(AT_FDCWD, os.fsencode(path), 0, STATX_BTIME, buffer)
    except (AttributeError, OSError):  # No such function in this C library.
        return ""
    (mask,) = struct.unpack_from("I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("qI", buffer, STATX_BIRTH)
    return f"{seconds}.{nanoseconds:09}" if not failed and mask & STATX_BTIME and seconds else ""


def _disk(path: Path, device: int) -> str:
    if os.major(device) == 0:
        # Not on its own disk: btrfs and ZFS have a number for each volume and snapshot.
        number = os.statvfs(path).f_fsid
        return f"filesystem {number:x}" if number else ""
    block = (BLOCK_DEVICES / f"{os.major(device)}:{os.minor(device)}").resolve()
    partition = _read(block / "partition")
    disk = block.parent if partition else block
    name = next(filter(None, (_read(disk / name) for name in DISK_NAMES)), "")
    return f"{name} {partition}".strip() if name else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
