"""GitOps: environments of enabled repositories, and changes of what runs there as commits or merge requests."""
