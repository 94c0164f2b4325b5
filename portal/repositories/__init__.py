"""The catalogue read from GitLab, and the repositories people enable from it."""
