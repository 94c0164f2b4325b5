"""Measurements behind the documentation's claims: `make bench`. Each beside a peer in the same run."""
