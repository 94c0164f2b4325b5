"""A database that may be a copy of another: nothing runs by itself until someone confirms that it is the only one."""
