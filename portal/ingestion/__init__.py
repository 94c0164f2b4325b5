"""What happened in enabled repositories, read from GitLab, kept fresh, and counted by week for reports."""
