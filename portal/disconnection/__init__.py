"""Ending a connection, and authorizing it again: what stops is said first."""
