"""The log of who did what, from where, to which object."""

from portal.audit.access import record_use
from portal.audit.service import Target, record
from portal.foreign import Foreign

__all__ = ["Foreign", "Target", "record", "record_use"]
