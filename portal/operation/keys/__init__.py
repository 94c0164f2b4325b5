"""The key ring's life: a new key, everything sealed again with it, the end of an old one (S29)."""
