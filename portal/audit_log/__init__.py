"""The audit log as people use it: read, searched, exported, and verified."""
