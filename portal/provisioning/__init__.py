"""Create the application and the service user in GitLab, with a token that is used once and forgotten."""
