"""Whether a connection works: checked on a schedule and on demand, kept as history, reported once when it breaks."""
