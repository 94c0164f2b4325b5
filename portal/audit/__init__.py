"""The log of who did what, from where, to which object."""

from portal.audit.service import acting_as, record

__all__ = ["acting_as", "record"]
