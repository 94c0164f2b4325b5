"""The sandbox's pages: what an administrator of GitLab sees while following the portal's instructions."""
