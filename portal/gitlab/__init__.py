"""The only code that speaks to GitLab: typed answers, typed failures. Knows nothing of Flask or of our tables."""
