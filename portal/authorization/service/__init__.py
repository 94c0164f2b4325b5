"""Start an authorization, take its answer from GitLab, judge who it was, and keep the credential."""
