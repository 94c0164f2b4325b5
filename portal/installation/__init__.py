"""What this database knows about itself: whether it is a copy that must not run yet (S108)."""

from portal.installation.identity import confirm, find_instance, is_restored, look_for_copy, mark_restored

__all__ = ["confirm", "find_instance", "is_restored", "look_for_copy", "mark_restored"]
