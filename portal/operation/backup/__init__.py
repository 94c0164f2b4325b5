"""Backup, restore, and the mode a restored portal stays in until someone confirms that it is the only copy."""
