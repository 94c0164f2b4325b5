"""What every service needs, made once per process: settings, database, vault and the door out.

Services take it as their first argument, so that the same function serves a page, a job and the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portal.db import AUDIT_HEAD_FILE, AUDIT_KEY, WITNESS, Database
from portal.installation.witness import Witness
from portal.net import NetworkPolicy, OutboundClient
from portal.preflight import check_ground
from portal.settings import Settings
from portal.shutdown import Shutdown
from portal.vault import KeyRing, Vault
from portal.vault.keyring import is_in_environment


@dataclass(frozen=True)
class Runtime:
    """The parts that a process shares; all of them may be used from several threads."""

    settings: Settings
    database: Database
    vault: Vault
    outbound: OutboundClient
    shutdown: Shutdown = field(default_factory=Shutdown)

    def __post_init__(self) -> None:
        # Every transaction can write to the audit log, and none without the key.
        self.database.session_info.update(
            {
                AUDIT_KEY: self.vault.audit_key,
                AUDIT_HEAD_FILE: self.settings.audit_head_file,
                WITNESS: Witness(self.settings.data_dir),
            }
        )


def build_runtime(settings: Settings) -> Runtime:
    """Open the key ring, the database and the door.

    Raises:
        KeyRingError: the key ring is missing, readable by others, or malformed.
    """
    path = settings.resolved_key_file
    return Runtime(
        settings=settings,
        database=Database(settings.resolved_database_url),
        vault=Vault(KeyRing.from_settings(path), None if is_in_environment() else path),
        outbound=OutboundClient(NetworkPolicy.from_settings(settings)),
    )


@contextmanager
def opened_runtime() -> Iterator[Runtime]:
    """Yield a runtime for one command, made from the environment; close it at the end.

    Raises:
        SettingsError: a setting is wrong, or what it leads to cannot be used.
        KeyRingError: the key ring cannot be used.
    """
    settings = Settings.from_environ()
    check_ground(settings)
    runtime = build_runtime(settings)
    try:
        yield runtime
    finally:
        runtime.database.close()
