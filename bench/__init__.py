"""Measurements behind the documentation's claims: `make bench`. Each is compared with a peer in the same run."""
