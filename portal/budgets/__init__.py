"""The request budget of each GitLab: what was agreed with its administrator, and what was used."""
