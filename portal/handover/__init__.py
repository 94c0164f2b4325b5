"""One step of the walkthrough, handed over to a person who has no account here."""
