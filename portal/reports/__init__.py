"""Reports: what happened in enabled repositories, by week, with how fresh and how complete that is."""
