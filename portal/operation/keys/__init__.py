"""The key ring's life cycle: a new key, sealing everything again with it, dropping an old one (S29)."""
