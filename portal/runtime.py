"""What functions need to do their work, created once per process.

They take it as their first argument, so that the same function serves a page, a job and the command line.
`portal.build_runtime` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from portal.capability import Capabilities
from portal.db import AUDIT_HEAD_FILE, AUDIT_KEY, WITNESS, Database
from portal.installation.witness import Witness
from portal.net import OutboundClient
from portal.settings import Settings
from portal.shutdown import Shutdown
from portal.vault import Vault


@dataclass(frozen=True)
class Runtime:
    """The parts that a process shares; all of them may be used from several threads."""

    settings: Settings
    database: Database
    vault: Vault
    outbound: OutboundClient
    capabilities: Capabilities
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
