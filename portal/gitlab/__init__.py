"""The only code that talks to GitLab: typed answers, typed failures. Knows nothing about Flask or our tables."""
