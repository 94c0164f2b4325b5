"""Organizations, people, sign-in, sessions and rights."""
