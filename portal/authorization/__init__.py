"""The popup that authorizes a connection as the service user, and the credential it ends in."""
