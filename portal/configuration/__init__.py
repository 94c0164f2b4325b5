"""Connections, rules, groups of team leads and enablements as one file, without any secret: `docs/configuration.md`."""
