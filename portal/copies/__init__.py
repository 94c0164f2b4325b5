"""A database that may be a copy of another: nothing works by itself until someone confirms that it is alone."""
