"""The step that links a GitLab by an access token: a guide to making one, testing it, and linking the account."""
