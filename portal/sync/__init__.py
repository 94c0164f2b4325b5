"""Sites: files that the portal keeps, in step with a folder of a GitLab repository."""
