"""Ending a connection, and authorizing it again: people first see what stops."""
