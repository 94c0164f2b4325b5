"""A catalogue run: read GitLab's list of projects in parallel id ranges, write it in batches, compare at the end."""
