"""Ending a connection, and authorizing it anew: what stops is said first."""
