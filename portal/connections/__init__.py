"""One GitLab instance: how it is reached, its OAuth application, the walkthrough, its details page."""
