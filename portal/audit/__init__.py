"""The log of who did what, from where, to which object."""

from portal.audit.service import PORTAL, acting_as, record
from portal.foreign import Foreign

__all__ = ["PORTAL", "Foreign", "acting_as", "record"]
