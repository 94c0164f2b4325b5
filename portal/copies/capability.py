"""What the installation itself brings to the portal: its identity and keys, and the page of a copy."""

from __future__ import annotations

from portal.capability import Capability
from portal.installation.models import Instance
from portal.vault.models import VaultKey

CAPABILITY = Capability(
    name="copies",
    views="portal.copies.views",
    tables=(Instance, VaultKey),
    actions={
        "connection.readable": "can read the secrets of {object} again",
        "connection.unreadable": "can no longer read the secrets of {object}",
        "key.added": "added an encryption key",
        "key.dropped": "dropped an encryption key",
        "key.put_back": "put an encryption key back",
        "key.rotated": "rotated the encryption key",
        "portal.restore_confirmed": "confirmed that this portal runs alone",
        "portal.restored": "restored this portal from a backup",
    },
)
