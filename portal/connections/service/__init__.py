"""What can be done with a connection: create, describe, check, keep its application."""
