"""Whether a connection works: checked on a schedule and on demand, kept as history, told once when it breaks."""
