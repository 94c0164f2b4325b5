"""Webhooks: one for each enabled repository or group, kept as it should be, and what they deliver."""
