"""Backup, restore, and the mode a restored portal is in until somebody confirms that it is alone."""
